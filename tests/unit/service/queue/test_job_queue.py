"""The queue's own rules, on a real store."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from pydantic import BaseModel

from broker.topics import Topics
from schemas.frame import Priority
from schemas.job import Job, JobStatus
from service.delivery.deliver import Deliver
from service.queue.heap import JobHeap, Ticket
from service.queue.job_queue import JobQueue
from service.statistics import Statistics
from service.store.store import Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.stages import any_camera

CAPACITY = 3


class Nobody:
    """Hears what is announced."""

    def announce(self, document: BaseModel) -> bool:
        return True


@dataclass
class Site:
    store: Store
    queue: JobQueue
    clock: FakeClock

    async def add(self, *jobs: Job) -> list[Ticket]:
        """Let jobs wait that are committed; what was evicted."""
        await self.store.accept(jobs, {job.key: b"x" for job in jobs})
        return self.queue.push(jobs)

    def pop_all(self) -> list[str]:
        popped = []
        while (ticket := self.queue.pop()) is not None:
            popped.append(ticket.job_key)
        return popped

    async def ended(self, job: Job) -> tuple[JobStatus, str | None]:
        found = await self.store.get(job.key)
        assert found is not None
        return found.status, found.error.code if found.error else None


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    clock = FakeClock(NOON)
    async with Store.open(tmp_path / "store.db", clock=clock) as store:
        topics = Topics("base")
        cameras = any_camera(store, clock, topics)
        deliver = Deliver(store, topics, Nobody(), Statistics(), clock, cameras)
        yield Site(store, JobQueue(JobHeap(CAPACITY), store, deliver, clock), clock)


async def test_push_makes_tickets_of_jobs(site: Site) -> None:
    job = make_job(
        Priority.HIGH, arrived_monotonic=site.clock.monotonic() - 5, max_age=60, num_bytes=7
    )
    assert await site.add(job) == []
    ticket = site.queue.pop()
    assert ticket is not None
    assert (ticket.job_key, ticket.camera_id, ticket.priority) == (job.key, "front", Priority.HIGH)
    assert ticket.queued_at == site.clock.monotonic() - 5
    assert ticket.expires_at == site.clock.monotonic() + 55
    assert ticket.num_bytes == 7


async def test_evicted_job_ends_as_dropped(site: Site) -> None:
    low = make_job(Priority.LOW)
    [evicted] = await site.add(low, *(make_job() for _ in range(CAPACITY)))
    assert evicted.job_key == low.key
    await site.queue.drop_evicted([evicted])
    assert await site.ended(low) == (JobStatus.DROPPED, "queue_full")
    assert len(site.queue) == CAPACITY


async def test_ticket_that_is_put_back_keeps_its_age(site: Site) -> None:
    old = make_job(max_age=60)
    await site.add(old)
    ticket = site.queue.pop()
    assert ticket is not None
    site.clock.advance(30)
    await site.add(young := make_job())
    await site.queue.put_back([ticket])
    assert site.pop_all() == [old.key, young.key]
    await site.queue.put_back([ticket])
    site.clock.advance(31)
    assert site.queue.pop_expired() == [ticket]


async def test_all_that_waits_is_counted_by_priority(site: Site) -> None:
    high, low, delayed = (make_job(each) for each in (Priority.HIGH, Priority.LOW, Priority.LOW))
    await site.add(high, delayed)
    quarantined, waiting = site.queue.pop(), site.queue.pop()
    assert quarantined is not None
    assert waiting is not None
    site.queue.quarantine([quarantined])
    site.queue.delay(waiting, 10.0)
    await site.add(low)
    numbers = site.queue.by_priority()
    assert (numbers[Priority.HIGH], numbers[Priority.LOW]) == (1, 2)
    assert sum(numbers.values()) == len(site.queue)


async def test_delayed_job_comes_when_it_is_due(site: Site) -> None:
    job = make_job()
    await site.add(job)
    ticket = site.queue.pop()
    assert ticket is not None
    site.queue.delay(ticket, 10.0)
    await site.queue.wait()
    assert (site.queue.pop(), len(site.queue)) == (None, 1)
    site.clock.advance(10)
    site.queue.notify()
    await site.queue.wait()
    assert site.pop_all() == [job.key]


async def test_job_in_quarantine_is_not_among_the_others(site: Site) -> None:
    job, other = make_job(), make_job()
    await site.add(job, other)
    ticket = site.queue.pop()
    assert ticket is not None
    site.queue.quarantine([ticket])
    assert site.queue.has_quarantined
    assert site.pop_all() == [other.key]
    assert site.queue.pop_quarantined() == ticket
    assert not site.queue.has_quarantined


@pytest.mark.parametrize("place", ["heap", "delayed", "quarantine"])
async def test_remove_finds_a_job_wherever_it_waits(site: Site, place: str) -> None:
    job = make_job(max_age=60)
    await site.add(job)
    if place != "heap":
        ticket = site.queue.pop()
        assert ticket is not None
        if place == "delayed":
            site.queue.delay(ticket, 10.0)
        else:
            site.queue.quarantine([ticket])
    assert site.queue.remove(job.key)
    assert not site.queue.remove(job.key)
    assert len(site.queue) == 0
    site.clock.advance(61)
    assert site.queue.pop_expired() == []


async def test_waiting_jobs_of_some_cameras(site: Site) -> None:
    front, low, garden = make_job(), make_job(Priority.LOW), make_job(camera_id="garden")
    await site.add(front, low, garden)
    waiting = {each.job_key for each in site.queue.waiting_of(["front", "nowhere"])}
    assert waiting == {front.key, low.key}
    assert site.queue.waiting_of([]) == []
    site.queue.pop()
    assert len(site.queue.waiting_of(["front", "garden"])) == 2


async def test_places_count_those_ahead(site: Site) -> None:
    site.queue.pace.capacity = 1
    high, normal, gone = make_job(Priority.HIGH), make_job(), make_job()
    await site.add(high, normal)
    found = [
        (job, place.position, place.message)
        for job, place in site.queue.places([normal, high, gone])
    ]
    assert found == [(normal, 2, "Waiting, 1 is ahead"), (high, 1, "Next")]


async def test_news_wakes_who_waits(site: Site) -> None:
    waiting = asyncio.create_task(site.queue.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    await site.add(make_job())
    await asyncio.wait_for(waiting, 5)


async def test_job_of_a_batch_makes_room_and_comes_back(site: Site) -> None:
    batched = make_job(batch_id="b", priority=Priority.LOW)
    assert await site.add(batched) == []
    frames = [make_job(priority=Priority.LOW) for _ in range(CAPACITY)]
    assert await site.add(*frames) == []
    assert (site.queue.num_of_batches, site.queue.room) == (0, 0)
    assert set(site.pop_all()) == {each.key for each in frames}
    site.queue.readmit(5)
    assert site.pop_all() == [batched.key]


async def test_job_of_a_batch_that_made_room_expires_and_is_removed_like_any(site: Site) -> None:
    first, second = (make_job(batch_id="b", max_age=10.0) for _ in range(2))
    frames = [make_job() for _ in range(CAPACITY)]
    await site.add(*frames)
    await site.add(first, second)
    assert site.queue.remove(second.key)
    site.clock.advance(11.0)
    assert [each.job_key for each in site.queue.pop_expired()] == [first.key]
    site.queue.readmit(5)
    assert set(site.pop_all()) == {each.key for each in frames}
