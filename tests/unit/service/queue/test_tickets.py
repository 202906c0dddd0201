from datetime import timedelta

from service.queue.tickets import ticket_of
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock


def test_ticket_counts_age_from_the_arrival() -> None:
    clock = FakeClock(NOON)
    job = make_job(arrived_monotonic=clock.monotonic() - 40, max_age=60)
    assert ticket_of(job, clock).queued_at == clock.monotonic() - 40
    assert ticket_of(job, clock).expires_at == clock.monotonic() + 20


def test_ticket_believes_no_time_of_day() -> None:
    clock = FakeClock(NOON)
    for year in (1970, 2025, 2027, 2100):
        moment = NOON.replace(year=year) + timedelta(hours=1)
        job = make_job(taken_at=moment, received_at=moment, max_age=60)
        assert ticket_of(job, clock).expires_at == clock.monotonic() + 60
