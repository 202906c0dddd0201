"""Connections that waste time: headers that drip, answers nobody reads, bodies nobody wants."""

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from gateway.guard.asgi import Receive, Scope, Send
from gateway.guard.protocol import Patience
from gateway.server import listen, serving
from tests.unit.gateway.apps import application

_SHORT = Patience(headers_s=0.3, leftover_s=0.5, leftover_bytes=8 << 20, reading_s=0.3)
_LOOPBACK = "127.0.0.1"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Connect = Callable[[], Awaitable[Streams]]


@asynccontextmanager
async def server(app: object = None, patience: Patience = _SHORT) -> AsyncIterator[Connect]:
    listener = listen(_LOOPBACK, 0)
    port = listener.getsockname()[1]
    opened: list[asyncio.StreamWriter] = []

    async def connect() -> Streams:
        streams = await asyncio.open_connection(_LOOPBACK, port)
        opened.append(streams[1])
        return streams

    async with serving(app or application(), listener, patience):  # type: ignore[arg-type]
        try:
            yield connect
        finally:
            for writer in opened:
                writer.close()


async def ask(streams: Streams, text: str) -> tuple[int, dict[str, str], bytes]:
    """Send something, and read one answer."""
    streams[1].write(text.replace("\n", "\r\n").encode())
    return await answer(streams[0])


async def answer(reader: asyncio.StreamReader) -> tuple[int, dict[str, str], bytes]:
    async with asyncio.timeout(5):
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
        }
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return int(head[0].split()[1]), headers, body


GOOD = "GET /livez HTTP/1.1\nHost: localhost\n\n"


async def is_closed(reader: asyncio.StreamReader, within_s: float = 3.0) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await reader.read() == b""
    except ConnectionError:
        return True


async def test_connection_that_says_nothing_is_closed() -> None:
    async with server() as connect:
        reader, _ = await connect()
        assert await is_closed(reader)


async def test_headers_that_drip_are_given_up_however_they_drip() -> None:
    async with server() as connect:
        for first in ("", GOOD):
            streams = await connect()
            if first:
                assert (await ask(streams, first))[0] == 200
            began = asyncio.get_running_loop().time()
            streams[1].write(b"GET /livez HTTP/1.1\r\n")
            for _ in range(10):
                streams[1].write(b"X: y\r\n")
                await asyncio.sleep(0.02)
            status, _, body = await answer(streams[0])
            assert status == 408
            assert json.loads(body)["error"]["code"] == "too_slow"
            assert asyncio.get_running_loop().time() - began < 2
            assert await is_closed(streams[0])


async def test_connection_is_kept_for_the_next_request() -> None:
    async with server() as connect:
        streams = await connect()
        for _ in range(3):
            assert (await ask(streams, GOOD))[0] == 200
            await asyncio.sleep(0.4)  # longer than headers may take


async def test_requests_that_are_sent_at_once_are_answered_in_order() -> None:
    async with server() as connect:
        streams = await connect()
        streams[1].write((GOOD * 200).replace("\n", "\r\n").encode())
        assert {(await answer(streams[0]))[0] for _ in range(200)} == {200}


async def test_requests_without_end_and_without_waiting_are_given_up() -> None:
    num_begun = 0

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal num_begun
        num_begun += 1
        while (await receive())["type"] != "http.disconnect":
            pass

    async with server(wait) as connect:
        reader, writer = await connect()
        writer.write((GOOD * 2000).replace("\n", "\r\n").encode())
        assert (await answer(reader))[0] == 400
        assert await is_closed(reader)
        assert num_begun <= 1


