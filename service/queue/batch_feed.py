"""From the batches into the queue, as it has room: a batch drops no camera's frame and delays none.

A batch waits in the store; here are only the keys of its jobs. A few of them are let into the
queue, the batches in turn, and only where nothing has to go for it. There they stand behind the
frames of cameras (see `heap`), and one that makes room for a camera's comes back.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from typing import Protocol

from schemas.job import ErrorDetail, Job, JobStatus
from service.boundary import contained
from service.delivery.deliver import Deliver
from service.queue.job_queue import JobQueue
from service.store.retry import until_stored
from service.store.store import Store

# Ahead of the engines, so that they never wait for the store; more would let in many at once.
_AHEAD = 16
_LOOK_S = 1.0  # how late room in the queue may be noticed; each end of a batch's job is at once
_END_AT_ONCE = 100  # in one transaction, as in `expiry`


class Fetcher(Protocol):
    """Takes jobs whose image is still behind a URL; see `service.intake.downloads`."""

    def __len__(self) -> int:
        """How many it has."""

    async def add(self, job: Job) -> None:
        """Get its image, then let it wait in the queue."""


class BatchFeed:
    """Lets the jobs of batches into the queue.

    Args:
        queue: Has room, or not.
        fetcher: For images behind URLs; no camera's frame waits for it.
        store: Has the jobs.
        deliver: Tells of ends.
    """

    def __init__(self, queue: JobQueue, fetcher: Fetcher, store: Store, deliver: Deliver) -> None:
        self._queue = queue
        self._fetcher = fetcher
        self._store = store
        self._deliver = deliver
        self._waiting: dict[str, deque[str]] = {}  # job keys by batch, those whose turn it is first
        self._news = asyncio.Event()
        deliver.subscribe(self._on_end)

    def __len__(self) -> int:
        """How many jobs wait to be let in."""
        return sum(map(len, self._waiting.values()))

    def add(self, batch_id: str, job_keys: Iterable[str]) -> None:
        """Let the jobs of a batch in, in this order, when there is room."""
        self._waiting[batch_id] = deque(job_keys)
        self._news.set()

    async def cancel(self, batch_id: str) -> None:
        """End what waits of a batch, wherever it does; what an engine has goes on."""
        self._waiting.pop(batch_id, None)
        error = ErrorDetail(code="cancelled", message="Its batch was cancelled")
        keys = await self._store.batches.waiting_keys(batch_id)
        for start in range(0, len(keys), _END_AT_ONCE):
            some = keys[start : start + _END_AT_ONCE]
            for key in some:
                self._queue.remove(key)
            jobs = await self._store.batches.waiting(some)
            await until_stored(
                partial(self._deliver.end, jobs, JobStatus.CANCELLED, error),
                f"{len(jobs)} jobs of a batch cannot be cancelled",
            )

    async def recover(self) -> None:
        """Go on where the last run ended.

        Raises:
            StoreError: Nothing is known yet.
        """
        for batch_id in await self._store.batches.recover():
            if await self._store.batches.is_cancelled(batch_id):
                await self.cancel(batch_id)
            else:
                self.add(batch_id, await self._store.batches.waiting_keys(batch_id))

    async def run(self) -> None:
        """Feed for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()
            self._news.clear()
            await self._feed()

    async def _feed(self) -> None:
        self._queue.readmit(self._room())
        while keys := self._next(self._room()):
            jobs = await until_stored(
                partial(self._store.batches.waiting, keys), "the jobs of a batch cannot be read"
            )
            for job in jobs:
                async with self._deliver.boundary(job):
                    await self._let_in(job)

    async def _let_in(self, job: Job) -> None:
        if job.frame_url is not None and not job.num_bytes:
            self._deliver.announce(job)
            await self._fetcher.add(job)
            return
        self._queue.push([job])  # what may be evicted for it is of a batch, and comes back
        with contained(f"{job.key} cannot be announced"):
            for _, place in self._queue.places([job]):
                self._deliver.announce(job, place)

    def _room(self) -> int:
        """How many more jobs of batches the queue takes now."""
        most = max(_AHEAD, self._queue.pace.capacity)
        num_inside = self._queue.num_of_batches + len(self._fetcher)
        return max(0, min(most - num_inside, self._queue.room - len(self._fetcher)))

    def _next(self, limit: int) -> list[str]:
        """The next jobs, one of each batch in turn."""
        keys: list[str] = []
        while len(keys) < limit and self._waiting:
            batch_id, waiting = next(iter(self._waiting.items()))
            del self._waiting[batch_id]
            if waiting:
                keys.append(waiting.popleft())
            if waiting:
                self._waiting[batch_id] = waiting  # behind the others
        return keys

    def _on_end(self, job: Job) -> None:
        if job.batch_id is not None:
            self._news.set()
