"""Whatever step fails: a job that was accepted ends once, and what was to go out is there once."""

from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest

from schemas.job import Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.errors import StoreError
from service.store.store import Ending, Store
from tests.support.factories import NOON, make_job
from tests.support.store_faults import FailEvery, Step, open_faulty

NUM_JOBS = 12


def farewell(job: Job) -> OutboxMessage:
    return OutboxMessage(
        job_key=job.key,
        channel=Channel.MQTT,
        destination=f"base/{job.camera_id}/status",
        payload=b"{}",
        created_at=NOON,
    )


async def again(step: Callable[[], Awaitable[object]]) -> None:
    """As the service does: what fails is done again, whatever came of it."""
    for _ in range(20):
        try:
            await step()
        except StoreError:
            continue
        return
    raise AssertionError("it fails for ever")


async def live(store: Store, job: Job) -> None:
    ending = Ending(job.key, JobStatus.COMPLETED, NOON, messages=[farewell(job)])
    await again(partial(store.accept, [job], {job.key: job.key.encode()}, []))
    await again(partial(store.start, [job.key], NOON))
    await again(partial(store.image, job.key))
    await again(partial(store.finish_many, [ending]))


@pytest.mark.parametrize(
    ("n", "kinds"),
    [
        *((n, (kind,)) for n in (2, 3, 7) for kind in ("begin", "commit", "committed")),
        *((n, ("statement",)) for n in (5, 6, 7, 11)),  # the longest transaction has four
        *((n, ()) for n in range(8, 20)),
    ],
)
async def test_every_nth_step_failing_loses_and_doubles_nothing(
    store_url: str, n: int, kinds: tuple[Step, ...]
) -> None:
    faults = FailEvery(n, *kinds)
    jobs = [make_job() for _ in range(NUM_JOBS)]
    async with open_faulty(store_url, faults) as store:
        for job in jobs:
            await live(store, job)
    assert len(faults.failed) > 1
    async with Store.open(store_url) as store:
        found = await store.existing([job.key for job in jobs])
        assert {job.status for job in found.values()} == {JobStatus.COMPLETED}
        assert len(found) == NUM_JOBS
        messages = await store.outbox.for_broker(1000)
        assert Counter(each.job_key for each in messages) == Counter(job.key for job in jobs)
        for job in jobs:
            assert await store.image(job.key) == job.key.encode()


@pytest.mark.both_databases
async def test_finish_is_whole_or_not_at_all_whichever_step_fails(store_url: str) -> None:
    failed: list[Step] = []
    for n in range(1, 9):
        faults = FailEvery(1_000_000)
        async with open_faulty(store_url, faults) as store:
            job = make_job()
            await store.accept([job], {job.key: b"x"}, [])
            await store.start([job.key], NOON)
            num_before = await store.outbox.pending_count(Channel.MQTT)
            ending = Ending(job.key, JobStatus.COMPLETED, NOON, messages=[farewell(job)])
            faults.fail_in(n)
            with suppress(StoreError):
                await store.finish_many([ending])
            faults.fail_in(1_000_000)
            after = await store.get(job.key)
            num_messages = await store.outbox.pending_count(Channel.MQTT) - num_before
        assert after is not None
        # An answer that is lost after the commit changes nothing about the commit.
        is_written = faults.failed in ([], ["committed"])
        assert after.status is (JobStatus.COMPLETED if is_written else JobStatus.PROCESSING)
        assert num_messages == int(is_written)
        failed += faults.failed
    assert set(failed) == {"begin", "statement", "commit", "committed"}
    assert failed.count("statement") >= 3