@pytest.mark.parametrize(
    "behind",
    [
        "no request\n\n",
        "POST /size HTTP/1.1\nHost: a\nTransfer-Encoding: chunked\n\nzz\n",
        f"GET /livez HTTP/1.1\nHost: a\nContent-Length: 1\nContent-Length: 2\n\n{GOOD}",
    ],
)
@pytest.mark.parametrize("num_good", [1, 3])
@pytest.mark.parametrize("is_half_closed", [False, True])
async def test_requests_before_what_is_none_have_their_answers_first(
    behind: str, num_good: int, is_half_closed: bool
) -> None:
    async with server() as connect:
        reader, writer = await connect()
        writer.write((GOOD * num_good + behind).replace("\n", "\r\n").encode())
        if is_half_closed:
            writer.write_eof()
        got = [(await answer(reader))[0] for _ in range(num_good + 1)]
        assert got == [200] * num_good + [400]
        assert await is_closed(reader)


async def test_caller_that_sends_no_more_has_what_is_at_hand_within_a_moment() -> None:
    ended = asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/never":
            while (await receive())["type"] != "http.disconnect":
                pass
            ended.set()
            return
        await asyncio.sleep(0.02)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["path"].encode()})

    async with server(late) as connect:
        reader, writer = await connect()
        writer.write((GOOD * 2).replace("\n", "\r\n").encode())
        writer.write_eof()
        got = await asyncio.wait_for(reader.read(), 5)
        assert (got.count(b" 200 OK"), got.count(b"connection: close")) == (2, 1)
        reader, writer = await connect()
        writer.write(GOOD.replace("livez", "never").replace("\n", "\r\n").encode())
        writer.write_eof()
        assert await is_closed(reader, 1)
        await asyncio.wait_for(ended.wait(), 1)


async def test_answer_that_ends_the_connection_ends_it_also_before_what_is_no_request() -> None:
    for behind in ("no request\n\n", "POST / HTTP/1.1\nTransfer-Encoding: chunked\n\nzz\n"):
        async with server() as connect:
            reader, writer = await connect()
            last = GOOD.replace("\n\n", "\nConnection: close\n\n")
            writer.write((last + behind).replace("\n", "\r\n").encode())
            assert (await answer(reader))[0] == 200
            assert await is_closed(reader)


async def test_exchange_hears_that_its_caller_has_gone_with_others_behind_it() -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        while (await receive())["type"] != "http.disconnect":
            pass
        ended.set()

    async with server(wait) as connect:
        _, writer = await connect()
        writer.write((GOOD * 3).replace("\n", "\r\n").encode())
        await asyncio.wait_for(begun.wait(), 5)
        writer.close()
        await asyncio.wait_for(ended.wait(), 5)


async def test_trailers_are_nobodys_and_end() -> None:
    head = (
        b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    )
    heard: list[list[bytes]] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive()).get("more_body"):
            pass
        heard.append([name for name, _ in scope["headers"]])
        headers = [(b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b""})

    async with server(note) as connect:
        reader, writer = await connect()
        writer.write(head + b"Authorization: Bearer x\r\n\r\n")
        await answer(reader)
        assert heard == [[b"host", b"content-type", b"transfer-encoding"]]
        for endless in (b"X: " + b"a" * 1000, b"X: y\r\n" * 100):
            reader, writer = await connect()
            writer.write(head)
            with suppress(ConnectionError):
                for _ in range(1000):
                    writer.write(endless)
                    await writer.drain()
                    await asyncio.sleep(0)
            assert (await answer(reader))[0] == 431
            assert await is_closed(reader)


