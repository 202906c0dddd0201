"""HEAD is answered as GET without its body, on whatever answers GET."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from gateway.app import _ROUTERS, make_app
from gateway.news import News
from gateway.server import listen, serving
from tests.unit.gateway.apps import Backend, caller, options
from tests.unit.gateway.test_event_stream import until
from tests.unit.gateway.test_news import Quiet


@asynccontextmanager
async def _served(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The application on a real socket, and a client of it with one connection."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    one = httpx.Limits(max_connections=1)
    async with serving(app, listener), httpx.AsyncClient(base_url=url, limits=one) as client:
        yield client


_PATHS = sorted(
    {
        re.sub(r"{(\w+)(:path)?}", r"\1", route.path)
        for router in _ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute) and "GET" in (route.methods or ())
    }
)


@pytest.mark.parametrize("path", _PATHS)
async def test_head_of_every_route_says_what_get_says(path: str) -> None:
    async with caller(make_app(Backend(), options()), "127.0.0.1") as client:
        got, head = await client.get(path), await client.head(path)
    assert head.status_code == got.status_code != 405
    assert head.content == b""
    names = ("content-length", "content-type", "cache-control", "etag", "x-content-type-options")
    assert [head.headers.get(name) for name in names] == [got.headers.get(name) for name in names]


async def test_head_where_nothing_can_be_read_is_405_and_get_lets_know_of_head() -> None:
    async with caller(make_app(Backend(), options()), "127.0.0.1") as client:
        head, posted = await client.head("/queue/pause"), await client.post("/livez")
    assert (head.status_code, head.content, head.headers["allow"]) == (405, b"", "POST")
    assert (posted.status_code, posted.headers["allow"]) == (405, "GET, HEAD")


async def test_head_is_counted_under_its_route() -> None:
    app = make_app(Backend(), options())
    async with caller(app, "127.0.0.1") as client:
        await client.head("/queue/job/some")
    assert app.state.request_counts == Counter({("/queue/job/{job_id}", "500"): 1})


async def test_head_of_the_events_ends_at_once_and_leaves_the_connection_open() -> None:
    news = News(Quiet())
    async with asyncio.timeout(10), _served(make_app(Backend(), options(), news)) as client:
        for _ in range(2):
            head = await client.head("/events")
            assert (head.status_code, head.content) == (200, b"")
            assert head.headers["content-type"].startswith("text/event-stream")
        await until(lambda: len(news) == 0)
        assert (await client.get("/livez")).status_code == 200
