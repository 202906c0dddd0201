"""Invented cameras and bursts of one camera, sent to a whole service with a real broker."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import EmbeddedBroker
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation
from tests.support.factories import make_image

MODEL = Path(__file__).parents[2] / "demo" / "model"
MAX_CAMERAS = 16


@asynccontextmanager
async def service(
    broker: EmbeddedBroker, base: str, folder: Path, **content: Any
) -> AsyncIterator[Conversation]:
    """A service, online, and who talks to it."""
    settings = Settings(
        mqtt={"port": broker.port, "base_topic": base},
        data_dir=folder,
        stats_interval=0.2,
        **content,
    )
    stop = asyncio.Event()
    async with Conversation(broker.port, base) as talk, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop=stop))
        await talk.until_online()
        yield talk
        stop.set()


async def retained_cameras(broker: EmbeddedBroker, base: str) -> set[str]:
    """Who has a retained message, as somebody sees it who comes now."""
    async with Conversation(broker.port, base) as latecomer:
        await latecomer.wait_for("bridge/state")
        await asyncio.sleep(0.5)
        names = [each.topic.removeprefix(f"{base}/").split("/")[0] for each in latecomer.heard]
        assert all(each.retain for each in latecomer.heard)
        return set(names) - {"bridge"}


@pytest.mark.timeout(180)
async def test_600_invented_cameras_leave_as_many_known_as_allowed(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    content: dict[str, Any] = {
        "model": {"name": str(MODEL), "device": "cpu", "max_tokens": 16},
        "queue": {"capacity": 1000},
        "max_cameras": MAX_CAMERAS,
    }
    old = {f"old-{number}" for number in range(10)}
    async with service(mosquitto, topic_base, tmp_path, **content) as talk:
        for number, camera_id in enumerate(sorted(old)):
            await talk.send(camera_id, make_image(number))
            await talk.wait_for(f"{camera_id}/caption")
    assert await retained_cameras(mosquitto, topic_base) == old
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database, database:
        database.execute("UPDATE cameras SET seen = seen - 2 * 86400000000")  # two days ago
    invented = [f"invented-{number}" for number in range(600)]
    async with service(mosquitto, topic_base, tmp_path, **content) as talk:
        for number, camera_id in enumerate(invented):
            await talk.send(camera_id, make_image(1000 + number % 50))
        async with asyncio.timeout(60):
            final = {"completed", "duplicate", "rejected"}
            for camera_id in invented:
                while not final.intersection(talk.statuses(camera_id)):  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.02)
    refused = [
        camera_id
        for camera_id in invented
        if talk.said(f"{camera_id}/status", code="too_many_cameras")
    ]
    assert len(refused) == 600 - MAX_CAMERAS
    known = set(invented) - set(refused)
    assert await retained_cameras(mosquitto, topic_base) == known
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database:
        rows = database.execute("SELECT camera_id FROM cameras").fetchall()
        assert {camera_id for (camera_id,) in rows} == known


async def test_burst_of_a_camera_where_the_newest_wins_leaves_one_waiting(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """Sent at once, while nothing is taken out of the queue."""
    content: dict[str, Any] = {
        "model": {"name": str(tmp_path / "no-model")},
        "cameras": {"door": {"newest_wins": True}},
    }
    async with service(mosquitto, topic_base, tmp_path, **content) as talk:
        for num_sent in (12, 24, 36):
            pictures = [make_image(number) for number in range(num_sent - 12, num_sent)]
            await asyncio.gather(*(talk.send("door", picture) for picture in pictures))
            await talk.wait_for_many(num_sent - 1, "door/status", code="conflated")
            told = len(talk.said("bridge/stats"))
            newest = (await talk.wait_for_many(told + 2, "bridge/stats"))[-1]
            assert newest.json["queue_size"] == 1
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database:
        rows = database.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall()
    assert dict(rows) == {"queued": 1, "dropped": 35}