async def test_request_behind_one_that_asks_for_another_protocol_is_answered() -> None:
    upgrade = GOOD.replace("\n\n", "\nConnection: Upgrade\nUpgrade: h2c\n\n")
    async with server() as connect:
        reader, writer = await connect()
        writer.write((upgrade + GOOD + upgrade).replace("\n", "\r\n").encode())
        for _ in range(3):
            assert (await answer(reader))[0] == 200


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("nonsense\n\n", 400),
        ("\n\n\n", 408),  # empty lines before a request are to be ignored
        ("PRI * HTTP/2.0\n\nSM\n\n", 400),
        ("GET /livez HTTP/1.1\n\n", 400),  # without a Host
        ("GET /livez HTTP/1.1\nHost: a\nHost: b\n\n", 400),
        ("GET /livez HTTP/1.1\nHost: a\nContent-Length: -1\n\n", 400),
        (f"GET /livez HTTP/1.1\nHost: a\nContent-Length: {'9' * 5000}\n\n", 400),
        ("POST /x HTTP/1.1\nHost: a\nContent-Length: 1\nTransfer-Encoding: chunked\n\n", 400),
        ("GET /livez HTTP/1.1\nHost: a\nTransfer-Encoding: gzip, chunked\n\n", 501),
        (f"GET /{'a' * 20_000} HTTP/1.1\nHost: a\n", 431),
        ("GET /a\x00b HTTP/1.1\nHost: a\n\n", 400),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\n\n", 400),  # TLS
        ("GET http://evil.example/livez HTTP/1.1\nHost: localhost\n\n", 404),
        ("OPTIONS * HTTP/1.1\nHost: localhost\n\n", 404),
        ("CONNECT evil.example:443 HTTP/1.1\nHost: localhost\n\n", 405),
        ("GET /livez HTTP/1.0\n\n", 200),
        ("GET /livez HTTP/1.1\nHost: localhost\nConnection: Upgrade\nUpgrade: websocket\n\n", 200),
    ],
)
async def test_what_is_no_request_is_answered_as_one(
    text: str, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with server() as connect:
        streams = await connect()
        got, _, body = await ask(streams, text)
        assert got == status
        assert json.loads(body)
        assert (await ask(await connect(), GOOD))[0] == 200
    assert [each for each in caplog.records if each.levelno >= logging.WARNING] == []


async def test_client_that_writes_first_hears_why_its_body_is_not_taken() -> None:
    async with server() as connect:
        for how in ("", "Connection: close\n"):
            reader, writer = await connect()
            size = 4 << 20
            writer.write(
                f"POST /size HTTP/1.1\nHost: localhost\n{how}Content-Type: application/json\n"
                f"Content-Length: {size}\n\n".replace("\n", "\r\n").encode()
            )
            for _ in range(size >> 16):
                writer.write(bytes(1 << 16))
                await writer.drain()
            assert (await answer(reader))[0] == 413


async def test_body_that_nobody_wants_is_not_read_for_ever() -> None:
    async with server() as connect:
        reader, writer = await connect()
        writer.write(
            b"POST /size HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: 9000000000\r\n\r\n"
        )
        assert (await answer(reader))[0] == 413
        with pytest.raises(ConnectionError):
            async with asyncio.timeout(5):
                while True:
                    writer.write(b"a" * 1000)
                    await writer.drain()
                    await asyncio.sleep(0.02)


async def test_body_that_waits_to_be_asked_for_is_not_asked_for() -> None:
    async with server() as connect:
        streams = await connect()
        head = "POST /size HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
        expect = "Expect: 100-continue\n"
        assert (await ask(streams, f"{head}{expect}Content-Length: 99999999\n\n"))[0] == 413
        assert await is_closed(streams[0]), "where the next request begins is not known"
        streams = await connect()
        streams[1].write(f"{head}{expect}Content-Length: 2\n\n".replace("\n", "\r\n").encode())
        assert await streams[0].readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        streams[1].write(b"{}")
        assert (await answer(streams[0]))[2] == b"2"


async def test_reader_that_does_not_read_is_dropped() -> None:
    ended = asyncio.Event()

    async def endless(send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            body = b"data: x\n\n" * 4096
            await send({"type": "http.response.body", "body": body, "more_body": True})
            await asyncio.sleep(0)

    async def watched(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.create_task(endless(send))
        while (await receive())["type"] != "http.disconnect":
            pass
        task.cancel()
        await asyncio.wait([task])
        ended.set()

    async with server(watched) as connect:
        _, writer = await connect()
        connection = writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.wait_for(ended.wait(), 10)


async def test_end_of_the_server_does_not_wait_for_a_reader() -> None:
    async def forever(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await receive())["type"] != "http.disconnect":
            pass

    loop = asyncio.get_running_loop()
    async with server(forever) as connect:
        _, writer = await connect()
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await asyncio.sleep(0.1)
        began = loop.time()
    assert loop.time() - began < 4.5
