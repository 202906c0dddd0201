"""Cancellation with a real store, a real dispatcher and engines that do what a test says."""

import asyncio
from pathlib import Path

import pytest

from engine.protocol import Failed
from schemas.frame import Priority
from schemas.job import Job, JobStatus
from service.operations.cancel import Cancellation
from tests.support.factories import make_job
from tests.unit.service.engines.test_dispatch import Engine, Site, dispatching


async def cancel(site: Site, *jobs: Job) -> list[str]:
    places = (site.queue.remove, site.dispatcher.cancel)
    ended = await Cancellation(site.deliver, places).cancel(jobs)
    return [job.key for job in ended]


async def is_left_alone(site: Site, job: Job) -> None:
    """It stays as it was ended, and is nowhere any more."""
    await site.until(lambda: site.dispatcher.num_running == 0)
    await site.settled()
    [ended] = await site.until_status(JobStatus.CANCELLED, job)
    assert ended.error is not None
    assert ended.error.code == "cancelled"
    assert len(site.queue) == 0


async def test_job_in_an_engine_makes_room_for_the_next(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        first, second = make_job(), make_job()
        await site.add(first)
        await site.until_held(engine, first)
        await site.add(second)
        assert await cancel(site, first) == [first.key]
        await site.until_held(engine, second)
        engine.finish(second.key)
        await site.until_status(JobStatus.COMPLETED, second)
        await is_left_alone(site, first)


async def test_job_that_has_ended_is_not_cancelled(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        job = make_job()
        await site.add(job)
        await site.until_held(engine, job)
        engine.finish(job.key)
        await site.until_status(JobStatus.COMPLETED, job)
        assert await cancel(site, job) == []


async def test_job_on_its_way_is_not_sent(tmp_path: Path) -> None:
    engine = Engine(4)
    engine.does_read.clear()
    async with dispatching(tmp_path, [engine]) as site:
        sending, behind = make_job(Priority.HIGH), make_job()
        await site.add(sending, behind)
        await site.until(lambda: site.dispatcher.num_running == 2)
        await cancel(site, behind)
        engine.does_read.set()
        await site.until_held(engine, sending)
        engine.finish(sending.key)
        await site.until_status(JobStatus.COMPLETED, sending)
        assert engine.keys == [sending.key]
        await is_left_alone(site, behind)


@pytest.mark.parametrize("is_committed", [False, True])
async def test_job_that_is_being_started_reaches_no_engine(
    tmp_path: Path, is_committed: bool
) -> None:
    engine = Engine(4)
    async with dispatching(tmp_path, [engine]) as site:
        gate = site.store.may_return if is_committed else site.store.may_start
        gate.clear()
        job = make_job()
        await site.add(job)
        await site.until(lambda: site.store.num_starting == 1)
        if is_committed:
            await site.until_status(JobStatus.PROCESSING, job)
        await cancel(site, job)
        gate.set()
        await is_left_alone(site, job)
        assert engine.taken == []
        other = make_job()
        await site.add(other)
        await site.until_held(engine, other)


async def test_cancelled_job_that_fails_is_not_tried_again(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine], queue={"retry_delay": 30.0}) as site:
        job = make_job()
        await site.add(job)
        await site.until_held(engine, job)
        engine.held.clear()  # its outcome comes before the order to cancel does
        await cancel(site, job)
        engine.events.put_nowait(Failed(job.key, "engine", "worn", can_retry=True))
        await is_left_alone(site, job)


async def test_preempted_job_that_is_cancelled_does_not_come_back(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        job, critical = make_job(Priority.LOW), make_job(Priority.CRITICAL)
        await site.add(job)
        await site.until_held(engine, job)
        engine.does_read.clear()
        await site.add(critical)
        await site.until(lambda: site.statistics.num_preempted == 1)
        await cancel(site, job)
        engine.does_read.set()
        await site.until_held(engine, critical)
        engine.finish(critical.key)
        await is_left_alone(site, job)


@pytest.mark.parametrize("place", ["delayed", "quarantine"])
async def test_job_that_waits_beside_the_heap_is_cancelled(tmp_path: Path, place: str) -> None:
    async with dispatching(tmp_path, [Engine(0)]) as site:
        job = make_job()
        await site.add(job)
        ticket = site.queue.pop()
        assert ticket is not None
        if place == "delayed":
            site.queue.delay(ticket, 0.01)
        else:
            site.queue.quarantine([ticket])
        await cancel(site, job)
        await asyncio.sleep(0.05)
        assert not site.queue.has_quarantined
        await is_left_alone(site, job)
