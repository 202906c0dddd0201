import pytest

from schemas.job import JobStatus
from service.delivery.ends import MOST_WAITING, Ends, TooManyWaitError
from tests.support.factories import make_job


async def test_all_who_wait_for_a_job_hear_of_its_end_and_nobody_else_does() -> None:
    ends, job = Ends(), make_job(status=JobStatus.COMPLETED)
    with ends.of(job.key) as first, ends.of(job.key) as second, ends.of("front/other") as other:
        ends.tell(job)
        ends.tell(job)
        assert (await first, await second) == (job, job)
        assert not other.done()
        other.cancel()
        ends.tell(make_job(job_id="other"))
    assert len(ends) == 0
    ends.tell(job)


async def test_no_more_wait_than_there_are_places() -> None:
    ends = Ends()
    places = [ends.of(f"front/{number}") for number in range(MOST_WAITING)]
    for each in places:
        each.__enter__()
    with pytest.raises(TooManyWaitError), ends.of("front/more"):
        pass
    places[0].__exit__(None, None, None)
    with ends.of("front/more"):
        assert len(ends) == MOST_WAITING


async def test_one_kind_leaves_room_for_the_other() -> None:
    ends = Ends()
    places = [ends.of(f"front/{number}", "http") for number in range(MOST_WAITING)]
    for each in places:
        each.__enter__()
    with pytest.raises(TooManyWaitError), ends.of("front/more", "http"):
        pass
    with ends.of("front/more"):
        assert len(ends) == MOST_WAITING + 1
