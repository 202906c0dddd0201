"""What expires, when, and at what cost; with a clock that a test turns and a real SQLite store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.topics import Topics
from engine.images import ImageLimits
from schemas.job import Job, JobStatus
from service.delivery.deliver import Deliver
from service.intake.downloads import Downloads
from service.queue.expiry import MOST_AT_ONCE, Deadlines, Expiry
from service.queue.heap import JobHeap, Ticket
from service.queue.job_queue import JobQueue
from service.statistics import Statistics
from service.store.store import Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.stages import any_camera
from tests.support.store_faults import Step, open_faulty

# -- the index -----------------------------------------------------------------------------------


def ticket(name: str, expires_at: float) -> Ticket:
    return Ticket(name, "front", make_job().priority, queued_at=0.0, expires_at=expires_at)


def names(tickets: list[Ticket]) -> list[str]:
    return [each.job_key for each in tickets]


def test_deadlines_give_what_is_over_and_the_longest_over_first() -> None:
    deadlines = Deadlines()
    for name, expires_at in (("c", 30.0), ("a", 10.0), ("b", 20.0), ("never", float("inf"))):
        deadlines.add(ticket(name, expires_at))
    assert names(deadlines.pop_expired(9.9)) == []
    assert names(deadlines.pop_expired(20.0)) == ["a", "b"]
    assert names(deadlines.pop_expired(1e12)) == ["c"]
    assert len(deadlines) == 1


def test_deadlines_forget_what_was_discarded() -> None:
    deadlines = Deadlines()
    for name in "ab":
        deadlines.add(ticket(name, 10.0))
    deadlines.discard("a")
    deadlines.discard("unknown")
    assert names(deadlines.pop_expired(10.0)) == ["b"]


def test_deadlines_keep_one_ticket_of_a_job() -> None:
    deadlines = Deadlines()
    deadlines.add(ticket("a", 10.0))
    deadlines.add(ticket("a", 20.0))
    assert names(deadlines.pop_expired(10.0)) == []
    assert names(deadlines.pop_expired(20.0)) == ["a"]


def test_deadlines_give_no_more_than_one_transaction_takes() -> None:
    deadlines = Deadlines()
    for number in range(MOST_AT_ONCE + 1):
        deadlines.add(ticket(f"job-{number}", 10.0))
    assert len(deadlines.pop_expired(10.0)) == MOST_AT_ONCE
    assert len(deadlines.pop_expired(10.0)) == 1


def test_deadlines_stay_small_while_jobs_come_and_go() -> None:
    deadlines = Deadlines()
    for number in range(100_000):
        deadlines.add(ticket(f"job-{number}", 1e9 + number))
        if number >= 100:
            deadlines.discard(f"job-{number - 100}")
    assert len(deadlines) == 100
    assert len(deadlines._heap) <= 2048  # memory, not behaviour


# -- where jobs wait -----------------------------------------------------------------------------


class CountingSteps:
    """Counts transactions."""

    def __init__(self) -> None:
        self.num_commits = 0

    def check(self, step: Step) -> None:
        self.num_commits += step == "committed"


class SilentHost:
    """Never answers; says how often it was given up."""

    def __init__(self) -> None:
        self.asked = asyncio.Semaphore(0)
        self.num_asked = 0
        self.num_given_up = 0

    async def fetch(self, url: str) -> bytes:
        self.num_asked += 1
        self.asked.release()
        try:
            await asyncio.sleep(3600)
        finally:
            self.num_given_up += 1
        return b""


class Topic:
    """Hears what is announced."""

    def announce(self, document: Any) -> bool:
        return True


@dataclass(slots=True)
class Waiting:
    """Everything in front of the engines, and no engine."""

    store: Store
    steps: CountingSteps
    clock: FakeClock = field(default_factory=lambda: FakeClock(NOON))
    statistics: Statistics = field(default_factory=Statistics)
    host: SilentHost = field(default_factory=SilentHost)
    queue: JobQueue = field(init=False)
    downloads: Downloads = field(init=False)
    expiry: Expiry = field(init=False)

    def __post_init__(self) -> None:
        clock, statistics = self.clock, self.statistics
        topics = Topics("base")
        cameras = any_camera(self.store, clock, topics)
        deliver = Deliver(self.store, topics, Topic(), statistics, clock, cameras)
        self.queue = JobQueue(JobHeap(20_000), self.store, deliver, clock)
        self.downloads = Downloads(
            self.host, self.store, deliver, self.queue, ImageLimits(), 100, clock
        )
        self.expiry = Expiry((self.queue, self.downloads), self.queue.expire)

    async def accept(self, count: int = 1, **fields: Any) -> list[Job]:
        jobs = [make_job(**{"max_age": 60.0, **fields}) for _ in range(count)]
        await self.store.accept(jobs, {}, [])
        return jobs

    def take(self, jobs: list[Job]) -> list[Ticket]:
        """Let jobs wait, and take them."""
        self.queue.push(jobs)
        return [ticket for _ in jobs if (ticket := self.queue.pop()) is not None]

    async def statuses(self, jobs: list[Job]) -> set[JobStatus]:
        found = await self.store.existing([job.key for job in jobs])
        return {job.status for job in found.values()}


@pytest.fixture
async def waiting(tmp_path: Path) -> AsyncIterator[Waiting]:
    steps = CountingSteps()
    async with open_faulty(f"sqlite:///{tmp_path / 'store.db'}", steps) as store:
        yield Waiting(store, steps)


async def test_jobs_in_the_heap_expire_on_time_and_together(waiting: Waiting) -> None:
    jobs = await waiting.accept(50)
    late = await waiting.accept(max_age=600.0)
    waiting.queue.push(jobs + late)
    waiting.clock.advance(59.9)
    await waiting.expiry.sweep()
    assert await waiting.statuses(jobs) == {JobStatus.QUEUED}
    waiting.clock.advance(0.2)
    before = waiting.steps.num_commits
    await waiting.expiry.sweep()
    assert waiting.steps.num_commits == before + 1
    assert await waiting.statuses(jobs) == {JobStatus.EXPIRED}
    assert await waiting.statuses(late) == {JobStatus.QUEUED}
    assert len(waiting.queue) == 1
    assert waiting.statistics.endings[JobStatus.EXPIRED] == 50


async def test_job_that_waits_for_a_later_attempt_expires(waiting: Waiting) -> None:
    jobs = await waiting.accept(3)
    for ticket in waiting.take(jobs):
        waiting.queue.delay(ticket, 3600.0)
    waiting.clock.advance(61)
    await waiting.expiry.sweep()
    assert await waiting.statuses(jobs) == {JobStatus.EXPIRED}
    assert len(waiting.queue) == 0


async def test_job_that_has_to_run_alone_expires(waiting: Waiting) -> None:
    jobs = await waiting.accept(3)
    waiting.queue.quarantine(waiting.take(jobs))
    waiting.clock.advance(61)
    await waiting.expiry.sweep()
    assert await waiting.statuses(jobs) == {JobStatus.EXPIRED}
    assert not waiting.queue.has_quarantined


async def test_job_in_an_engine_does_not_expire(waiting: Waiting) -> None:
    jobs = await waiting.accept(2)
    waiting.queue.quarantine(waiting.take(jobs[1:]))
    waiting.queue.push(jobs[:1])
    assert waiting.queue.pop() is not None
    waiting.queue.pop_quarantined()
    waiting.clock.advance(61)
    await waiting.expiry.sweep()
    assert await waiting.statuses(jobs) == {JobStatus.QUEUED}


async def test_job_that_returns_from_an_engine_expires(waiting: Waiting) -> None:
    jobs = await waiting.accept()
    taken = waiting.take(jobs)
    waiting.clock.advance(61)
    await waiting.queue.put_back(taken)
    await waiting.expiry.sweep()
    assert await waiting.statuses(jobs) == {JobStatus.EXPIRED}


async def test_job_whose_image_does_not_come_expires_and_is_fetched_no_more(
    waiting: Waiting,
) -> None:
    jobs = await waiting.accept(3, frame_url="http://camera.example/x.jpg")
    for job in jobs[:2]:
        await waiting.downloads.add(job)
    running = asyncio.create_task(waiting.downloads.run())
    for _ in range(2):
        await waiting.host.asked.acquire()
    await waiting.downloads.add(jobs[2])  # its fetch has not begun
    waiting.clock.advance(61)
    await waiting.expiry.sweep()
    assert await waiting.statuses(jobs) == {JobStatus.EXPIRED}
    assert (waiting.host.num_asked, waiting.host.num_given_up) == (2, 2)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_one_job_that_cannot_be_ended_does_not_keep_the_others(
    waiting: Waiting, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = await waiting.accept()
    ended: asyncio.Queue[Ticket] = asyncio.Queue()

    class Broken:
        def pop_expired(self) -> list[Ticket]:
            raise ValueError("injected")

    async def end(tickets: Any) -> None:
        for each in tickets:
            ended.put_nowait(each)

    waiting.queue.push(jobs)
    waiting.clock.advance(61)
    running = asyncio.create_task(Expiry((Broken(), waiting.queue), end).run())
    assert (await ended.get()).job_key == jobs[0].key
    running.cancel()
    assert "injected" in caplog.text
