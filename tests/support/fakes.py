"""Fakes for time only; everything else in the tests is real."""

from datetime import datetime, timedelta

from service.clock import Clock


class FakeClock(Clock):
    """A clock that stands still until it is told to go on."""

    def __init__(self, now: datetime, monotonic: float = 1000.0) -> None:
        self._now = now
        self._monotonic = monotonic
        self._num_boots = 1

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._monotonic

    def boot_id(self) -> str:
        return f"boot-{self._num_boots}"

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds

    def set_now(self, now: datetime) -> None:
        """Set the time of day; no time passes."""
        self._now = now

    def reboot(self) -> None:
        """Start the machine again, in no time; only the time of day goes on."""
        self._monotonic = 5.0
        self._num_boots += 1
