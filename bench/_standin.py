"""A timed stand-in for the engine: it keeps an engine's time and says nothing of its pictures.

It holds rows in slots, admits the most urgent waiting job at every step, and needs the same time
for a step whatever the number of rows, as a decode bound by memory bandwidth does. Every figure
made with it says so.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType

from engine.protocol import Cancelled, Done, ModelOptions, Started, Submit, TextAnswer
from schemas.status import LoadedModel, ModelStatus
from service.engines.process import EngineEvent


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the stand-in is."""

    step_s: float = 0.0
    num_steps: int = 1  #: per caption
    slots: int = 8


@dataclass(slots=True)
class _Row:
    job: Submit
    arrived: float
    steps_left: int


@dataclass(slots=True)
class StandIn:
    """Takes the place of `EngineProcess`."""

    pace: Pace
    events: asyncio.Queue[EngineEvent] = field(default_factory=asyncio.Queue)
    first_submit_at: float | None = None
    num_taken: int = 0
    _waiting: list[_Row] = field(default_factory=list)
    _rows: list[_Row] = field(default_factory=list)
    _work: asyncio.Event = field(default_factory=asyncio.Event)
    _task: "asyncio.Task[None] | None" = None

    async def __aenter__(self) -> "StandIn":
        self._task = asyncio.create_task(self._run(), name="stand-in")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    @property
    def state(self) -> ModelStatus:
        """Always ready."""
        return ModelStatus(name="stand-in", revision="", device="none", dtype="none", state="ready")

    @property
    def capacity(self) -> int:
        """As many as there are slots."""
        return self.pace.slots

    @property
    def loaded(self) -> LoadedModel | None:
        """A model without weights."""
        return LoadedModel(
            id="stand-in", name="stand-in", vram_mb=0, ram_mb=0, loaded_at=datetime.now(UTC)
        )

    @property
    def silent_s(self) -> float:
        """Never silent."""
        return 0.0

    async def submit(self, job: Submit) -> None:
        """Let the job wait for a slot."""
        now = asyncio.get_running_loop().time()
        self.first_submit_at = self.first_submit_at or now
        self.num_taken += 1
        self._waiting.append(_Row(job, now, self.pace.num_steps))
        self._work.set()

    async def cancel(self, key: str) -> None:
        """Forget a job at once."""
        for rows in (self._waiting, self._rows):
            for row in rows:
                if row.job.key == key:
                    rows.remove(row)
                    self.events.put_nowait(Cancelled(key))
                    return

    async def load(self, options: ModelOptions | None = None) -> None:
        """There is nothing to load."""

    async def unload(self, options: ModelOptions | None = None) -> None:
        """There is nothing to free."""

    async def _run(self) -> None:
        while True:
            if not self._waiting and not self._rows:
                self._work.clear()
                await self._work.wait()
            self._admit()
            if self.pace.step_s:
                await asyncio.sleep(self.pace.step_s)
            self._advance()

    def _admit(self) -> None:
        self._waiting.sort(key=lambda row: row.job.rank)
        while self._waiting and len(self._rows) < self.pace.slots:
            row = self._waiting.pop(0)
            self._rows.append(row)
            self.events.put_nowait(Started(row.job.key))

    def _advance(self) -> None:
        now = asyncio.get_running_loop().time()
        for row in list(self._rows):
            row.steps_left -= 1
            if row.steps_left == 0:
                self._rows.remove(row)
                self.events.put_nowait(Done(row.job.key, _answers(row.job), now - row.arrived))


def _answers(job: Submit) -> tuple[TextAnswer, ...]:
    text = TextAnswer("A picture nobody looked at.", (), 1.0)
    return tuple(text for _ in job.tasks)
