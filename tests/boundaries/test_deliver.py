"""A job that holds what cannot be sent still ends, and is said to."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas.job import ErrorDetail, JobStatus
from tests.boundaries.bench import Bench, assert_internal, boundary_bench, check_log, names


class Unsendable:
    """No JSON, no text."""


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with boundary_bench(tmp_path) as made:
        yield made


async def test_end_that_cannot_be_written_in_full_is_written_bare(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    for job_id in ("odd", "even"):
        bench.send(job_id, metadata={"zone": job_id}, location="Gate")
    await bench.until_acknowledged(2)
    jobs = [await bench.until_status(job_id, JobStatus.QUEUED) for job_id in ("odd", "even")]
    jobs[0] = jobs[0].model_copy(update={"metadata": {"zone": Unsendable()}})
    error = ErrorDetail(code="expired", message="Too old")
    ended = await bench.deliver.end(jobs, JobStatus.EXPIRED, error)
    assert [job.job_id for job in ended] == ["odd", "even"]
    assert [bench.statuses(job_id)[0].metadata for job_id in ("odd", "even")] == [
        {},
        {"zone": "even"},
    ]
    assert bench.statuses("odd")[0].error == error
    check_log(caplog)


async def test_boundary_ends_its_job_and_goes_on(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    bench.send("odd")
    job = await bench.until_status("odd", JobStatus.QUEUED)
    bench.line.break_at("push")
    async with bench.deliver.boundary(job):
        bench.line.push([])
    assert_internal(bench.statuses("odd")[0], JobStatus.FAILED)
    check_log(caplog)


async def test_abandoned_job_that_resists_keeps_no_other(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    jobs = []
    for job_id in ("odd", "even"):
        bench.send(job_id)
        jobs.append(await bench.until_status(job_id, JobStatus.QUEUED))
    bench.store.break_at("finish_many", names("odd"))
    await bench.deliver.abandon(jobs)
    assert bench.statuses("odd") == []
    assert_internal(bench.statuses("even")[0], JobStatus.FAILED)
    check_log(caplog)
