from datetime import timedelta

from service.tickets import ticket_of
from tests.factories import NOON, make_job
from tests.fakes import FakeClock


def test_ticket_counts_age_from_when_the_frame_was_taken() -> None:
    clock = FakeClock(NOON)
    job = make_job(taken_at=NOON - timedelta(seconds=40), received_at=NOON, max_age=60)
    assert ticket_of(job, clock).expires_at == clock.monotonic() + 20


def test_ticket_does_not_believe_a_camera_in_1970_or_in_the_future() -> None:
    clock = FakeClock(NOON)
    for taken_at in (NOON.replace(year=1970), NOON.replace(year=2100)):
        job = make_job(taken_at=taken_at, received_at=NOON, max_age=60)
        assert ticket_of(job, clock).expires_at == clock.monotonic() + 60


def test_ticket_after_a_restart_keeps_its_age() -> None:
    clock = FakeClock(NOON + timedelta(seconds=30))
    assert ticket_of(make_job(), clock).queued_at == clock.monotonic() - 30
