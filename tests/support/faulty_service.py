"""The real service in a process of its own, with faults ordered by a test.

Run as `python -m tests.support.faulty_process SETTINGS_JSON PLAN_JSON`. Store, connections and
engine are the real ones; thin subclasses stand between them and the service only where the plan
says so. Signals are handled by the `serve` command's own code.

Two files in the plan's folder connect it with the test: `state.json` tells where the service is,
`orders.json` says how many groups may be committed and how large the database may grow.
"""

import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

from sqlalchemy import Connection as SqlConnection
from sqlalchemy import Engine, event

from broker.connection import Connection
from broker.message import Message
from engine.protocol import Submit
from schemas.job import Job, JobStatus
from schemas.outbox import OutboxMessage
from service import logs
from service.app import Parts
from service.backoff import Backoff
from service.commands.serve import serve_until_signalled
from service.engines.process import EngineProcess
from service.settings import Settings
from service.store.database import Database
from service.store.discovery import PublishedDiscovery
from service.store.jobs import Ended, Ending
from service.store.outbox import Outbox
from service.store.store import Store
from service.store.timekeeper import Timekeeper
from tests.support.careless_connections import HastyConnection, UnguardedConnection
from tests.support.store_faults import Step, fault, open_faulty

_LOOK_S = 0.02
_NO_LIMIT = 1 << 30

#: Where the service can be told to kill itself, in the order in which a frame passes them.
CRASH_POINTS = (
    "before_insert",
    "after_commit",
    "after_ack",
    "in_inference",
    "after_result",
    "after_publish",
)


