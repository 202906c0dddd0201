"""A job for the frame of another one: both or neither, and once."""

from datetime import timedelta

import pytest

from schemas.job import Job, JobStatus
from service.store.store import Store
from tests.support.factories import NOON, make_job


async def ended(store: Store, frame_url: str | None = None) -> Job:
    job = make_job(frame_url=frame_url)
    await store.accept([job], {} if job.frame_url else {job.key: b"image"})
    await store.finish(job.key, JobStatus.CANCELLED, at=NOON + timedelta(seconds=1))
    return job


def again(job: Job) -> Job:
    return job.model_copy(update={"job_id": f"{job.job_id}-2", "retry_of": job.job_id})


@pytest.mark.both_databases
async def test_frame_is_kept_for_both(store: Store) -> None:
    job = await ended(store)
    new = again(job)
    assert await store.retry(job, new)
    assert await store.retry(job, new)  # after an answer that was lost
    await store.delete_finished(0.0)
    assert await store.image(new.key) == b"image"
    found = await store.get(new.key)
    assert found is not None
    assert (found.status, found.retry_of) == (JobStatus.QUEUED, job.job_id)
    assert await store.count_jobs() == 1


async def test_without_a_frame_nothing_is_written(store: Store) -> None:
    job = await ended(store)
    await store.drop_finished_frames(0)
    assert not await store.retry(job, again(job))
    assert await store.count_jobs() == 1


async def test_frame_behind_a_url_is_got_there_again(store: Store) -> None:
    job = await ended(store, frame_url="http://camera/1.jpg")
    assert await store.retry(job, again(job))
    assert await store.count_jobs(status=JobStatus.QUEUED) == 1
