"""Which model the engines have: switched and unloaded by order, loaded again for the next job.

The newest order counts: one that is still being carried out is given up for it. A switch goes from
engine to engine, so that the others caption meanwhile; when one of them cannot load the model, all
go back to the former one. What waits for a model is no matter of this file: jobs wait in the queue.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, Protocol

from engine.protocol import ModelOptions
from schemas.job import ErrorDetail
from schemas.status import ModelStatus
from service.boundary import INTERNAL
from service.clock import Clock
from service.errors import EngineError

logger = logging.getLogger(__name__)

_LOOK_S = 0.2  # how late a waiting job is noticed; loading a model takes many times as long

_REPLACED = EngineError("model_replaced", "another request changed the model meanwhile")


class SwitchedEngine(Protocol):
    """One engine, as seen from here; see `service.engines.process`."""

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""

    async def load(self, options: ModelOptions | None = None) -> None:
        """Load a model and wait for it. Raises EngineError when it cannot be loaded."""

    async def unload(self, options: ModelOptions | None = None) -> None:
        """Free the device once the running jobs have ended; what is loaded next can be said."""


class Work(Protocol):
    """What there is to do for engines; see `service.engines.dispatch`."""

    @property
    def is_waiting(self) -> bool:
        """Whether a job waits that an engine may take."""

    @property
    def num_running(self) -> int:
        """Jobs in engines."""

    @property
    def num_given(self) -> int:
        """Jobs that engines have been given so far."""

    def look_again(self) -> None:
        """The engines have changed."""


@dataclass(slots=True, eq=False)
class Switch:
    """An order to load a model, and what has become of it."""

    options: tuple[ModelOptions, ...]  #: of each engine
    started_at: datetime
    state: Literal["loading", "loaded", "returning", "failed"] = "loading"
    error: ErrorDetail | None = None
    is_decided: asyncio.Event = field(default_factory=asyncio.Event)  #: loaded, or it failed

    def fail(self, error: EngineError) -> None:
        """Say why it failed; what was said before counts more."""
        self.error = self.error or ErrorDetail(code=error.code, message=str(error))


class Models:
    """Carries out orders about the model.

    Args:
        engines: At least one.
        options: What each has been told to load.
        unload_after: Seconds without a job until the devices are freed; 0: never.
        work: What there is to do.
        clock: For idle time.

    Attributes:
        switch: The newest order to load; None before the first.
    """

    def __init__(
        self,
        engines: Sequence[SwitchedEngine],
        options: Sequence[ModelOptions],
        unload_after: float,
        work: Work,
        clock: Clock,
    ) -> None:
        self._engines = engines
        self._chosen = tuple(options)  # what works, as far as is known
        self._given = list(options)  # what each was told last
        self._unload_after = unload_after
        self._work = work
        self._clock = clock
        self._is_unloaded = False
        self._busy_at = clock.monotonic()
        self._num_given = 0
        self._task: asyncio.Task[None] | None = None
        self.switch: Switch | None = None

    @property
    def chosen(self) -> ModelOptions:
        """The model that jobs are captioned with, or will be once it is loaded again."""
        return self._chosen[0]

    def load(self, change: Callable[[ModelOptions], ModelOptions]) -> Switch:
        """Begin to load another model on all engines.

        Args:
            change: From what an engine has to what it shall have.
        """
        options = tuple(change(each) for each in self._chosen)
        switch = Switch(options, self._clock.now())
        self._begin(self._carry_out(switch, was_unloaded=self._is_unloaded))
        self.switch = switch
        self._is_unloaded = False
        return switch

    def unload(self) -> "asyncio.Task[None]":
        """Begin to free the devices."""
        self._is_unloaded = True
        return self._begin(self._unload())

    async def run(self) -> None:
        """For ever: unload what is idle, and load again what a job waits for."""
        try:
            while True:
                self._look()
                await asyncio.sleep(_LOOK_S)
        finally:
            self._give_up()

    def _look(self) -> None:
        now, work = self._clock.monotonic(), self._work
        is_ready = all(engine.state.state == "ready" for engine in self._engines)
        if work.is_waiting or work.num_running or work.num_given != self._num_given or not is_ready:
            self._busy_at, self._num_given = now, work.num_given
        if self._task is not None and not self._task.done():
            return
        if self._is_unloaded and work.is_waiting:
            self._is_unloaded = False
            self._begin(self._load_again())
        elif is_ready and 0 < self._unload_after <= now - self._busy_at:
            logger.info(
                "%s is unloaded after %.0f s without a job",
                self.chosen.name,
                now - self._busy_at,
                extra={"action": "model_idle"},
            )
            self.unload()

    # Orders

    def _begin(self, order: Coroutine[None, None, None]) -> "asyncio.Task[None]":
        """Carry out an order in place of the one before."""
        self._give_up()
        self._task = asyncio.create_task(order, name="model")
        return self._task

    def _give_up(self) -> None:
        """Carry out no more of the present order; an engine goes on with what it was told."""
        if self._task is not None:
            self._task.cancel()
        if self.switch is not None and self.switch.state in {"loading", "returning"}:
            self.switch.fail(_REPLACED)
            self.switch.state = "failed"
            self.switch.is_decided.set()

    async def _carry_out(self, switch: Switch, *, was_unloaded: bool) -> None:
        try:
            for number, options in enumerate(switch.options):
                await self._load(number, options)
        except EngineError as error:
            switch.fail(error)
        except Exception:
            logger.exception("a model cannot be loaded")
            switch.error = INTERNAL
        else:
            self._chosen = switch.options
            switch.state = "loaded"
            logger.info("%s", _named(switch.options[0]), extra={"action": "model_loaded"})
            switch.is_decided.set()
            return
        logger.error(
            "%s cannot be loaded, back to %s: %s",
            _named(switch.options[0]),
            _named(self.chosen),
            switch.error.message if switch.error else "",
            extra={"action": "model_failed"},
        )
        switch.state = "returning"
        switch.is_decided.set()
        await self._go_back(was_unloaded=was_unloaded)
        switch.state = "failed"

    async def _go_back(self, *, was_unloaded: bool) -> None:
        if was_unloaded:
            self._is_unloaded = True
            await self._unload()
        else:
            await self._load_again()

    async def _load_again(self) -> None:
        """Load what was loaded before, on all engines at once; each tries again by itself."""
        results = await asyncio.gather(
            *(self._load(number, options) for number, options in enumerate(self._chosen)),
            return_exceptions=True,
        )
        for error in results:
            if isinstance(error, EngineError):
                logger.error("%s", error, extra={"action": "model_failed"})
            elif isinstance(error, BaseException):
                logger.error("a model cannot be loaded", exc_info=error)

    async def _load(self, number: int, options: ModelOptions) -> None:
        is_same = self._given[number] == options
        self._given[number] = options
        await self._engines[number].load(None if is_same else replace(options))

    async def _unload(self) -> None:
        self._given = list(self._chosen)
        pairs = zip(self._engines, self._chosen, strict=True)
        await asyncio.gather(*(engine.unload(options) for engine, options in pairs))
        self._work.look_again()


def _named(options: ModelOptions) -> str:
    return f"{options.name} {options.revision}"
