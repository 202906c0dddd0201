"""Callers that go away, over real connections: what asks hears of it within a second."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import cast

import pytest_asyncio
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse

import gateway.backend
from gateway.access import TheAsker, TheOptions
from gateway.app import make_app
from gateway.asking import frame_of
from gateway.server import listen, serving
from tests.support.results import result_document
from tests.unit.gateway.test_asking import OPTIONS, Asked, Backend

SOON_S = 1.0


class Site:
    """A gateway with two routes that ask."""

    def __init__(self, port: int, backend: Backend) -> None:
        self._port = port
        self._backend = backend

    async def post(
        self, path: str, body: bytes
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        lines = (
            f"POST {path} HTTP/1.1",
            "Host: 127.0.0.1",
            "Content-Type: image/jpeg",
            f"Content-Length: {len(body)}",
        )
        writer.write("\r\n".join((*lines, "", "")).encode() + body)
        return reader, writer

    async def job(self, number: int = 1) -> Asked:
        async with asyncio.timeout(5):
            while len(self._backend.jobs) < number:  # noqa: ASYNC110 - polls real parts
                await asyncio.sleep(0.005)
        return self._backend.jobs[number - 1]

    @staticmethod
    async def is_cancelled_soon(job: Asked) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SOON_S):
                while not job.is_cancelled:  # noqa: ASYNC110 - polls real parts
                    await asyncio.sleep(0.005)
        return job.is_cancelled


def add_routes(app: FastAPI) -> None:
    @app.post("/test/ask")
    async def ask(request: Request, asker: TheAsker, options: TheOptions) -> Response:
        frame = frame_of(await request.body(), {}, request, options)
        return Response((await asker.ask(request, frame)).model_dump_json())

    @app.post("/test/stream")
    async def stream(request: Request, asker: TheAsker, options: TheOptions) -> Response:
        frame = frame_of(await request.body(), {}, request, options)
        answering = await asker.begin(request, frame)
        return StreamingResponse(answering.pieces(), media_type="text/plain")


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    backend = Backend()
    app = make_app(cast("gateway.backend.Backend", backend), OPTIONS)
    add_routes(app)
    listener = listen("127.0.0.1", 0)
    port = listener.getsockname()[1]
    async with serving(app, listener):
        yield Site(port, backend)
    await app.state.asker.close()


async def test_connection_that_is_closed_ends_its_job(site: Site) -> None:
    _, writer = await site.post("/test/ask", b"one")
    job = await site.job()
    writer.close()
    assert await site.is_cancelled_soon(job)


async def test_connection_that_is_reset_ends_its_job(site: Site) -> None:
    _, writer = await site.post("/test/ask", b"one")
    job = await site.job()
    own: socket.socket = writer.get_extra_info("socket")
    own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
    assert await site.is_cancelled_soon(job)


async def test_stream_that_is_closed_half_way_ends_its_job(site: Site) -> None:
    reader, writer = await site.post("/test/stream", b"one")
    job = await site.job()
    job.say("A cat")
    await asyncio.wait_for(reader.readuntil(b"A cat"), 5)
    writer.close()
    assert await site.is_cancelled_soon(job)


async def test_second_of_two_connections_keeps_the_job(site: Site) -> None:
    _, first = await site.post("/test/ask", b"one")
    reader, second = await site.post("/test/ask", b"one")
    job = await site.job()
    first.close()
    assert not await site.is_cancelled_soon(job)
    job.end.set_result(result_document("A cat"))
    assert b"A cat" in await asyncio.wait_for(reader.readuntil(b'"A cat"'), 5)
    second.close()
