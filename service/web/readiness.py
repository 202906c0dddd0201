"""How long a picture that comes now will wait, and whether it can be answered at all.

While a model is loaded, or loaded again after its engine was lost, callers wait: it takes seconds.
Only where every engine has failed for a while nobody is kept waiting for what may never come.
"""

from collections.abc import Sequence
from typing import Protocol

from gateway.problems import Problem
from schemas.frame import Priority
from schemas.status import ModelStatus
from service.clock import Clock
from service.queue.job_queue import JobQueue

_FAILED_FOR_S = 3.0  # an engine that was lost is started again after one
_TRY_AGAIN_S = 30.0


class LookedAt(Protocol):
    """One engine, as seen from here."""

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""


class Readiness:
    """Tells callers what to expect.

    Args:
        engines: At least one.
        queue: What is before them.
        clock: For how long they have failed.
    """

    def __init__(self, engines: Sequence[LookedAt], queue: JobQueue, clock: Clock) -> None:
        self._engines = engines
        self._queue = queue
        self._clock = clock
        self._failed_since: float | None = None

    def wait_s(self, priority: Priority) -> float | None:
        """See `gateway.backend.Backend.wait_s`."""
        self._check()
        return self._queue.wait_s(priority)

    @property
    def obstacle(self) -> str | None:
        """See `gateway.backend.Backend.obstacle`."""
        return self._queue.pace.obstacle

    def _check(self) -> None:
        states = [engine.state for engine in self._engines]
        if any(each.state != "failed" for each in states):
            self._failed_since = None
            return
        now = self._clock.monotonic()
        if self._failed_since is None:
            self._failed_since = now
        if now - self._failed_since >= _FAILED_FOR_S:
            why = states[0].message or "the model cannot be loaded"
            raise Problem("model_failed", f"no model works: {why}", retry_after_s=_TRY_AGAIN_S)
