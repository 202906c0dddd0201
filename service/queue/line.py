"""The line of jobs in front of the engines: those in the heap, and those that must wait beside it.

Beside the heap wait jobs whose next attempt is due later, and suspects: jobs that were in an engine
when it died, each of which runs alone. Whoever leaves the line without a turn is ended here;
wherever a job waits, its time is watched.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import count

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from service.boundary import isolate
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.delivery.place import Place
from service.queue.expiry import Deadlines
from service.queue.heap import JobHeap, Ticket
from service.statistics import Statistics
from service.store.retry import until_stored
from service.store.store import Store


class Line:
    """Where committed jobs wait for an engine.

    Args:
        heap: Those whose turn can come.
        store: Job records.
        deliver: Ends those that are dropped.
        statistics: The pace of captions, for estimates.
        clock: For due times.
    """

    def __init__(
        self, heap: JobHeap, store: Store, deliver: Deliver, statistics: Statistics, clock: Clock
    ) -> None:
        self._heap = heap
        self._store = store
        self._deliver = deliver
        self._statistics = statistics
        self._clock = clock
        self._delayed: list[tuple[float, int, Ticket]] = []  # by due time
        self._numbers = count()
        self._suspects: deque[Ticket] = deque()
        self._deadlines = Deadlines()  # of all three
        self._news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._heap) + len(self._delayed) + len(self._suspects)

    @property
    def has_suspects(self) -> bool:
        """Whether a job waits for an engine of its own."""
        return bool(self._suspects)

    async def join(self, tickets: Iterable[Ticket]) -> None:
        """Let jobs wait for their turn; what is evicted to make room is dropped."""
        await self.drop_evicted(self.push(tickets))

    def push(self, tickets: Iterable[Ticket]) -> list[Ticket]:
        """Let jobs wait for their turn, at once.

        Returns:
            What was evicted to make room, for `drop_evicted`.
        """
        evicted = []
        for ticket in tickets:
            self._deadlines.add(ticket)
            if (out := self._heap.push(ticket)) is not None:
                self._deadlines.discard(out.job_key)
                evicted.append(out)
        self._news.set()
        return evicted

    async def drop_evicted(self, tickets: Sequence[Ticket]) -> None:
        """End jobs for which the heap had no room."""
        await self.drop(tickets, "queue_full", "The queue is full and others matter more")

    def join_later(self, ticket: Ticket, delay_s: float) -> None:
        """Let a job wait for its turn once some time has passed."""
        due = self._clock.monotonic() + delay_s
        heapq.heappush(self._delayed, (due, next(self._numbers), ticket))
        self._deadlines.add(ticket)
        self._news.set()

    def join_alone(self, tickets: Iterable[Ticket]) -> None:
        """Let jobs wait for an engine that holds nothing else."""
        for ticket in tickets:
            self._suspects.append(ticket)
            self._deadlines.add(ticket)
        self._news.set()

    async def replace(self, camera_id: str, up_to: Priority, newer: Job) -> None:
        """Drop a camera's waiting jobs of this class and below for a newer one."""
        old = [
            each for each in self._heap if each.camera_id == camera_id and each.priority <= up_to
        ]
        for ticket in old:
            self.remove(ticket.job_key)
        await self.drop(old, "conflated", f"Replaced by the newer {newer.job_id}")

    async def drop(self, tickets: Sequence[Ticket], code: str, message: str) -> None:
        """End jobs that have left the line without a turn, in one transaction."""
        if tickets:
            error = ErrorDetail(code=code, message=message)
            await self._end_each(tickets, JobStatus.DROPPED, error)

    async def expire(self, tickets: Sequence[Ticket]) -> None:
        """End jobs that have left the line too old for a turn, in one transaction."""
        if tickets:
            error = ErrorDetail(code="expired", message="Older than its max_age before its turn")
            await self._end_each(tickets, JobStatus.EXPIRED, error)

    def pop_expired(self) -> list[Ticket]:
        """Let go of jobs whose time is over; see `service.queue.expiry`."""
        expired = self._deadlines.pop_expired(self._clock.monotonic())
        for ticket in expired:
            self.remove(ticket.job_key)
        return expired

    def remove(self, job_key: str) -> bool:
        """Take a job out of the line; False when it does not wait here."""
        self._deadlines.discard(job_key)
        if self._heap.remove(job_key) is not None:
            return True
        for entry in self._delayed:
            if entry[2].job_key == job_key:
                self._delayed.remove(entry)
                heapq.heapify(self._delayed)
                return True
        for ticket in self._suspects:
            if ticket.job_key == job_key:
                self._suspects.remove(ticket)
                return True
        return False

    def places(self, jobs: Sequence[Job]) -> list[tuple[Job, Place]]:
        """Where those of the jobs stand that wait in the heap."""
        pace = self._statistics.seconds_per_caption(self._clock.monotonic())
        waiting = [(job, self._heap.position(job.key)) for job in jobs if job.key in self._heap]
        return [
            (job, Place(position, None if pace is None else round(position * pace, 2), "Waiting"))
            for job, position in waiting
        ]

    def notify(self) -> None:
        """Wake who waits for news: an engine may have room again."""
        self._news.set()

    async def wait(self) -> None:
        """Wait for news, or for a delayed job whose time comes and which joins then."""
        due = self._delayed[0][0] - self._clock.monotonic() if self._delayed else None
        with suppress(TimeoutError):
            async with asyncio.timeout(due):
                await self._news.wait()
        self._news.clear()
        now = self._clock.monotonic()
        ripe = []
        while self._delayed and self._delayed[0][0] <= now:
            ripe.append(heapq.heappop(self._delayed)[2])
        if ripe:
            await self.join(ripe)

    def most_urgent(self) -> Priority | None:
        """The class of the job whose turn it is."""
        return self._heap.most_urgent(self._clock.monotonic())

    def take(self) -> Ticket | None:
        """The job whose turn it is."""
        ticket = self._heap.pop(self._clock.monotonic())
        if ticket is not None:
            self._deadlines.discard(ticket.job_key)
        return ticket

    def take_suspect(self) -> Ticket:
        """The next job that has to run alone."""
        ticket = self._suspects.popleft()
        self._deadlines.discard(ticket.job_key)
        return ticket

    async def _end_each(
        self, tickets: Sequence[Ticket], status: JobStatus, error: ErrorDetail
    ) -> None:
        """End jobs in one transaction, each alone where that fails unexpectedly."""
        keys = [each.job_key for each in tickets]
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
