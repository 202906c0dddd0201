"""The service's side of an engine: start the child, feed it, time it out, start it again.

The rule a caller relies on: a job that `submit` took ends in exactly one event, `Done`, `Failed`,
`Similar`, `Cancelled` or `Lost`, whatever happens to the child. The child is disposable: nothing in
it outlives it, so every trouble that it cannot name ends in a kill and a new start.
"""

import asyncio
import json
import logging
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from types import TracebackType

from engine.images import DEFAULT_LIMITS, ImageLimits
from engine.protocol import (
    VERSION,
    Alive,
    Cancel,
    Cancelled,
    Capacity,
    Done,
    Event,
    Failed,
    Hello,
    LoadFailed,
    Loading,
    Message,
    ModelOptions,
    Piece,
    Ready,
    Similar,
    Started,
    Submit,
)
from schemas.status import LoadedModel, ModelState, ModelStatus
from service.backoff import Backoff
from service.engines.child import Child
from service.engines.load_log import LoadLog
from service.errors import EngineError, EngineLostError

logger = logging.getLogger(__name__)

WORKER = (sys.executable, "-m", "engine.worker")

#: From here on a silent child is said to be so. It tells of itself every second, between two steps
#: of the model; the longest step known, a frame of 9 crops on two processor cores, takes 15 s.
SILENT_AFTER_S = 10.0


@dataclass(frozen=True, slots=True)
class Lost:
    """The child ended without being told to, and took these jobs with it."""

    keys: tuple[str, ...]
    message: str


EngineEvent = Event | Lost

#: Between starts of a child that keeps failing; a load that may work later is retried this often.
BACKOFF = Backoff(first=1.0, longest=60.0)


