"""Time is counted whatever the clock is set to, while the service runs and over restarts."""

from datetime import UTC, datetime, timedelta

import pytest

from service.store.timekeeper import Timekeeper
from tests.support.factories import NOON
from tests.support.fakes import FakeClock

SECOND = 1_000_000
DAY = 86_400 * SECOND

#: What a wrong clock may show instead of noon of 2026.
WRONG = [
    NOON - timedelta(days=1),
    NOON + timedelta(days=1),
    NOON - timedelta(days=3652),
    NOON + timedelta(days=3652),
    datetime(1970, 1, 1, tzinfo=UTC),
    datetime(2100, 1, 1, tzinfo=UTC),
]


@pytest.mark.parametrize("wrong", WRONG)
def test_setting_the_clock_moves_nothing(wrong: datetime) -> None:
    clock = FakeClock(NOON)
    keeper = Timekeeper(clock)
    clock.advance(100)
    clock.set_now(wrong)
    clock.advance(20)
    assert keeper.elapsed() == keeper.running() == 120 * SECOND


@pytest.mark.parametrize("wrong", WRONG)
def test_restart_of_the_service_is_measured_whatever_the_clock_shows(wrong: datetime) -> None:
    clock = FakeClock(NOON)
    first = Timekeeper(clock)
    clock.advance(100)
    record = first.record()
    clock.advance(30)  # ran on, and was then away
    clock.set_now(wrong)
    second = Timekeeper(clock, record)
    assert second.elapsed() == 130 * SECOND
    assert second.running() == 100 * SECOND
    clock.advance(1)
    assert second.elapsed() == 131 * SECOND


@pytest.mark.parametrize(
    ("away", "elapsed"),
    [
        (timedelta(minutes=2), 120 * SECOND),
        (timedelta(hours=16), 16 * 3600 * SECOND),
        (timedelta(days=400), DAY),
        (timedelta(days=-1), 0),
        (datetime(1970, 1, 1, tzinfo=UTC) - NOON, 0),
    ],
)
def test_restart_of_the_machine_is_believed_forwards_and_for_a_day(
    away: timedelta, elapsed: int
) -> None:
    clock = FakeClock(NOON)
    first = Timekeeper(clock)
    clock.advance(100)
    record = first.record()
    clock.set_now(clock.now() + away)
    clock.reboot()
    second = Timekeeper(clock, record)
    assert second.elapsed() == 100 * SECOND + elapsed
    assert second.running() == 100 * SECOND


def test_machine_that_does_not_name_its_start_is_believed_by_the_clock() -> None:
    class NamelessClock(FakeClock):
        def boot_id(self) -> str:
            return ""

    clock = NamelessClock(NOON)
    record = Timekeeper(clock).record()
    clock.advance(50)
    clock.set_now(NOON + timedelta(seconds=70))
    assert Timekeeper(clock, record).elapsed() == 70 * SECOND


def test_stamp_tells_when_something_arrived_before_it_was_written() -> None:
    clock = FakeClock(NOON)
    keeper = Timekeeper(clock)
    clock.advance(10)
    arrived = clock.monotonic()
    clock.advance(5)
    stamp = keeper.stamp("me")
    assert stamp.elapsed_at(arrived) == 10 * SECOND
    assert stamp.elapsed_at(None) == stamp.elapsed == 15 * SECOND
    assert keeper.monotonic_at(10 * SECOND) == arrived
