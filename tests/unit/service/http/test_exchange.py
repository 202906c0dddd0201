"""What an answer may cost, held against h11, which parses what is let through."""

from collections.abc import Iterable
from contextlib import suppress
from datetime import timedelta

import h11
import httpcore
import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import UNEXPECTED, UrlRefusedError
from service.http.exchange import AnswerLimits, BoundedStream, http_errors, seconds_until
from tests.support.factories import NOON, make_image

OK = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"


class Pieces(httpcore.AsyncNetworkStream):
    """A connection on which these pieces arrive, one with each read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        return self._pieces.pop(0) if self._pieces else b""


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    """The data in pieces that end at these places."""
    ends = sorted({place % len(data) for place in places} - {0})
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


async def read_all(pieces: Iterable[bytes]) -> list[bytes]:
    stream = BoundedStream(Pieces(pieces))
    parts = []
    while part := await stream.read(65536):
        parts.append(part)
    return parts


def chunks(size: int, count: int) -> bytes:
    return (b"%x\r\n" % size + b"x" * size + b"\r\n") * count


GOOD = {
    "empty": OK + b"Content-Length: 0\r\n\r\n",
    "image": OK + b"\r\n" + make_image(1, (800, 600)),
    "text": OK + b"\r\n" + b"a line\r\n" * 5000,
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "eight hints": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 8 + OK + b"\r\nok",
    "many headers": OK + b"".join(b"X-%d: y\r\n" % number for number in range(100)) + b"\r\n",
    "cookies": OK + b"Set-Cookie: a=" + b"b" * 4000 + b"\r\nSet-Cookie: c=d\r\n\r\n",
    "chunks": CHUNKED + chunks(4096, 256) + b"0\r\n\r\n",
    "small chunks": CHUNKED + chunks(16, 200) + b"0\r\nX-Sum: 1\r\n\r\n",
}
BAD = {
    "informational": CONTINUE * 9 + OK + b"\r\n",
    "informational only": CONTINUE * 1000,
    "headers": OK + b"a:b\r\n" * 200 + b"\r\n",
    "endless headers": OK + b"a:b\r\n" * 20_000,
    "a long header": OK + b"a: " + b"b" * 33_000 + b"\r\n\r\n",
    "no line": b"a" * 33_000,
    "headers of hints": (b"HTTP/1.1 103 Early Hints\r\n" + b"a:b\r\n" * 30 + b"\r\n") * 5,
    "chunks": CHUNKED + chunks(1, 5000),
    "folded": OK + b"Transfer-Encoding:\r\n  Chunked\r\n\r\n" + chunks(1, 5000),
    "trailers": CHUNKED + b"0\r\n" + b"a:\n" * 5000,
}


@pytest.mark.parametrize("name", GOOD)
@given(places=st.lists(st.integers(0, 1 << 20), max_size=20))
async def test_good_answer_passes_whole_with_its_body_apart(name: str, places: list[int]) -> None:
    parts = await read_all(cut(GOOD[name], places))
    assert b"".join(parts) == GOOD[name]
    head, separator = (b"\n\n", 2) if name == "bare LF" else (b"\r\n\r\n", 4)
    if name != "eight hints":
        end = GOOD[name].index(head) + separator
        sizes = [sum(map(len, parts[: number + 1])) for number in range(len(parts))]
        assert end in sizes


@pytest.mark.parametrize("name", BAD)
@given(places=st.lists(st.integers(0, 1 << 20), max_size=20))
async def test_bad_answer_is_cut_however_it_is_split(name: str, places: list[int]) -> None:
    with pytest.raises(httpcore.RemoteProtocolError):
        await read_all(cut(BAD[name], places))


async def test_bad_answer_is_cut_when_it_drips() -> None:
    for data in (CONTINUE * 9, OK + b"a:b\r\n" * 200, CHUNKED + chunks(1, 500)):
        with pytest.raises(httpcore.RemoteProtocolError):
            await read_all(data[place : place + 1] for place in range(len(data)))


async def test_head_of_a_bad_body_still_arrives() -> None:
    """A receiver that has said 200 has said it."""
    data = CHUNKED + chunks(1, 2000)
    stream = BoundedStream(Pieces([data]))
    assert await stream.read(65536) == CHUNKED
    with pytest.raises(httpcore.RemoteProtocolError, match="chunks are too small"):
        await stream.read(65536)


@given(
    st.lists(
        st.sampled_from(
            [
                b"Transfer-Encoding",
                b":",
                b" ",
                b"\t",
                b"\r\n",
                b"chunked",
                b"CHUNKED",
                b"gzip",
                b",",
            ]
        ),
        max_size=8,
    ).map(b"".join)
)
def test_whatever_h11_takes_for_chunked_is_taken_for_chunked(header: bytes) -> None:
    head = OK + header + b"\r\n\r\n"
    client = h11.Connection(h11.CLIENT)
    client.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    client.send(h11.EndOfMessage())
    client.receive_data(head + chunks(1, 5000))
    event = None
    with suppress(h11.RemoteProtocolError):
        event = client.next_event()
    if isinstance(event, h11.Response) and (b"transfer-encoding", b"chunked") in event.headers:
        limits = AnswerLimits()
        limits.take(head)
        with pytest.raises(httpcore.RemoteProtocolError):
            limits.take(chunks(1, 5000))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("120", 120.0),
        (" 7 ", 7.0),
        ("Thu, 01 Jan 2026 12:02:00 GMT", 120.0),
        ("Thu, 01 Jan 2026 13:02:00 +0100", 120.0),
        ("Thursday, 01-Jan-26 12:02:00 GMT", 120.0),
        ("Thu Jan  1 12:02:00 2026", 120.0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("9" * 40, 999999999.0),
        ("9" * 100, None),
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("٣", None),
        ("Wed, 21 Oct 2015 07:28:00 +99999999999999999999", None),
        ("Wed, 21 Oct 2015 07:28:00 -9999", None),
        ("Wed, 32 Oct 2015 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Mon, 01 Jan 0001 00:00:00 +2300", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -2300", 251635114799.0),
    ],
)
def test_retry_after_is_read_or_left_alone(text: str | None, seconds: float | None) -> None:
    assert seconds_until(text, NOON) == seconds


_DATE_PARTS = st.sampled_from(
    ["Wed", ",", " ", "21", "Oct", "2015", "07:28:00", "GMT", "+", "-", "9" * 20, ":", "0", "-0000"]
)


@given(st.text() | st.lists(_DATE_PARTS, max_size=12).map("".join))
def test_retry_after_any_text_is_read_or_left_alone(text: str) -> None:
    seconds = seconds_until(text, NOON)
    assert seconds is None or 0 <= seconds < timedelta.max.total_seconds()


@pytest.mark.parametrize(
    "error", [OSError("x"), ValueError("s3cret"), UnicodeError("s3cret"), RuntimeError("s3cret")]
)
def test_foreign_error_becomes_an_http_error_without_its_text(error: Exception) -> None:
    with pytest.raises(httpx.HTTPError) as caught, http_errors():
        raise error
    assert "s3cret" not in str(caught.value)
    assert caught.value.__cause__ is error
    assert isinstance(error, OSError | ValueError) or str(caught.value) == UNEXPECTED


@pytest.mark.parametrize(
    "text",
    [
        "illegal status line: bytearray(b'GET /?password=s3cret')",
        'illegal header line: bytearray(b"x\'s3cret")',
        "illegal status line: bytearray(b'a\\n\ns3cret')",
    ],
)
def test_answer_that_is_no_http_is_not_quoted(text: str) -> None:
    """A service that is none of HTTP may repeat the request, and its secrets."""
    with pytest.raises(httpx.RemoteProtocolError) as caught, http_errors():
        raise httpx.RemoteProtocolError(text)
    assert str(caught.value) == text.partition(":")[0]


@pytest.mark.parametrize("error", [httpx.ReadError("x"), UrlRefusedError("x"), TimeoutError()])
def test_known_error_stays_as_it_is(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, http_errors():
        raise error
    assert caught.value is error
