"""Images behind URLs, from real servers."""

import asyncio
import time

import pytest

from service.errors import FrameError, FrameTooLargeError, UrlRefusedError
from service.fetch import ImageFetcher
from service.settings import FetchSettings
from service.urls import GuardedHttp
from tests.factories import make_image
from tests.http_receivers import (
    Behaviour,
    Receiver,
    WatchedBackend,
    answers,
    drips_body,
    drips_head,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
)


def make_fetcher(
    *hosts: str, max_bytes: int = 100_000, http: GuardedHttp | None = None
) -> ImageFetcher:
    settings = FetchSettings(allow_hosts=hosts or ("127.0.0.1",), timeout=1.0)
    return ImageFetcher(settings, max_bytes, http=http or GuardedHttp(), version="1.2.3")


async def test_fetch_returns_the_bytes() -> None:
    image = make_image()
    async with Receiver(answers(200, body=image)) as server:
        assert await make_fetcher().fetch(f"{server.url}?camera=front") == image
        [request] = server.requests
        assert (request.method, request.target) == ("GET", "/hook?camera=front")
        assert request.headers["user-agent"] == "moondream2mqtt/1.2.3"


@pytest.mark.parametrize(("size", "is_too_large"), [(100_000, False), (100_001, True)])
async def test_fetch_size_is_limited(size: int, is_too_large: bool) -> None:
    async with Receiver(answers(200, body=b"x" * size)) as server:
        if is_too_large:
            with pytest.raises(FrameTooLargeError, match="more than 100000 bytes"):
                await make_fetcher().fetch(server.url)
        else:
            assert len(await make_fetcher().fetch(server.url)) == size


async def test_fetch_endless_image_ends_at_the_limit() -> None:
    async def send_endlessly(_: object, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"a" * 65536)
            await writer.drain()

    backend = WatchedBackend()
    async with Receiver(send_endlessly) as server:
        with pytest.raises(FrameTooLargeError):
            await make_fetcher(http=GuardedHttp(backend=backend)).fetch(server.url)
        assert backend.received[0] <= 100_000 + 2 * 65536


@pytest.mark.parametrize(
    "behave",
    [drips_head, drips_body, says_nothing, sends_endless_body, sends_endless_head],
)
async def test_fetch_hostile_server_is_left_in_time(behave: Behaviour) -> None:
    async with Receiver(behave) as server:
        started = time.monotonic()
        with pytest.raises(FrameError) as caught:
            await make_fetcher().fetch(f"{server.url}?key=s3cret")
        assert time.monotonic() - started < 1.5
        assert caught.value.code == "fetch_failed"
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("status", [204, 301, 302, 404, 500])
async def test_fetch_anything_but_200_fails(status: int) -> None:
    async with Receiver() as inside:
        async with Receiver(answers(status, f"Location: {inside.url}\r\n", b"")) as server:
            with pytest.raises(FrameError, match=f"answered {status}"):
                await make_fetcher().fetch(server.url)
        assert inside.num_connections == 0


async def test_fetch_compressed_answer_is_refused() -> None:
    async with Receiver(answers(200, "Content-Encoding: gzip\r\n")) as server:
        with pytest.raises(FrameError, match="compressed"):
            await make_fetcher().fetch(server.url)


async def test_fetch_dead_server_fails() -> None:
    async with Receiver() as server:
        await server.stop()
        with pytest.raises(FrameError) as caught:
            await make_fetcher().fetch(server.url)
        assert caught.value.code == "fetch_failed"


async def test_fetch_host_that_is_not_listed_is_not_contacted() -> None:
    async with Receiver() as inside:
        for hosts in (("nvr.local",), ("*",), ("*.local",), (f"127.0.0.1:{inside.port + 1}",)):
            with pytest.raises(UrlRefusedError):
                await make_fetcher(*hosts).fetch(inside.url)
        assert inside.num_connections == 0


async def test_fetch_more_than_eight_wait_without_losing_their_time() -> None:
    async def take_time(_: object, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.6)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    fetcher = make_fetcher()
    async with Receiver(take_time) as server:
        fetched = await asyncio.gather(*(fetcher.fetch(server.url) for _ in range(20)))
        assert fetched == [b"ok"] * 20
        assert server.most_at_once == 8
