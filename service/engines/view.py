"""The engines as one part: which model, how much room, and whether frames can be captioned."""

from collections.abc import Sequence
from typing import Protocol

from schemas.status import HealthCheck, LoadedModel, ModelStatus
from service.engines.process import SILENT_AFTER_S

_READINESS = ("failed", "loading", "unloaded", "ready")


class MonitoredEngine(Protocol):
    """What is read of an engine; see `service.engines.process`."""

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""

    @property
    def capacity(self) -> int:
        """Most jobs held at once."""

    @property
    def loaded(self) -> LoadedModel | None:
        """What is in memory."""

    @property
    def silent_s(self) -> float:
        """Seconds without a sign of life; 0 while none is expected."""


class EnginesView:
    """What the engines say of themselves.

    An engine that has failed and tries again says `loading` meanwhile, and can work no more than
    before: it counts as failed until it is ready. So it has to be looked at more often than it
    tries, which is once a second.

    Args:
        engines: At least one.
    """

    def __init__(self, engines: Sequence[MonitoredEngine]) -> None:
        self._engines = engines
        self._failures: dict[int, str] = {}  # by number of the engine: why it has failed

    @property
    def capacity(self) -> int:
        """Most jobs held at once, by all."""
        return sum(engine.capacity for engine in self._engines)

    @property
    def loaded(self) -> tuple[LoadedModel, ...]:
        """What is in memory."""
        return tuple(each.loaded for each in self._engines if each.loaded is not None)

    @property
    def has_ready(self) -> bool:
        """Whether one takes jobs."""
        return any(engine.state.state == "ready" for engine in self._engines)

    def model(self) -> ModelStatus:
        """The engines' common state: the least ready one speaks."""
        states = self._look()
        return min(states, key=lambda model: _READINESS.index(model.state))

    def health(self) -> HealthCheck:
        """Whether frames can be captioned; while one engine can, it is no worse than degraded."""
        states = self._look()
        message = self._message(states)
        silent = max(self._engines, key=lambda engine: engine.silent_s)
        if silent.silent_s >= SILENT_AFTER_S:
            seconds, device = silent.silent_s, silent.state.device
            message = f"the engine on {device} has been silent for {seconds:.0f} s"
        elif all(each.state in {"ready", "unloaded"} for each in states):
            return HealthCheck(status="healthy", message=message)
        if any(each.state == "ready" for each in states) or not self._failures:
            return HealthCheck(status="degraded", message=message)
        return HealthCheck(status="unhealthy", message=message)

    def _look(self) -> list[ModelStatus]:
        states = [engine.state for engine in self._engines]
        for number, model in enumerate(states):
            if model.state == "failed":
                self._failures[number] = model.message or "the model cannot be loaded"
            elif model.state != "loading":
                self._failures.pop(number, None)
        return states

    def _message(self, states: Sequence[ModelStatus]) -> str:
        if self._failures:
            number, why = next(iter(self._failures.items()))
            return why if states[number].state == "failed" else f"tried again after: {why}"
        least = min(states, key=lambda model: _READINESS.index(model.state))
        return least.message or ", ".join(model.state for model in states)
