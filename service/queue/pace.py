"""How long a waiting job will wait, judged by how long those before it took.

An engine takes what is more important first, also from what it holds: a job waits for those that
matter as much as it does, not for all that run.

Two things are measured, because an engine that works on many frames at once is slow with one and
fast with a hundred: how long a job takes that has the engines to itself, and how far apart the ends
come while the engines are busy. Plain memory and no clock.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean, median

from schemas.frame import Priority
from service.delivery.place import Place

_PAUSED = "processing is paused"
_MOST_ALONE = 8  # few, so that a slow first frame is soon forgotten
_MOST_INTERVALS = 64  # ends come in clumps as large as a batch: the mean needs several of them


@dataclass(slots=True)
class Pace:
    """What is known of the engines by those who wait for them; the dispatcher keeps it true."""

    capacity: int = 0  #: most jobs in the engines at once; 0: no engine is ready
    running: Mapping[Priority, int] = field(default_factory=dict)  #: jobs in the engines
    is_paused: bool = False
    loading: str | None = None  #: what an engine does before it is ready, or why it is not
    _alone: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_ALONE))
    _intervals: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_INTERVALS))
    _last_end: float | None = None  # of the ends that came while the engines were busy

    def ended(self, now: float, num_behind: int, alone_s: float | None = None) -> None:
        """Learn from a job that leaves an engine.

        Args:
            now: When, on the monotonic clock.
            num_behind: Jobs that wait or run besides it.
            alone_s: Seconds that it took, if it was captioned and the engines had nothing else.
        """
        if alone_s is not None:
            self._alone.append(alone_s)
        if self._last_end is not None:
            self._intervals.append(now - self._last_end)
        is_busy = num_behind >= max(1, self.capacity // 2)
        self._last_end = now if is_busy else None

    def interrupt(self) -> None:
        """The engines were kept from working: the next end says nothing of their pace."""
        self._last_end = None

    def place(self, position: int, priority: Priority = Priority.LOW) -> Place:
        """What a job of a priority hears that is the `position`th to leave, 1 is next."""
        if self.is_paused:
            return Place(position, None, f"Waiting, {_PAUSED}")
        if not self.capacity:
            return Place(position, None, f"Waiting for the model to load{self._loading}")
        num_ahead = position - 1
        verb = "is" if num_ahead == 1 else "are"
        message = f"Waiting, {num_ahead} {verb} ahead" if num_ahead else "Next"
        return Place(position, self._wait_s(position, priority), message)

    @property
    def obstacle(self) -> str | None:
        """Why no waiting job is taken, in words; None: they are."""
        if self.is_paused:
            return _PAUSED
        return None if self.capacity else f"the model is not loaded{self._loading}"

    @property
    def _loading(self) -> str:
        return f": {self.loading}" if self.loading else ""

    def _wait_s(self, position: int, priority: Priority) -> float | None:
        """Seconds until the caption; None before anything is known."""
        num_before = sum(num for each, num in self.running.items() if each >= priority)
        num_ends = position + num_before  # until its own has come
        alone_s = median(self._alone) if self._alone else None
        if not self._intervals:
            return None if alone_s is None else round(num_ends * alone_s, 2)
        return round(max(alone_s or 0.0, num_ends * fmean(self._intervals)), 2)
