"""Fakes for time only; everything else in the tests is real."""

from datetime import datetime, timedelta

from service.clock import Clock


class FakeClock(Clock):
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime, monotonic: float = 1000.0) -> None:
        self._now = now
        self._monotonic = monotonic

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def advance(self, seconds: float) -> None:
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds
