"""What goes into the database comes back exactly, and leaves nothing behind."""

import sys
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from schemas.job import ErrorDetail, Job
from service.store.rows import to_microseconds, to_moment
from tests.support.factories import NOON, make_job


@given(st.datetimes(timezones=st.timezones()))
def test_times_survive_to_the_microsecond(moment: datetime) -> None:
    # In UTC: Python calls a local time that occurs twice, or never, unequal to every other.
    assert to_moment(to_microseconds(moment)) == moment.astimezone(UTC)


def test_times_keep_their_order_around_1970() -> None:
    moments = [NOON - timedelta(days=365 * years) for years in (80, 60, 1, 0)]
    numbers = [to_microseconds(moment) for moment in moments]
    assert numbers == sorted(numbers)
    assert numbers[0] < 0


def test_reading_jobs_leaves_no_memory_behind() -> None:
    def read(number: int) -> None:
        job = make_job(job_id=f"job-{number:08}", metadata={"zone": f"zone-{number:08}"})
        Job.model_validate_json(job.model_dump_json())
        error = ErrorDetail(code="content", message=f"The same picture as {number:08}")
        ErrorDetail.model_validate_json(error.model_dump_json())

    for number in range(100):
        read(number)
    before = sys.getallocatedblocks()
    for number in range(100, 2100):
        read(number)
    assert sys.getallocatedblocks() - before < 200
