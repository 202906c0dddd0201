"""The way to one engine: who is in it, how much room it has, and what is still to be sent.

Handing a job over does not wait for the engine: it is put down here, and a task of its own sends
it. So an engine that does not read holds up nobody but the few jobs on their way to it, and gets no
more.
"""

import asyncio
import heapq
from dataclasses import dataclass
from itertools import count
from math import inf
from typing import Protocol

from engine.protocol import Submit
from schemas.job import Job
from schemas.status import ModelStatus
from service.clock import Clock
from service.engines.process import EngineEvent
from service.queue.heap import Ticket

_MOST_ON_THE_WAY = (
    8  # each has its image in memory; an engine that reads takes one in a millisecond
)
_STUCK_AFTER_S = 1.0  # the largest image takes a tenth of it, on a busy machine


class Captioner(Protocol):
    """One engine, as seen from here; see `service.engines.process`."""

    events: asyncio.Queue[EngineEvent]

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""

    @property
    def capacity(self) -> int:
        """Most jobs held at once; 0 while it is not ready. Jobs being cancelled do not count."""

    async def submit(self, job: Submit) -> None:
        """Hand over a job. Raises EngineError when it was not taken."""

    async def cancel(self, key: str) -> None:
        """Ask to forget a job; `Cancelled` follows unless an outcome came first."""


@dataclass(slots=True, eq=False)
class Running:
    """A job that an engine has, or is about to have."""

    job: Job
    ticket: Ticket
    feed: "Feed"
    given_at: float  #: on the monotonic clock
    is_alone: bool  #: no engine had another job when it was given
    model: ModelStatus | None = None  #: that answers it: one that is switched may be gone by then
    is_started: bool = False  #: by the model
    is_preempted: bool = False  #: it has been told to leave
    is_cancelled: bool = False  #: and has ended, as the store knows
    fingerprint: bytes | None = None  #: of its frame, once it is started
    has_left: bool = False  #: its engine has said what came of it
    is_settled: bool = False  #: and the store knows
    is_captioned: bool = False


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be sent: a job, or that it be cancelled."""

    running: Running
    submit: Submit | None  #: None: cancel


class Feed:
    """What dispatch knows of one engine.

    Args:
        engine: The engine.
        clock: To see that it does not read.

    Attributes:
        num_given: Jobs that have been meant for it so far.
    """

    def __init__(self, engine: Captioner, clock: Clock) -> None:
        self.engine = engine
        self.num_given = 0
        self._clock = clock
        self._held: set[str] = set()  # job keys, of all that are meant for it
        self._on_the_way: set[str] = set()  # of them, those that it has not taken yet
        self._leaving: set[str] = set()  # of them, the preempted ones
        self._quarantined: set[str] = set()  # of them, those that are to be alone
        self._orders: list[tuple[tuple[float, ...], int, Order]] = []  # a heap
        self._unsent: set[str] = set()  # job keys among the orders
        self._numbers = count()
        self._has_orders = asyncio.Event()
        self._sending_since: float | None = None

    @property
    def num_held(self) -> int:
        """Jobs in the engine and on their way to it."""
        return len(self._held)

    @property
    def is_stuck(self) -> bool:
        """Whether it does not take what it is sent."""
        since = self._sending_since
        return since is not None and self._clock.monotonic() - since > _STUCK_AFTER_S

    @property
    def is_working(self) -> bool:
        """Whether it takes jobs, now or when others have left."""
        return self.engine.capacity > 0 and not self.is_stuck

    @property
    def is_idle(self) -> bool:
        """Whether it holds nothing and takes jobs."""
        return self.room > 0 and not self._held

    @property
    def is_isolating(self) -> bool:
        """Whether it holds a job that is to be alone."""
        return bool(self._quarantined)

    @property
    def seats(self) -> int:
        """Jobs that it would take now; a preempted one makes room at once."""
        if self.is_stuck:
            return 0
        return self.engine.capacity - len(self._held) + len(self._leaving)

    @property
    def room(self) -> int:
        """The same for jobs that can wait for those on their way."""
        return min(self.seats, _MOST_ON_THE_WAY - len(self._on_the_way))

    def holds(self, job_key: str) -> bool:
        """Whether a seat is kept for a job, or the engine has it."""
        return job_key in self._held

    def hold(self, job_key: str, *, is_quarantined: bool = False) -> None:
        """Keep a seat for a job."""
        self.num_given += 1
        self._held.add(job_key)
        self._on_the_way.add(job_key)
        if is_quarantined:
            self._quarantined.add(job_key)

    def release(self, job_key: str) -> None:
        """A job does not come, or has left; one that is not held is no error."""
        for keys in (self._held, self._on_the_way, self._leaving, self._quarantined):
            keys.discard(job_key)
        self._withdraw(job_key)

    def give(self, running: Running, submit: Submit) -> None:
        """Let a job that is held be sent."""
        self._unsent.add(submit.key)
        self._put(submit.rank, Order(running, submit))

    def take_back(self, running: Running) -> bool:
        """Let a job leave; False when the engine has it, and is told to cancel it."""
        running.is_preempted = True
        key = running.job.key
        self._leaving.add(key)
        if self._withdraw(key):
            return True
        self._put((-inf,), Order(running, None))
        return False

    async def next_order(self) -> Order:
        """Wait for what is to be sent next: cancellations, then jobs by rank."""
        while not self._orders:
            self._has_orders.clear()
            await self._has_orders.wait()
        order = heapq.heappop(self._orders)[2]
        if order.submit is not None:
            self._unsent.discard(order.submit.key)
        return order

    async def send(self, order: Order) -> None:
        """Send one.

        Raises:
            EngineError: The job was not taken.
        """
        self._sending_since = self._clock.monotonic()
        try:
            if order.submit is None:
                await self.engine.cancel(order.running.job.key)
            else:
                order.running.model = self.engine.state
                await self.engine.submit(order.submit)
        finally:
            self._sending_since = None
            self._on_the_way.discard(order.running.job.key)

    def _put(self, rank: tuple[float, ...], order: Order) -> None:
        heapq.heappush(self._orders, (rank, next(self._numbers), order))
        self._has_orders.set()

    def _withdraw(self, job_key: str) -> bool:
        """Take a job out of what is to be sent; False when it is not there."""
        if job_key not in self._unsent:
            return False
        self._unsent.discard(job_key)
        self._orders = [
            entry
            for entry in self._orders
            if entry[2].submit is None or entry[2].submit.key != job_key
        ]
        heapq.heapify(self._orders)
        return True
