"""One exchange with a host that may mean no good: what it may cost, and which errors come of it.

A limit in time holds only while the event loop turns, and parsing does not let it: a packet full of
`100 Continue`, or of chunks of one byte, is a second of work in one piece. So an answer is looked
at before it is parsed, with searches that cost next to nothing, and the connection is left as soon
as there is more to parse than an answer needs.
"""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpcore
import httpx

from service.errors import UNEXPECTED, ServiceError

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 16384  # bytes of a read; what is in them is parsed in one piece
# Servers allow 8 to 16 KiB and 100 headers in a request, and say less than that themselves.
_MOST_HEAD_BYTES = 32768
_MOST_HEAD_LINES = 128
_MOST_INFORMATIONAL = 8  # 102 and 103 are said a few times, 100 once
# A server sends chunks of kilobytes. Each has two CR LF and costs 20 µs whatever its size; trailers
# end in LF at least. In an image they are rare: 1 byte in 65,536 and 1 in 256 by chance.
_FREE_LINES = 512  # of text in an image, e.g. XMP
_BYTES_PER_CRLF = 256
_BYTES_PER_LF = 8

_LONGEST_DATE = 64  # characters; a date has 29

_QUOTED = re.compile(r"[:\s]*\b(bytearray\()?b['\"]")  # bytes in a text of h11's
_BLANK_LINE = re.compile(rb"\n\r?\n")  # as h11 looks for it
_INFORMATIONAL = re.compile(rb"HTTP/\d\.\d 1\d\d")
_CHUNKED = re.compile(rb"\ntransfer-encoding:\s*chunked", re.IGNORECASE)


@contextmanager
def http_errors() -> Iterator[None]:
    """Make whatever an exchange raises an `httpx.HTTPError`.

    httpx translates the errors that httpcore names. Others pass through both: a damaged TLS record
    in the middle of an answer (`ssl.SSLError`), a host name in `Location` that is none
    (`UnicodeError`), and what nobody has seen yet. No answer is quoted: a service that is none of
    HTTP may repeat the request, with its secrets.
    """
    try:
        yield
    except httpx.RemoteProtocolError as error:
        if (found := _QUOTED.search(text := str(error))) is None:
            raise
        raise httpx.RemoteProtocolError(text[: found.start()]) from error
    except (httpx.HTTPError, ServiceError, TimeoutError):
        raise
    except OSError as error:
        raise httpx.NetworkError(f"{type(error).__name__} {error}") from error
    except ValueError as error:
        raise httpx.RemoteProtocolError(f"unreadable ({type(error).__name__})") from error
    except Exception as error:
        logger.exception("an HTTP exchange failed")
        raise httpx.TransportError(UNEXPECTED) from error


def seconds_until(retry_after: str | None, now: datetime) -> float | None:
    """Read a `Retry-After`: seconds or a date; None when it is absent or neither."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit() and len(text) <= _LONGEST_DATE:
        return float(text[:9])
    moment = moment_of(text)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def moment_of(date: str | None) -> datetime | None:
    """Read the date of a header; None when it is absent or none."""
    text = (date or "").strip()
    if len(text) > _LONGEST_DATE or not text.isascii():
        return None
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment  # as it is: in UTC the last hours of the calendar would have no year
    except (ValueError, OverflowError, TypeError, IndexError):  # what a date that is none raises
        return None


class AnswerLimits:
    """Follows the bytes of an answer and says when they cost more to parse than they are worth."""

    def __init__(self) -> None:
        self._head = bytearray()  # as far as it has come
        self._is_over = False  # the last head: the body follows
        self._is_chunked = False
        self._num_head_bytes = 0
        self._num_head_lines = 0
        self._num_informational = 0
        self._num_body_bytes = 0
        self._num_body_crlf = 0
        self._num_body_lf = 0
        self._last = b""

    def take(self, data: bytes) -> int:
        """Look at what has arrived.

        Returns:
            How much of it belongs to heads: it is to be parsed before the rest is taken.

        Raises:
            httpcore.RemoteProtocolError: It is too much.
        """
        if self._is_over:
            self._take_body(data)
            return 0
        return self._take_heads(data)

    def _take_heads(self, data: bytes) -> int:
        held = len(self._head)
        self._head += data
        start = 0
        while not self._is_over and (found := _BLANK_LINE.search(self._head, max(start, held - 2))):
            self._take_head(bytes(self._head[start : found.end()]))
            start = found.end()
        rest = self._head[start:]
        if self._is_over:
            self._head.clear()
            return len(data) - len(rest)
        self._check_heads(len(rest), rest.count(b"\n"))
        self._head = rest
        return len(data)

    def _take_head(self, head: bytes) -> None:
        if _INFORMATIONAL.match(head):
            self._num_informational += 1
        else:
            self._is_over = True
            self._is_chunked = _CHUNKED.search(head) is not None
        self._num_head_bytes += len(head)
        self._num_head_lines += head.count(b"\n")
        self._check_heads(0, 0)

    def _check_heads(self, more_bytes: int, more_lines: int) -> None:
        if self._num_informational > _MOST_INFORMATIONAL:
            raise httpcore.RemoteProtocolError("too many informational answers")
        if self._num_head_bytes + more_bytes > _MOST_HEAD_BYTES:
            raise httpcore.RemoteProtocolError("the headers are too long")
        if self._num_head_lines + more_lines > _MOST_HEAD_LINES:
            raise httpcore.RemoteProtocolError("too many headers")

    def _take_body(self, data: bytes) -> None:
        if not self._is_chunked or not data:
            return
        self._num_body_bytes += len(data)
        self._num_body_crlf += (self._last + data).count(b"\r\n")
        self._num_body_lf += data.count(b"\n")
        self._last = data[-1:]
        if self._num_body_crlf > _FREE_LINES + self._num_body_bytes / _BYTES_PER_CRLF:
            raise httpcore.RemoteProtocolError("the chunks are too small")
        if self._num_body_lf > _FREE_LINES + self._num_body_bytes / _BYTES_PER_LF:
            raise httpcore.RemoteProtocolError("too many trailers")


class BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that hands on only what `AnswerLimits` lets pass, and never hogs the loop.

    Args:
        inner: The connection.
    """

    def __init__(self, inner: httpcore.AsyncNetworkStream) -> None:
        self._inner = inner
        self._limits = AnswerLimits()
        self._rest = b""  # came with the head and is not looked at yet

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        """Read up to `max_bytes`, heads and body never together."""
        data, self._rest = self._rest, b""
        if not data:
            data = await self._inner.read(min(max_bytes, _MOST_AT_ONCE), timeout)
        # TLS hands out record after record that it has already, and nothing in it waits.
        await asyncio.sleep(0)
        num_of_heads = self._limits.take(data)
        if 0 < num_of_heads < len(data):
            data, self._rest = data[:num_of_heads], data[num_of_heads:]
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        """Write all of it."""
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        """Close."""
        await self._inner.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        """Go on encrypted; what is inside is bounded alike."""
        return BoundedStream(await self._inner.start_tls(*args, **kwargs))

    def get_extra_info(self, info: str) -> Any:
        """What the connection knows of itself."""
        return self._inner.get_extra_info(info)