class EngineProcess:
    """A child that owns one device, kept alive.

    Loading begins on entering the context and does not hold it up; `load` waits for it.

    Args:
        options: The model.
        image_limits: What the child decodes.
        load_timeout: Seconds without progress until loading is given up. A download that moves is
            progress.
        step_timeout: Seconds without a sign of life, once loaded, until the child is killed.
        backoff: Between starts.
        command: The program that is the child; tests put a scripted one.

    Attributes:
        events: What the child says, `Alive` excepted, and `Lost`. Bounded: when nobody takes them,
            the child is not read and waits.
    """

    def __init__(
        self,
        options: ModelOptions,
        *,
        image_limits: ImageLimits = DEFAULT_LIMITS,
        load_timeout: float = 900.0,
        step_timeout: float = 120.0,
        backoff: Backoff = BACKOFF,
        command: Sequence[str] = WORKER,
    ) -> None:
        self.events: asyncio.Queue[EngineEvent] = asyncio.Queue(maxsize=1024)
        self._options = options
        self._image_limits = image_limits
        self._load_timeout = load_timeout
        self._step_timeout = step_timeout
        self._backoff = backoff
        self._command = command
        self._load_log = LoadLog()
        #: What shall be loaded; None: nothing. Told apart by identity, so that loading the same
        #: options again is a new start.
        self._target: ModelOptions | None = options
        self._running: ModelOptions | None = None
        self._child: Child | None = None
        self._ready: Ready | None = None
        self._loaded_at: datetime | None = None
        self._alive: Alive | None = None
        self._listening_since: float | None = None  # no message since; None: we do not listen
        self._capacity = 0
        self._held: set[str] = set()
        self._leaving: set[str] = set()  # of them, those that were told to be forgotten
        self._state: ModelState = "loading"
        self._message: str | None = None
        self._failure: EngineError | None = None
        self._can_retry = False
        self._has_worked = False
        self._changed = asyncio.Event()
        self._tasks = asyncio.TaskGroup()

    async def __aenter__(self) -> "EngineProcess":
        await self._tasks.__aenter__()
        self._supervisor = self._tasks.create_task(
            self._supervise(), name=f"engine {self._options.device}"
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._target = None
        self._supervisor.cancel()
        await self._tasks.__aexit__(kind, error, traceback)

    # What it is doing

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""
        options = self._running or self._target or self._options
        ready = self._ready
        state, message = self._state, self._message
        if ready and self._target is not self._running:
            state = "loading" if self._target else state
            message = f"{len(self._held)} running jobs end first"
        if self.silent_s >= SILENT_AFTER_S:
            message = "no sign of life"
        return ModelStatus(
            name=ready.model if ready else options.name,
            revision=ready.revision if ready else options.revision,
            device=ready.device if ready else options.device,
            dtype=ready.dtype if ready else options.dtype,
            state=state,
            message=message,
            quantization=ready.quantization if ready else None,
            max_crops=ready.max_crops if ready else None,
            seconds_per_frame=_seconds_per_frame(ready),
        )

    @property
    def loaded(self) -> LoadedModel | None:
        """The model in memory; sizes as last reported."""
        if self._ready is None or self._loaded_at is None:
            return None
        memory = self._alive or self._ready
        return LoadedModel(
            id=f"{self._ready.model}@{self._ready.revision}",
            name=self._ready.model,
            vram_mb=memory.vram_mb,
            ram_mb=memory.ram_mb,
            loaded_at=self._loaded_at,
        )

    @property
    def silent_s(self) -> float:
        """Seconds without a sign of life; 0 until ready, and while we are the one who is late."""
        if self._ready is None or self._listening_since is None:
            return 0.0
        return time.monotonic() - self._listening_since

    @property
    def capacity(self) -> int:
        """Most jobs held at once; 0 until ready, and while a switch waits for running jobs."""
        return self._capacity if self._target is self._running else 0

    @property
    def held(self) -> frozenset[str]:
        """Jobs that were submitted and have not ended."""
        return frozenset(self._held)

    @property
    def free(self) -> int:
        """How many jobs `submit` would take now; one that is being cancelled makes room at once."""
        return max(0, self.capacity - len(self._held - self._leaving))

    @property
    def pid(self) -> int | None:
        """Process id of the child, if there is one."""
        return self._child.pid if self._child else None

    # What it can be told

    async def submit(self, job: Submit) -> None:
        """Hand a job over.

        Raises:
            EngineError: There is no room, or no child: the job was not taken.
        """
        if self._child is None or not self.capacity:
            raise EngineError("engine_unavailable", f"the engine takes no jobs: {self._state}")
        if not self.free:
            raise EngineError("engine_full", f"the engine holds {len(self._held)} jobs already")
        if job.key in self._held:
            raise EngineError("engine_full", f"the engine holds {job.key} already")
        self._held.add(job.key)
        try:
            await self._child.send(job)
        except Exception:
            self._held.discard(job.key)  # not taken: no event will name it
            raise

    async def cancel(self, key: str) -> None:
        """Ask for a job to be forgotten; its event tells whether it was. Not held: nothing."""
        if self._child is not None and key in self._held:
            self._leaving.add(key)
            await self._child.send(Cancel(key))

    async def load(self, options: ModelOptions | None = None) -> None:
        """Load a model and wait until it is ready.

        A model that is loaded stays until its running jobs have ended; meanwhile none is taken.

        Args:
            options: Another model; None for the one of before, which is a no-op when it is ready.

        Raises:
            EngineError: It cannot be loaded, or another call changed the target.
        """
        if options is not None:
            self._options = options
        if self._target is None or options is not None or self._state == "failed":
            self._set_target(target := ModelOptions(**asdict(self._options)))
        else:
            target = self._target
        await self._until(
            lambda: (
                self._target is not target
                or (self._running is target and self._state in {"ready", "failed"})
            )
        )
        if self._target is not target:
            raise EngineError("model_replaced", "another request changed the model meanwhile")
        if self._failure is not None:
            raise self._failure

    async def unload(self, options: ModelOptions | None = None) -> None:
        """Free the device: let the running jobs end, then end the child and wait for that.

        Args:
            options: What is loaded next; None: what was loaded.
        """
        if options is not None:
            self._options = options
        self._set_target(None)
        await self._until(lambda: self._child is None or self._target is not None)

    # The child's life

    def _set_target(self, target: ModelOptions | None) -> None:
        self._target = target
        self._failure = None
        self._end_when_idle()
        self._notify()

    def _end_when_idle(self) -> None:
        """Kill a child that is not wanted any more once it holds nothing: no job is harmed."""
        if self._child is not None and self._target is not self._running and not self._held:
            self._child.kill()

    async def _supervise(self) -> None:
        """Run one child after the other, for as long as the context lasts."""
        failures = 0
        while True:
            target = self._running = await self._next_target()
            self._failure = None
            self._set("loading", "starting")
            self._load_log.begin()
            has_worked = await self._run_child(target)
            if self._target is target:
                failures = 1 if has_worked else failures + 1
                await self._rest(self._backoff.after(failures), target)
            else:  # it was told to end
                failures, self._running = 0, None
                self._set("unloaded" if self._target is None else "loading", None)

    async def _next_target(self) -> ModelOptions:
        """Wait until something shall be loaded."""
        while self._target is None:
            await self._until(lambda: self._target is not None)
        return self._target

    async def _run_child(self, options: ModelOptions) -> bool:
        """Start a child and stay with it to its end; whether it finished any job."""
        self._has_worked = self._can_retry = False
        try:
            async with Child(self._arguments(options)) as child:
                self._child = child
                self._end_when_idle()  # the target may have changed while it started
                why = await self._listen(child)
                was_told = self._target is not self._running or self._failure is not None
                if self._held or not was_told:
                    await self._lose(why or await child.explain_end())
        except OSError as error:
            await self._lose(f"cannot be started: {error}")
        except Exception:  # the jobs it held still get their event, and another child its chance
            logger.exception("an engine's supervision failed")
            await self._lose("could not be supervised")
        finally:
            self._child = None
            self._forget()
        return self._has_worked

    async def _listen(self, child: Child) -> str | None:
        """Take messages until the child ends; why it should be killed, if that is our reason."""
        is_greeted = False
        while True:
            patience = self._step_timeout if self._ready else self._load_timeout
            self._listening_since = time.monotonic()
            try:
                async with asyncio.timeout(patience):
                    message = await child.receive()
            except TimeoutError:
                return f"gave no sign of life for {patience:g} s"
            except ValueError as error:
                return f"sent garbage: {error}"
            finally:
                self._listening_since = None
            if message is None:
                return None
            if not is_greeted and (refusal := _refuse(message)):
                await self._take(refusal)
                return None
            is_greeted = True
            await self._take(message)

    async def _take(self, message: Message) -> None:
        """Bring our picture of the child up to date and pass the message on."""
        match message:
            case Alive():
                self._alive = message
                return
            case Loading():
                self._load_log.step(message)
                self._set("loading", message.message)
            case Ready():
                self._ready, self._loaded_at = message, datetime.now(UTC)
                self._capacity = message.capacity
                self._load_log.ready(message)
                self._set("ready", None)
            case LoadFailed():
                self._can_retry = message.can_retry
                self._failure = EngineError(message.code, message.message)
                self._load_log.failed(message)
                self._set("failed", message.message)
            case Capacity():
                self._capacity = message.capacity
            case Started() | Piece():
                if message.key not in self._held:
                    return
            case Done() | Failed() | Similar() | Cancelled():
                if message.key not in self._held:
                    return
                self._held.discard(message.key)
                self._leaving.discard(message.key)
                self._has_worked |= isinstance(message, Done)
                self._end_when_idle()
            case _:
                return
        await self.events.put(message)

    async def _lose(self, why: str) -> None:
        """Report a child that ended without being told to."""
        self._failure = EngineLostError(f"the engine {why}")
        self._can_retry = True
        logger.error("%s", self._failure, extra={"action": "engine_lost"})
        lost = tuple(sorted(self._held))
        self._forget()
        self._set("failed", str(self._failure))
        await self.events.put(Lost(lost, str(self._failure)))

    async def _rest(self, seconds: float, target: ModelOptions | None) -> None:
        """Wait before the next start, or for another target; only that when a start cannot help."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds if self._can_retry else None):
                await self._until(lambda: self._target is not target)

    def _forget(self) -> None:
        self._held.clear()
        self._leaving.clear()
        self._ready = self._loaded_at = self._alive = None
        self._capacity = 0

    def _arguments(self, options: ModelOptions) -> list[str]:
        return [
            *self._command,
            *("--options", json.dumps(asdict(options))),
            *("--image-limits", json.dumps(asdict(self._image_limits))),
        ]

    # Waiting

    def _set(self, state: ModelState, message: str | None) -> None:
        self._state, self._message = state, message
        self._notify()

    def _notify(self) -> None:
        self._changed.set()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition on our own fields."""
        while not is_so():
            self._changed.clear()
            await self._changed.wait()


def _seconds_per_frame(ready: Ready | None) -> float | None:
    seconds = ready.seconds_per_frame if ready else None
    return None if seconds is None else round(seconds, 3)


def _refuse(first: Message) -> LoadFailed | None:
    """What is wrong with a child whose first message this is; None if we speak its version."""
    if isinstance(first, Hello) and first.version == VERSION:
        return None
    theirs = f"version {first.version}" if isinstance(first, Hello) else "no version"
    return LoadFailed(
        "engine_version",
        f"The engine speaks {theirs} of the protocol, the service version {VERSION}: the program "
        "was changed while the service ran; restart the service",
    )
