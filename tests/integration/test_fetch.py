"""Images behind URLs, from real servers."""

import asyncio
import logging
import ssl
import time
from typing import Literal

import httpcore
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import FrameError, UrlRefusedError
from service.http.urls import GuardedHttp
from service.intake.fetch import ImageFetcher
from service.settings import FetchSettings
from tests.support.certificates import Certificate
from tests.support.factories import make_image
from tests.support.flooding_receiver import FLOODS, flooding
from tests.support.http_receivers import (
    Behaviour,
    Receiver,
    WatchedBackend,
    answers,
    breaks_tls,
    drips_body,
    drips_head,
    hints,
    says_nothing,
    sends_endless_body,
    sends_endless_head,
    worst_lag,
)


def make_fetcher(
    *hosts: str, max_bytes: int = 100_000, http: GuardedHttp | None = None
) -> ImageFetcher:
    limits = FetchSettings(allow_hosts=hosts or ("127.0.0.1",), timeout=1.0)
    return ImageFetcher(limits, max_bytes, http=http or GuardedHttp(), version="1.2.3")


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
            with pytest.raises(FrameError, match="more than 100000 bytes"):
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
        with pytest.raises(FrameError):
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


# What httpx lets through


class NoNetwork(httpcore.AsyncNetworkBackend):
    """Refuses every connection."""

    async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("no network here")


class Breaking(httpcore.AsyncNetworkBackend):
    """Connects, and then breaks in a way nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    async def connect_tcp(self, *_: object, **__: object) -> httpcore.AsyncNetworkStream:
        raise self._error


async def nowhere(host: str, port: int) -> list[str]:
    return ["93.184.215.14"]


ODD_URLS = [
    "http://xn--.example.com/a.jpg",
    "http://xn--a.example.com/a.jpg",
    "https://xn--ls8h.example.com/",
    "http://xn--" + "a" * 300 + ".example.com/",
    "http://" + "a" * 64 + ".example.com/",
    "http://" + "a." * 500 + "example.com/",
    "http://a..example.com/",
    "https://a..example.com/",
    "http://-.example.com/",
    "http://_.example.com/",
    "http://example.com./%",
    "http://example.com/%ff?%=#%",
    "http://example.com:65535/;;;",
]


@pytest.mark.parametrize("url", ODD_URLS)
async def test_fetch_odd_url_ends_as_any_other(url: str) -> None:
    http = GuardedHttp(nowhere, NoNetwork())
    with pytest.raises((FrameError, UrlRefusedError)):
        await make_fetcher("*", http=http).fetch(url)


_HOSTS = st.text(st.sampled_from("xn-a0.:_@[]%é。٣"), min_size=1, max_size=12)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # of a loaded machine
@given(_HOSTS, st.text(max_size=12))
async def test_fetch_any_url_ends_as_any_other(host: str, path: str) -> None:
    http = GuardedHttp(nowhere, NoNetwork())
    for url in (f"http://{host}/{path}", f"https://xn--{host}.example.com/{path}"):
        with pytest.raises((FrameError, UrlRefusedError)):
            await make_fetcher("*", http=http).fetch(url)


async def test_fetch_redirect_to_an_odd_host_fails() -> None:
    behave = answers(302, "Location: http://xn--.example.com/\r\n")
    async with Receiver(behave) as server:
        with pytest.raises(FrameError) as caught:
            await make_fetcher().fetch(server.url)
        assert caught.value.code == "fetch_failed"


@pytest.mark.parametrize("when", ["head", "body"])
async def test_fetch_damaged_tls_record_fails(
    when: Literal["head", "body"], https_certificate: Certificate
) -> None:
    async with Receiver(breaks_tls(when), ssl_context=https_certificate.server) as server:
        http = GuardedHttp(ssl_context=https_certificate.client)
        with pytest.raises(FrameError, match="SSL") as caught:
            url = server.url.replace("http://127.0.0.1", "https://localhost")
            await make_fetcher("localhost", http=http).fetch(url)
        assert caught.value.code == "fetch_failed"


@pytest.mark.parametrize(
    "error",
    [RuntimeError("s3cret"), ssl.SSLError(1, "torn"), UnicodeError("s3cret"), KeyError("s3cret")],
)
async def test_fetch_whatever_is_raised_fails_without_its_text(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    http = GuardedHttp(nowhere, Breaking(error))
    with caplog.at_level(logging.ERROR), pytest.raises(FrameError) as caught:
        await make_fetcher("*", http=http).fetch("http://example.com/")
    assert caught.value.code == "fetch_failed"
    assert "s3cret" not in str(caught.value)
    is_foreseen = isinstance(error, OSError | ValueError)
    assert any(record.exc_info for record in caplog.records) is not is_foreseen


# What an answer may cost


async def test_fetch_some_hints_before_the_answer_are_fine() -> None:
    async with Receiver(hints(8, answers(200))) as server:
        assert await make_fetcher().fetch(server.url) == b"ok"
        server.behave = hints(9, answers(200))
        with pytest.raises(FrameError, match="too many informational answers"):
            await make_fetcher().fetch(server.url)


@pytest.mark.parametrize("kind", FLOODS)
async def test_fetch_flood_holds_nobody_up(kind: str) -> None:
    fetchers = [make_fetcher(max_bytes=4 << 20) for _ in range(50)]  # past the limit at once
    with flooding(kind) as [port]:
        async with worst_lag() as lag:
            outcomes = await asyncio.gather(
                *(each.fetch(f"http://127.0.0.1:{port}/") for each in fetchers),
                return_exceptions=True,
            )
    assert {type(each) for each in outcomes} <= {FrameError, FrameError}
    assert lag.seconds < 0.5, lag