@dataclass(frozen=True, slots=True)
class Failing:
    """Every n-th of these steps of the database fails, until so many have."""

    n: int
    count: int
    steps: tuple[Step, ...] = ("begin", "statement", "commit", "committed")


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall go wrong."""

    folder: str  #: of `state.json` and `orders.json`
    engine: tuple[str, ...] = ()  #: options of `quick_engine`
    decodes: bool = False  #: the engine looks at pixels
    crash_at: str | None = None  #: one of `CRASH_POINTS`
    crash_on: int = 1  #: the time it is passed
    failing: tuple["Failing", ...] = ()  #: in the database, one after the other
    # The negative controls: what must not be left out, left out.
    auto_acknowledge: bool = False
    guard_generation: bool = True
    keep_outbox: bool = True

    def with_decoder(self) -> "Plan":
        return replace(self, decodes=True)

    def to_json(self) -> str:
        return json.dumps(asdict(self))


NO_FAULTS = Plan(folder="")


@dataclass(slots=True)
class Orders:
    """What a test may change while the service runs."""

    groups: int = _NO_LIMIT  #: so many groups of frames may be committed
    pages: int = _NO_LIMIT  #: so many pages the database may have; SQLite calls it full then

    def write(self, folder: Path) -> None:
        _write(folder / "orders.json", asdict(self))


@dataclass(slots=True)
class State:
    """What the service says of itself, for tests that wait for a moment."""

    pid: int = 0
    is_ready: bool = False
    generation: int = 0  #: connections of the receiving side so far
    is_connected: bool = False
    num_received: int = 0  #: messages that reached the event loop
    num_groups: int = 0  #: groups that asked to be committed
    num_committed: int = 0  #: frames in groups that were
    num_acknowledged: int = 0
    num_faults: int = 0  #: injected into the database
    num_engines: int = 0  #: children seen so far

    @classmethod
    def read(cls, folder: Path) -> "State":
        try:
            return cls(**json.loads((folder / "state.json").read_text(encoding="ascii")))
        except FileNotFoundError:
            return cls()


@dataclass(slots=True)
class _Lab:
    """What the faulty parts share."""

    plan: Plan
    state: State = field(default_factory=lambda: State(pid=os.getpid()))
    orders: Orders = field(default_factory=Orders)
    num_passed: int = 0
    input: Connection | None = None
    engines: set[int] = field(default_factory=set)

    @property
    def folder(self) -> Path:
        return Path(self.plan.folder)

    def passes(self, point: str) -> bool:
        """Whether this is the moment to die."""
        if point != self.plan.crash_at:
            return False
        self.num_passed += 1
        return self.num_passed == self.plan.crash_on

    def die_at(self, point: str) -> None:
        if self.passes(point):
            os.kill(os.getpid(), signal.SIGKILL)

    async def watch(self) -> None:
        """Read the orders and write the state, for as long as the test lives."""
        parent = os.getppid()
        while True:
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGKILL)
            with suppress(FileNotFoundError):
                content = json.loads((self.folder / "orders.json").read_text(encoding="ascii"))
                self.orders = Orders(**content)
            if self.input is not None:
                self.state.generation = self.input.state.generation
                self.state.is_connected = self.input.is_connected
            self.state.num_engines = len(self.engines)
            _write(self.folder / "state.json", asdict(self.state))
            await asyncio.sleep(_LOOK_S)

    async def permit(self) -> None:
        """Wait until the next group may be committed."""
        self.state.num_groups += 1
        number = self.state.num_groups
        while number > self.orders.groups:  # noqa: ASYNC110 - a file has no event
            await asyncio.sleep(_LOOK_S)


class _FailingSteps:
    """Fails every n-th step of the database, for one n after the other; see `Plan`."""

    def __init__(self, lab: _Lab) -> None:
        self._lab = lab
        self._phases = list(lab.plan.failing)
        self._num_steps = 0
        self._num_failed = 0

    def check(self, step: Step) -> None:
        if not self._phases or not self._lab.state.num_groups:  # the start is not its matter
            return
        phase = self._phases[0]
        if step not in phase.steps:
            return
        self._num_steps += 1
        if self._num_steps % phase.n:
            return
        self._lab.state.num_faults += 1
        self._num_failed += 1
        if self._num_failed == phase.count:
            self._phases.pop(0)
            self._num_failed = 0
        raise fault(f"injected at {step}")


class _Outbox(Outbox):
    """Can die between a PUBACK and the deletion of its row."""

    lab: _Lab

    async def sent(self, message_ids: Collection[int]) -> None:
        if message_ids:
            self.lab.die_at("after_publish")
        await super().sent(message_ids)


class _Store(Store):
    """Waits for its orders, dies at its points, and forgets the outbox if told to."""

    lab: _Lab

    def __init__(
        self,
        database: Database,
        instance: str,
        base_topic: str = "",
        timekeeper: Timekeeper | None = None,
    ) -> None:
        super().__init__(database, instance, base_topic, timekeeper)
        self.outbox = _Outbox(database, instance, self._timekeeper, self.unreadable)
        self.discovery = PublishedDiscovery(
            database, instance, base_topic, self._timekeeper, self.outbox
        )
        self._unsaved_ids = count(-1, -1)

    def prepare(self, lab: _Lab) -> None:
        self.lab = lab
        assert isinstance(self.outbox, _Outbox)
        self.outbox.lab = lab

    async def accept(
        self,
        new_jobs: Sequence[Job],
        images: Mapping[str, bytes],
        messages: Sequence[OutboxMessage] = (),
    ) -> list[OutboxMessage]:
        await self.lab.permit()
        self.lab.die_at("before_insert")
        kept = messages if self.lab.plan.keep_outbox else ()
        stored = await super().accept(new_jobs, images, kept)
        self.lab.state.num_committed += len(new_jobs)
        self.lab.die_at("after_commit")
        if not self.lab.plan.keep_outbox:
            self._tell_unsaved(messages)
        return stored

    async def finish_many(self, endings: Sequence[Ending]) -> list[Ended]:
        if self.lab.plan.keep_outbox:
            ended = await super().finish_many(endings)
        else:
            messages = {each.job_key: each.messages for each in endings}
            ended = await super().finish_many([replace(each, messages=()) for each in endings])
            for job, _ in ended:
                self._tell_unsaved(messages[job.key])
        if any(job.status is JobStatus.COMPLETED for job, _ in ended):
            self.lab.die_at("after_result")
        return ended

    def _tell_unsaved(self, messages: Sequence[OutboxMessage]) -> None:
        """Let messages be sent from memory; the store never hears of them."""
        unsaved = [
            each.model_copy(update={"message_id": next(self._unsaved_ids)}) for each in messages
        ]
        self.outbox.committed(unsaved)


class _Connection(Connection):
    """Can die right after a PUBACK has left."""

    lab: _Lab

    def acknowledge(self, message: Message) -> bool:
        is_sent = super().acknowledge(message)
        self.lab.state.num_acknowledged += 1
        if self.lab.passes("after_ack"):
            time.sleep(0.05)  # the network thread sends it; the event loop does nothing more
            os.kill(os.getpid(), signal.SIGKILL)
        return is_sent


class _UnguardedConnection(_Connection, UnguardedConnection):
    """A negative control."""


class _HastyConnection(_Connection, HastyConnection):
    """A negative control."""


class _CountingQueue(asyncio.Queue[Message]):
    """Says how many messages have arrived."""

    def __init__(self, lab: _Lab) -> None:
        super().__init__()
        self._lab = lab

    def put_nowait(self, item: Message) -> None:
        self._lab.state.num_received += 1
        super().put_nowait(item)


class _Engine(EngineProcess):
    """Can die with a job in the engine."""

    lab: _Lab

    async def submit(self, job: Submit) -> None:
        await super().submit(job)
        if self.pid is not None:
            self.lab.engines.add(self.pid)
        self.lab.die_at("in_inference")


def _parts(lab: _Lab) -> Parts:
    plan = lab.plan

    @asynccontextmanager
    async def open_store(where: str | Path, **options: Any) -> AsyncIterator[Store]:
        async with open_faulty(where, _FailingSteps(lab), _Store, **options) as store:
            assert isinstance(store, _Store)
            store.prepare(lab)
            yield store

    def connect(*arguments: Any, **options: Any) -> Connection:
        kind = _HastyConnection if plan.auto_acknowledge else _Connection
        kind = kind if plan.guard_generation else _UnguardedConnection
        connection = kind(*arguments, **options)
        connection.lab = lab
        if len(arguments) > 1:  # the one with subscriptions
            lab.input = connection
            connection.inbox = _CountingQueue(lab)
        return connection

    def start_engine(*arguments: Any, **options: Any) -> EngineProcess:
        module = "decoding_engine" if plan.decodes else "quick_engine"
        command = (sys.executable, "-m", f"tests.support.{module}", *plan.engine)
        engine = _Engine(*arguments, **options, backoff=Backoff(0.05, 0.5), command=command)
        engine.lab = lab
        return engine

    return Parts(open_store=open_store, connection=connect, engine=start_engine)


def _bound_database(lab: _Lab) -> None:
    """Let SQLite itself say that it is full, at the size that the orders allow."""

    @event.listens_for(Engine, "begin")
    def bound(connection: SqlConnection) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {lab.orders.pages}")


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Whole or not at all, for a reader at any moment."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(content), encoding="ascii")
    draft.replace(path)


async def _serve(settings: Settings, plan: Plan) -> None:
    lab = _Lab(plan)
    _bound_database(lab)
    watch = asyncio.create_task(lab.watch(), name="watch")

    def report_ready() -> None:
        lab.state.is_ready = True

    await serve_until_signalled(settings, on_ready=report_ready, parts=_parts(lab))
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


def main() -> None:
    settings = Settings(**json.loads(sys.argv[1]))
    plan = json.loads(sys.argv[2])
    logs.configure(settings.logging.level, settings.logging.format)
    failing = tuple(Failing(**each) for each in plan.pop("failing"))
    asyncio.run(_serve(settings, Plan(**plan, failing=failing)))
