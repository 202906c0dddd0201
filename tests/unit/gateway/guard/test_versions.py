"""Other protocols and versions than HTTP/1.1: what they ask for is answered, or ends."""

import asyncio

import pytest

from gateway.guard.asgi import Message, Receive, Scope, Send
from tests.unit.gateway.guard.test_protocol import GOOD, answer, ask, is_closed, server

_HEAD = "POST /size HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
_UPGRADE = "Connection: Upgrade, HTTP2-Settings\nUpgrade: {}\nHTTP2-Settings: AAMAAABk\n"
_SIZE = f"Content-Length: {len(GOOD) + GOOD.count(chr(10))}\n\n{GOOD}"
_CHUNKS = f"Transfer-Encoding: chunked\n\n{len(GOOD) + GOOD.count(chr(10)):x}\n{GOOD}\n0\n\n"


@pytest.mark.parametrize("body", [_SIZE, _CHUNKS], ids=["length", "chunks"])
@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("step", [10_000, 1])
async def test_body_of_a_request_for_another_protocol_is_its_body(
    protocol: str, body: str, step: int
) -> None:
    """Java's client asks so with each first request, and whatever passes one on may."""
    text = (_HEAD + _UPGRADE.format(protocol) + body + GOOD).replace("\n", "\r\n").encode()
    async with server() as connect:
        reader, writer = await connect()
        for start in range(0, len(text), step):
            writer.write(text[start : start + step])
            await asyncio.sleep(0)
        status, _, got = await answer(reader)
        assert (status, got) == (200, str(len(GOOD.replace("\n", "\r\n"))).encode())
        assert (await answer(reader))[0] == 200
        writer.write(GOOD.replace("\n", "\r\n").encode())
        assert (await answer(reader))[0] == 200, "of the request that was sent last"


async def test_what_follows_connect_is_no_request() -> None:
    for body in (_SIZE, _CHUNKS, "\n"):
        async with server() as connect:
            streams = await connect()
            first = "CONNECT evil.example:443 HTTP/1.1\nHost: localhost\n" + body
            assert (await ask(streams, GOOD + first + GOOD))[0] == 200
            assert (await answer(streams[0]))[0] == 405
            assert await is_closed(streams[0])


@pytest.mark.parametrize("version", ["0.9", "2.0"])
async def test_version_that_is_not_ours_is_refused(version: str) -> None:
    async with server() as connect:
        streams = await connect()
        assert (await ask(streams, f"GET /livez HTTP/{version}\n\n"))[0] == 400
        assert await is_closed(streams[0])


async def test_http_1_0_gets_no_chunks_and_is_not_told_to_continue() -> None:
    heard: list[Message] = []

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for piece in (b"one\n", b"", b"two\n"):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"three\n"})

    async with server(stream) as connect:
        reader, writer = await connect()
        head = "POST / HTTP/1.0\nExpect: 100-continue\nContent-Length: 2\n\n{}"
        writer.write(head.replace("\n", "\r\n").encode())
        got = await asyncio.wait_for(reader.read(), 5)
    assert heard[0]["body"] == b"{}"
    said, _, body = got.partition(b"\r\n\r\n")
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nconnection: close" in said
    assert b"transfer-encoding" not in said
    assert body == b"one\ntwo\nthree\n"
