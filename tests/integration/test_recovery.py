"""What others left behind comes back into the ordinary way; on real stores, without a broker."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import Connection, text

from broker.topics import Topics
from engine.errors import ImageError
from engine.images import ImageLimits
from schemas.job import JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.delivery.deliver import Deliver
from service.intake.downloads import Downloads
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.recovery import Recovery
from service.settings import FrameSettings
from service.statistics import Statistics
from service.store.database import Database
from service.store.instances import SILENT_S
from service.store.store import Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.postgres import Postgres, PostgresUnavailableError, running_postgres
from tests.support.stages import any_camera

SOON_S = 30.0


class Nobody:
    """Hears what is said without promise."""

    def announce(self, document: BaseModel) -> bool:
        return True


class NoImages:
    """A host that has none."""

    async def fetch(self, url: str) -> bytes:
        raise ImageError("fetch_failed", "there is none")


class Listener:
    """Is told of rows that must go out."""

    def __init__(self) -> None:
        self.num_calls = 0
        self.news = asyncio.Event()

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        self.num_calls += 1
        self.news.set()


@dataclass
class Site:
    """The parts around a store, with nothing running."""

    store: Store
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))
    statistics: Statistics = field(default_factory=Statistics)
    listener: Listener = field(default_factory=Listener)

    def __post_init__(self) -> None:
        topics = Topics("home")
        for channel in Channel:
            self.store.outbox.subscribe(channel, self.listener.notify)
        cameras = any_camera(self.store, self.clock, topics)
        self.deliver = Deliver(self.store, topics, Nobody(), self.statistics, self.clock, cameras)
        heap = JobHeap(100, "oldest", 60.0)
        self.queue = JobQueue(heap, self.store, self.deliver, self.clock)
        limits = ImageLimits(**FrameSettings().model_dump())
        downloads = Downloads(
            NoImages(), self.store, self.deliver, self.queue, limits, 100, self.clock
        )
        self.recovery = Recovery(
            self.store, self.deliver, self.queue, downloads, cameras, self.clock, beat_s=0.01
        )

    async def said(self) -> dict[str, Any]:
        """The documents that are to go out, by topic."""
        messages = await self.store.outbox.for_broker(100)
        return {each.destination: json.loads(each.payload) for each in messages}


@asynccontextmanager
async def recovering(site: Site) -> AsyncIterator[None]:
    task = asyncio.create_task(site.recovery.run(), name="recovery")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def change(url: str, statement: str) -> None:
    def run(connection: Connection) -> None:
        connection.execute(text(statement))

    async with Database(url) as database:
        await database.write(run)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'store.db'}"


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    try:
        with running_postgres() as server:
            yield server
    except PostgresUnavailableError as error:
        pytest.skip(str(error))


async def test_job_that_cannot_be_read_ends_with_status_and_dead_letter(url: str) -> None:
    bad = make_job(webhook_url="http://127.0.0.1/")
    async with Store.open(url) as store:
        await store.accept([bad], {bad.key: b"four"})
    await change(url, """UPDATE jobs SET document = replace(document, 'caption', 'paint')""")
    async with Store.open(url) as store:
        site = Site(store)
        assert await store.recover() == []
        async with recovering(site), asyncio.timeout(SOON_S):
            await site.listener.news.wait()
            while not site.statistics.endings:  # noqa: ASYNC110 - it is told before it is counted
                await asyncio.sleep(0.01)
        said = await site.said()
        status, letter = said["home/front/status"], said["home/bridge/dead_letter"]
        assert (status["job_id"], status["status"]) == (bad.job_id, "failed")
        assert status["error"] == letter["error"]
        assert status["error"]["code"] == "unreadable"
        assert (letter["job_id"], letter["camera_id"]) == (bad.job_id, "front")
        assert (letter["topic"], letter["size"]) == ("home/front/frame", 4)
        assert "paint" not in str(said)
        assert len(said) == 2
        assert site.statistics.endings == {JobStatus.FAILED: 1}
        assert store.unreadable.is_empty


async def test_job_without_a_camera_ends_with_a_dead_letter_alone(url: str) -> None:
    bad = make_job()
    async with Store.open(url) as store:
        await store.accept([bad], {})
    await change(url, "UPDATE jobs SET job_key = 'bridge/' || job_id")
    async with Store.open(url) as store:
        site = Site(store)
        await store.recover()
        async with recovering(site), asyncio.timeout(SOON_S):
            await site.listener.news.wait()
        said = await site.said()
        assert list(said) == ["home/bridge/dead_letter"]
        letter = said["home/bridge/dead_letter"]
        assert (letter["job_id"], letter["camera_id"], letter["size"]) == (bad.job_id, None, 0)


async def test_page_of_messages_that_cannot_be_read_holds_up_nobody(url: str) -> None:
    async with Store.open(url) as store:
        jobs = [make_job(camera_id=f"camera-{number}") for number in range(7)]
        site = Site(store)
        await store.accept(jobs, {})
        await site.deliver.end(jobs, JobStatus.CANCELLED)
    await change(url, "UPDATE outbox SET options = '{' WHERE message_id < 7")
    async with Store.open(url) as store:
        site = Site(store)
        await store.recover()
        assert await store.outbox.for_broker(5) == []
        async with recovering(site), asyncio.timeout(SOON_S):
            while len(await store.outbox.for_broker(5)) < 5:
                await site.listener.news.wait()  # a sender is told to look again
                site.listener.news.clear()
        messages = await store.outbox.for_broker(100)
        topics = [each.destination for each in messages]
        assert topics == ["home/camera-6/status"] + ["home/bridge/dead_letter"] * 6
        letters = [json.loads(each.payload) for each in messages[1:]]
        assert [letter["topic"] for letter in letters] == [
            f"home/camera-{number}/status" for number in range(6)
        ]
        assert [letter["job_id"] for letter in letters] == [job.job_id for job in jobs[:6]]


async def test_url_of_a_webhook_does_not_show_in_its_dead_letter(url: str) -> None:
    async with Store.open(url) as store:
        site = Site(store)
        job = make_job(webhook_url="https://hooks.example.com/token?secret=1")
        await store.accept([job], {})
        await site.deliver.end([job], JobStatus.CANCELLED)
    await change(url, "UPDATE outbox SET channel = 'pigeon' WHERE channel = 'webhook'")
    async with Store.open(url) as store:
        site = Site(store)
        await store.recover()
        async with recovering(site), asyncio.timeout(SOON_S):
            await site.listener.news.wait()
        letter = (await site.said())["home/bridge/dead_letter"]
        assert letter["topic"] == "https://hooks.example.com"


async def test_jobs_of_a_silent_instance_join_the_queue(
    server: Postgres, request: pytest.FixtureRequest
) -> None:
    url = server.create(request.node.name.removeprefix("test_")[:60])
    jobs = [make_job() for _ in range(3)]
    async with Store.open(url, instance="old", base_topic="home") as old:
        await old.recover()
        await old.accept(jobs, {job.key: b"x" for job in jobs})
        await old.start([jobs[0].key], NOON)
    async with Store.open(url, instance="new", base_topic="home") as new:
        site = Site(new)
        await new.recover()
        async with recovering(site), asyncio.timeout(SOON_S):
            while len(site.queue) < len(jobs):
                site.clock.advance(SILENT_S / 10)
                await asyncio.sleep(0.02)
        assert len(site.queue) == len(jobs)
        assert site.listener.num_calls
