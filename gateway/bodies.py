"""Bodies of requests: read within limits, and taken apart where MQTT does not wait for it.

All bodies that are being read together have at most `MOST_BYTES`: a thousand callers who send a
picture at once would else need gigabytes. Who comes then hears `busy`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from fastapi import Request

from broker.codec import PayloadError, read_json
from broker.pieces import split_array
from gateway.problems import Problem, refused
from schemas.requests.operation import MAX_REQUEST_BYTES, Operation

MOST_BYTES = 256 << 20
_SMALL_BYTES = 64 * 1024  # read in place: a millisecond

_T = TypeVar("_T")


class Bodies:
    """Reads bodies, and knows how much is held.

    Args:
        most_bytes: Of all that are held together.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._num_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request, max_bytes: int) -> AsyncIterator[bytes]:
        """The body of a request, which counts as held while the block lasts.

        Raises:
            Problem: `payload_too_large`, before all of it has come; `busy`: too much is held.
        """
        pieces: list[bytes] = []
        num_bytes = 0
        try:
            declared = request.headers.get("content-length", "")
            if declared.isdecimal() and len(declared) < 20 and int(declared) > max_bytes:
                raise _too_large(max_bytes)
            async for piece in request.stream():
                num_bytes += len(piece)
                self._num_bytes += len(piece)
                if num_bytes > max_bytes:
                    raise _too_large(max_bytes)
                if self._num_bytes > self._most_bytes:
                    raise Problem(
                        "busy", "too many large requests at once; ask again", retry_after_s=1
                    )
                pieces.append(piece)
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            pieces.clear()
            yield body
        finally:
            self._num_bytes -= num_bytes


async def take_apart(body: bytes, read: Callable[[], _T]) -> _T:
    """Read a body, a large one elsewhere, so that frames go on meanwhile.

    Raises:
        Problem: It is not what it should be.
    """
    try:
        return read() if len(body) <= _SMALL_BYTES else await asyncio.to_thread(read)
    except PayloadError as error:
        raise refused(error) from error


def read_object(body: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> dict[str, Any]:
    """A JSON object; nothing is an empty one.

    Raises:
        PayloadError: `bad_json` or `payload_too_large`.
    """
    if not body.strip():
        return {}
    content = read_json(body, max_bytes=max_bytes)
    if not isinstance(content, dict):
        raise PayloadError("bad_json", "must be a JSON object")
    return content


def read_request(body: bytes, operation: Operation[Any, Any]) -> dict[str, Any]:
    """The fields of an operation's request; those of an array are left unread, as bytes.

    Raises:
        PayloadError: `bad_json` or `payload_too_large`.
    """
    name = operation.array_field
    if name is None or not body.lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
        return read_object(body, operation.max_bytes)
    rest, elements = split_array(body, name)
    content = read_object(rest)
    return content if elements is None else {**content, name: elements}


def _too_large(max_bytes: int) -> Problem:
    return Problem("payload_too_large", f"at most {max_bytes} bytes are taken here")
