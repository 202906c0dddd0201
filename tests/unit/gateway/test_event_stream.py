"""Server-sent events over a real socket: silence, leaving, and clients that do not read."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from fastapi import FastAPI

from gateway.event_stream import EventStream
from gateway.news import News, Said, Which
from gateway.server import listen, serving
from tests.unit.gateway.test_news import Quiet

SILENCE_S = 0.1


@asynccontextmanager
async def streaming(news: News) -> AsyncIterator[int]:
    """A server with nothing but events; its port."""
    app = FastAPI()

    @app.get("/events", response_class=EventStream)
    async def events() -> EventStream:
        return EventStream(news, Which(), None, SILENCE_S)

    listener = listen("127.0.0.1", 0)
    async with serving(app, listener):
        yield listener.getsockname()[1]
        news.close()


async def connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 16)
    writer.write(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    await writer.drain()
    return reader, writer


async def until(condition: "object") -> None:
    assert callable(condition)
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - what a socket does is not told
            await asyncio.sleep(0.01)


async def test_headers_let_nothing_hold_it_back_and_silence_is_filled() -> None:
    async with streaming(News(Quiet())) as port:
        reader, writer = await connect(port)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        await reader.readuntil(b"event: state\n")
        await asyncio.wait_for(reader.readuntil(b"\n:\n\n"), 5)
        writer.close()

    assert b"content-type: text/event-stream" in head
    assert b"cache-control: no-cache" in head
    assert b"x-accel-buffering: no" in head
    assert b"content-length" not in head


async def test_who_leaves_is_forgotten() -> None:
    news = News(Quiet())
    async with streaming(news) as port:
        reader, writer = await connect(port)
        await reader.readuntil(b"event: state\n")
        assert len(news) == 1
        writer.close()

        await until(lambda: len(news) == 0)


async def test_who_does_not_read_is_dropped_and_waited_for_by_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    news = News(Quiet(), most_bytes=1 << 20)
    async with streaming(news) as port:
        stuck, stuck_writer = await connect(port)
        quick, quick_writer = await connect(port)
        await until(lambda: len(news) == 2)
        num_told = num_read = 0
        for _ in range(1000):  # 16 MB: more than all buffers on the way hold
            news.tell(Said("log", b"x" * 16_000))
            num_told += 16_000
            await asyncio.sleep(0.001)
            while num_told - num_read > 1 << 19:  # it keeps up, however slow the machine is
                num_read += await _read_some(quick)
        while num_read < num_told:  # the last are gathered for a moment before they are sent
            num_read += await _read_some(quick)
        await until(lambda: len(news) == 1)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await stuck.readexactly(1 << 30)

        quick_writer.close()
        stuck_writer.close()

    assert caplog.records == []


async def _read_some(reader: asyncio.StreamReader) -> int:
    async with asyncio.timeout(10):
        data = await reader.read(1 << 16)
    assert data, "it was dropped too"
    return len(data)
