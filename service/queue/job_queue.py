"""The queue in front of the engines: jobs in the heap, and those that must wait beside it.

Beside the heap wait jobs whose next attempt is due later, those in quarantine: jobs that were in an
engine when it died, each of which runs alone, and those of batches that made room for a camera's.
Whoever leaves the queue without a turn is ended here; wherever a job waits, its time is watched.
"""

import asyncio
import heapq
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from itertools import count, islice

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from service.boundary import isolate
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.delivery.place import Place
from service.queue.expiry import Deadlines
from service.queue.heap import JobHeap, Ticket
from service.queue.pace import Pace
from service.queue.tickets import ticket_of
from service.store.retry import until_stored
from service.store.store import Store


class JobQueue:
    """Where committed jobs wait for an engine.

    Args:
        heap: Those whose turn can come.
        store: Job records.
        deliver: Ends those that are dropped.
        clock: For due times.

    Attributes:
        pace: What is known of the engines, for estimates.
    """

    def __init__(self, heap: JobHeap, store: Store, deliver: Deliver, clock: Clock) -> None:
        self._heap = heap
        self._store = store
        self._deliver = deliver
        self._clock = clock
        self.pace = Pace()
        self._delayed: dict[str, Ticket] = {}  # by job key, as the quarantine
        self._due: list[tuple[float, int, Ticket]] = []  # of them; who has left stays till then
        self._numbers = count()
        self._quarantine: dict[str, Ticket] = {}  # in the order in which they came
        self._set_back: dict[str, Ticket] = {}  # the same
        self._deadlines = Deadlines()  # of all four
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap) + len(self._delayed) + len(self._quarantine)

    # In

    def push(self, jobs: Iterable[Job]) -> list[Ticket]:
        """Let jobs wait for their turn, at once.

        Returns:
            What was evicted to make room, for `drop_evicted`.
        """
        return self._push(ticket_of(job, self._clock) for job in jobs)

    async def enqueue(self, jobs: Iterable[Job]) -> None:
        """Let jobs wait for their turn; what is evicted to make room is dropped."""
        await self.drop_evicted(self.push(jobs))

    async def put_back(self, tickets: Sequence[Ticket]) -> None:
        """Let jobs that had been taken wait for their turn again, as old as they are."""
        await self.drop_evicted(self._push(tickets))

    def delay(self, ticket: Ticket, delay_s: float) -> None:
        """Put a job back once some time has passed."""
        due = self._clock.monotonic() + delay_s
        heapq.heappush(self._due, (due, next(self._numbers), ticket))
        self._delayed[ticket.job_key] = ticket
        self._deadlines.add(ticket)
        self._news.set()

    def quarantine(self, tickets: Iterable[Ticket]) -> None:
        """Let jobs that had been taken wait for an engine that holds nothing else."""
        for ticket in tickets:
            self._quarantine[ticket.job_key] = ticket
            self._deadlines.add(ticket)
        self._news.set()

    # Batches

    @property
    def room(self) -> int:
        """How many more jobs the heap holds without dropping any."""
        return self._heap.room

    @property
    def num_of_batches(self) -> int:
        """How many jobs of batches the heap holds."""
        return self._heap.num_of_batches

    @property
    def is_batch_next(self) -> bool:
        """Whether the job whose turn it is is of a batch."""
        return self._heap.is_batch_next(self._clock.monotonic())

    def readmit(self, limit: int) -> None:
        """Let jobs of batches wait in the heap again that had made room there."""
        keys = list(islice(self._set_back, max(0, limit)))
        if keys:
            self._push([self._set_back.pop(key) for key in keys])

    # Out, in turn

    def notify(self) -> None:
        """Wake who waits for news: an engine may have room again."""
        self._news.set()

    async def wait(self) -> None:
        """Wait for news, or for a delayed job whose time comes and which joins then."""
        due = self._due[0][0] - self._clock.monotonic() if self._due else None
        with suppress(TimeoutError):
            async with asyncio.timeout(due):
                await self._news.wait()
        self._news.clear()
        if ripe := self._pop_due(self._clock.monotonic()):
            await self.put_back(ripe)

    def _pop_due(self, now: float) -> list[Ticket]:
        ripe = []
        while self._due and self._due[0][0] <= now:
            ticket = heapq.heappop(self._due)[2]
            if self._delayed.get(ticket.job_key) is ticket:
                del self._delayed[ticket.job_key]
                ripe.append(ticket)
        return ripe

    def most_urgent(self) -> Priority | None:
        """The class of the job whose turn it is."""
        return self._heap.most_urgent(self._clock.monotonic())

    def num_in(self, rank: Priority) -> int:
        """How many jobs of the heap would leave with this class."""
        return self._heap.num_in(rank)

    def by_priority(self) -> dict[Priority, int]:
        """How many jobs wait in each class: those of the heap in the class they would leave with.

        Together they are as many as `len(self)`.
        """
        beside = Counter(
            ticket.priority
            for place in (self._delayed, self._quarantine)
            for ticket in place.values()
        )
        return {rank: self._heap.num_in(rank) + beside[rank] for rank in Priority}

    def oldest(self) -> dict[Priority, float]:
        """Since when the longest waiting job of each class waits; classes as in `by_priority`."""
        found = self._heap.oldest()
        for place in (self._delayed, self._quarantine):
            for ticket in place.values():
                rank, since = ticket.priority, ticket.queued_at
                found[rank] = min(since, found.get(rank, since))
        return found

    def pop(self) -> Ticket | None:
        """Take the job whose turn it is."""
        ticket = self._heap.pop(self._clock.monotonic())
        if ticket is not None:
            self._deadlines.discard(ticket.job_key)
        return ticket

    @property
    def has_quarantined(self) -> bool:
        """Whether a job waits for an engine of its own."""
        return bool(self._quarantine)

    def pop_quarantined(self) -> Ticket:
        """Take the next job that has to run alone."""
        ticket = self._quarantine.pop(next(iter(self._quarantine)))
        self._deadlines.discard(ticket.job_key)
        return ticket

    # Out, without a turn

    def remove(self, job_key: str) -> bool:
        """Take a job out of the queue; False when it does not wait here."""
        self._deadlines.discard(job_key)
        removed = (
            self._heap.remove(job_key),
            self._delayed.pop(job_key, None),
            self._quarantine.pop(job_key, None),
            self._set_back.pop(job_key, None),
        )
        return any(ticket is not None for ticket in removed)

    def pop_expired(self) -> list[Ticket]:
        """Let go of jobs whose time is over; see `service.queue.expiry`."""
        expired = self._deadlines.pop_expired(self._clock.monotonic())
        for ticket in expired:
            self.remove(ticket.job_key)
        return expired

    async def expire(self, tickets: Sequence[Ticket]) -> None:
        """End jobs that have left the queue too old for a turn, in one transaction."""
        if tickets:
            error = ErrorDetail(code="expired", message="Older than its max_age before its turn")
            await self._end_each(_keys(tickets), JobStatus.EXPIRED, error)

    async def drop_evicted(self, tickets: Sequence[Ticket]) -> None:
        """End jobs for which the heap had no room, in one transaction."""
        await self._drop(_keys(tickets), "queue_full", "The queue is full and others matter more")

    async def replace(self, job_key: str, newer: Job) -> None:
        """Drop a job for a newer one of its camera, if it waits still."""
        if self.remove(job_key):
            await self._drop([job_key], "conflated", f"Replaced by the newer {newer.job_id}")

    # Who is where

    def waiting_of(self, camera_ids: Collection[str]) -> list[Ticket]:
        """The jobs of some cameras that wait in the heap."""
        return [ticket for camera_id in camera_ids for ticket in self._heap.of_camera(camera_id)]

    def places(self, jobs: Sequence[Job]) -> list[tuple[Job, Place]]:
        """Where those of the jobs stand that wait in the heap."""
        return [
            (job, self.pace.place(self._heap.position(job.key), job.priority))
            for job in jobs
            if job.key in self._heap
        ]

    def _push(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        evicted = []
        for ticket in tickets:
            self._deadlines.add(ticket)
            out = self._heap.push(ticket)
            if out is not None and out.is_of_batch:
                self._set_back[out.job_key] = out
            elif out is not None:
                self._deadlines.discard(out.job_key)
                evicted.append(out)
        self._news.set()
        return evicted

    async def _drop(self, keys: Sequence[str], code: str, message: str) -> None:
        if keys:
            error = ErrorDetail(code=code, message=message)
            await self._end_each(keys, JobStatus.DROPPED, error)

    async def _end_each(self, keys: Sequence[str], status: JobStatus, error: ErrorDetail) -> None:
        """End jobs in one transaction, each alone where that fails unexpectedly."""
        what = f"jobs cannot end as {status.value}"
        await isolate(
            lambda some: until_stored(
                lambda: self._end(some, status, error), f"{len(some)} {what}"
            ),
            keys,
            what,
        )

    async def _end(self, job_keys: Sequence[str], status: JobStatus, error: ErrorDetail) -> None:
        jobs = await self._store.existing(job_keys)
        await self._deliver.end(list(jobs.values()), status, error)


def _keys(tickets: Sequence[Ticket]) -> list[str]:
    return [each.job_key for each in tickets]
