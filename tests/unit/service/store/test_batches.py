"""Batches in the store: counted from their jobs until they are over, whole or not there at all."""

import pytest

from schemas.batch import BatchProgress
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.store.batches import NewItem
from service.store.store import Store
from tests.support.factories import NOON, make_job

pytestmark = pytest.mark.both_databases

BAD = ErrorDetail(code="bad_field", message="frame_data: is needed")


def message(progress: BatchProgress) -> OutboxMessage:
    return OutboxMessage(
        job_key=None,
        channel=Channel.MQTT,
        destination=f"base/bridge/batch/{progress.batch_id}",
        payload=progress.model_dump_json().encode(),
        created_at=NOON,
    )


async def begin(store: Store, *jobs: Job) -> None:
    """A batch `b` of these jobs and one item that is no frame, still to be completed."""
    await store.batches.begin("b", "night", len(jobs) + 1, NOON)
    items = [NewItem(i, job.camera_id, job.key, is_own=True) for i, job in enumerate(jobs)]
    images = {job.key: b"image" for job in jobs}
    for _ in range(2):  # the answer to the first may have been lost
        await store.batches.add("b", [*items, NewItem(len(jobs), None, error=BAD)], jobs, images)


async def test_batch_is_counted_from_its_jobs_and_ends_with_the_last(store: Store) -> None:
    done, waiting = make_job(batch_id="b"), make_job(batch_id="b")
    await begin(store, done, waiting)
    assert await store.batches.get("b") is None
    assert await store.finish_batch("b", NOON, message) is None
    await store.batches.complete("b")
    await store.finish(done.key, JobStatus.CANCELLED, at=NOON)
    found = await store.finish_batch("b", NOON, message)
    assert found is not None
    assert (found.failed, found.cancelled, found.progress) == (1, 1, 0.6667)
    assert found.finished_at is None
    assert [job.key for job in await store.batches.waiting([done.key, waiting.key])] == [
        waiting.key
    ]
    await store.finish(waiting.key, JobStatus.EXPIRED, at=NOON)
    over = await store.finish_batch("b", NOON, message)
    assert over is not None
    assert (over.failed, over.cancelled, over.state, over.finished_at) == (2, 1, "finished", NOON)
    assert await store.finish_batch("b", NOON, message) is None
    assert await store.outbox.pending_count(Channel.MQTT) == 1
    assert await store.batches.open() == []


async def test_batch_outlives_its_jobs_until_it_is_as_old(store: Store) -> None:
    job = make_job(batch_id="b")
    await begin(store, job)
    await store.batches.complete("b")
    await store.finish(job.key, JobStatus.CANCELLED, at=NOON)
    await store.finish_batch("b", NOON, message)
    await store.delete_finished(0.0)
    assert [each.status for each in await store.batches.results("b", 10, 0)] == [
        JobStatus.FAILED,
        JobStatus.FAILED,
    ]
    [kept] = await store.batches.page(10, 0)
    assert (kept.failed, kept.cancelled, await store.batches.count()) == (1, 1, 1)
    await store.batches.delete_ended(3600.0)
    assert await store.batches.count() == 1
    await store.batches.delete_ended(0.0)
    assert await store.batches.count() == 0


async def test_clean_up_leaves_the_jobs_of_a_batch_that_is_not_over(store: Store) -> None:
    done, waiting, other = make_job(batch_id="b"), make_job(batch_id="b"), make_job()
    await begin(store, done, waiting)
    await store.batches.complete("b")
    await store.accept([other], {other.key: b"image"})
    for job in (done, other):
        await store.finish(job.key, JobStatus.CANCELLED, at=NOON)
    assert await store.delete_finished(0.0) == 1
    now = await store.batches.get("b")
    assert now is not None
    assert (now.failed, now.cancelled) == (1, 1)
    await store.finish(waiting.key, JobStatus.CANCELLED, at=NOON)
    await store.finish_batch("b", NOON, message)
    assert await store.delete_finished(0.0) == 2


async def test_jobs_of_a_batch_are_not_recovered_into_the_queue(store: Store) -> None:
    low, high = make_job(Priority.LOW, batch_id="b"), make_job(Priority.HIGH, batch_id="b")
    other = make_job()
    await store.accept([other], {other.key: b"image"})
    await begin(store, low, high)
    await store.batches.complete("b")
    await store.start([low.key], NOON)
    assert [job.key for job in await store.recover()] == [other.key]
    assert await store.batches.recover() == ["b"]
    assert await store.batches.waiting_keys("b") == [high.key, low.key]


async def test_batch_that_was_not_completed_is_undone_at_the_start(store: Store) -> None:
    known, own = make_job(), make_job(batch_id="b")
    await store.accept([known], {known.key: b"image"})
    await begin(store, own)
    await store.batches.add("b", [NewItem(7, known.camera_id, known.key)], [], {})
    assert await store.batches.recover() == []
    assert await store.get(own.key) is None
    assert await store.image(own.key) is None
    assert await store.get(known.key) == known  # it is not the batch's
