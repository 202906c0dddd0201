"""What a reader is told at its beginning, and what a lost answer of the store changes."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from broker.topics import Topics
from gateway.news import Which
from schemas.camera import CameraSettings
from service.cameras import Cameras
from service.delivery.documents import Documents
from service.settings import Settings
from service.store.store import Store
from service.web.news import NewsFeed, version_of
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.unit.gateway.test_news import fail, kinds
from tests.unit.service.store.test_captions import caption
from tests.unit.service.test_cameras import Announcer

TOPICS = Topics("base")


@asynccontextmanager
async def feeding(path: Path) -> AsyncIterator[tuple[NewsFeed, Store, Cameras]]:
    clock = FakeClock(NOON, monotonic=1e6)
    async with Store.open(f"sqlite:///{path}", clock=clock) as store:
        settings = Settings(cameras={"front": CameraSettings(location="Door")})
        cameras = Cameras(settings, TOPICS, store, Announcer(), clock)
        await cameras.load()
        feed = NewsFeed(TOPICS, cameras, store, clock)
        await feed.load()
        yield feed, store, cameras


def camera_of(feed: NewsFeed) -> Any:
    [camera] = json.loads(feed.state())["cameras"]
    return camera


async def test_captions_of_before_the_start_are_in_the_state(tmp_path: Path) -> None:
    path = tmp_path / "jobs.sqlite3"
    async with feeding(path) as (feed, store, _):
        assert camera_of(feed)["result"] is None
        job = await caption(store, "A cat")
    async with feeding(path) as (feed, _, _):
        camera = camera_of(feed)

        assert camera["result"]["result"]["caption"] == "A cat"
        assert camera["image"] == camera["result"]["image"]
        assert camera["location"] == "Door"
        assert feed.pictures_of("front") == [(camera["image"], job.key)]
    assert feed.pictures_of("back") is None


async def test_what_was_committed_unheard_is_told_with_a_new_state(tmp_path: Path) -> None:
    async with feeding(tmp_path / "jobs.sqlite3") as (feed, store, _):
        await caption(store, "unheard")
        running = asyncio.create_task(feed.run())
        with feed.news.reader(Which(), fail) as reader:
            await reader.begin(None)
            feed.committed(())
            wire = await reader.next(10)
        running.cancel()

        assert kinds(wire) == ["state"]
        assert b"unheard" in (wire or b"")


async def test_of_a_forgotten_camera_nothing_is_kept(tmp_path: Path) -> None:
    async with feeding(tmp_path / "jobs.sqlite3") as (feed, store, cameras):
        cameras.subscribe(feed.camera_changed)
        cameras.admit("guest", 1e6)
        job = await caption(store, "A guest", camera_id="guest")
        document = await store.result(job.key)
        assert document is not None
        status = Documents(TOPICS).final_messages(job, NOON, document, is_newest=True)
        feed.committed(status)
        assert feed.pictures_of("guest")
        await cameras.forget("guest")

        assert feed.pictures_of("guest") is None
        assert [each["camera_id"] for each in json.loads(feed.state())["cameras"]] == ["front"]


def test_a_version_names_its_picture() -> None:
    assert version_of(b"a") != version_of(b"b")
    assert version_of(b"a") == version_of(b"a")
