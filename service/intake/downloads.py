"""Jobs whose image is still behind a URL: fetch it, check it, keep it, then let them wait.

Such a job is committed and acknowledged before its image is here, so a slow host holds up nobody;
after a restart the fetch is simply made again. One that expires meanwhile is not fetched any more.
"""

import asyncio
from typing import Protocol

from engine.errors import ImageError
from engine.images import ImageLimits, inspect
from schemas.job import ErrorDetail, Job, JobStatus
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.errors import FrameError, UrlRefusedError
from service.queue.expiry import Deadlines
from service.queue.heap import Ticket
from service.queue.job_queue import JobQueue
from service.queue.tickets import ticket_of
from service.store.retry import until_stored
from service.store.store import Store


class Fetch(Protocol):
    """Gets the bytes behind a URL; see `service.intake.fetch`."""

    async def fetch(self, url: str) -> bytes:
        """Raises FrameError or UrlRefusedError."""


class Downloads:
    """Completes jobs that came with a URL.

    Args:
        fetch: Gets the images, a few at once.
        store: Keeps them.
        deliver: Ends jobs whose image cannot be had.
        queue: Gets the complete jobs.
        limits: What an image may be.
        capacity: Most jobs that may wait for their image.
        clock: For due times.
    """

    def __init__(
        self,
        fetch: Fetch,
        store: Store,
        deliver: Deliver,
        queue: JobQueue,
        limits: ImageLimits,
        capacity: int,
        clock: Clock,
    ) -> None:
        self._fetch = fetch
        self._store = store
        self._deliver = deliver
        self._queue = queue
        self._limits = limits
        self._capacity = capacity
        self._clock = clock
        self._deadlines = Deadlines()
        self._pending: dict[str, asyncio.Task[None] | None] = {}  # None: not begun
        self._added: asyncio.Queue[Job] = asyncio.Queue()

    def __len__(self) -> int:
        """How many wait for their image."""
        return len(self._pending)

    async def add(self, job: Job) -> None:
        """Fetch the image of a queued job; when too many wait already, the job is dropped."""
        if len(self._pending) >= self._capacity:
            error = ErrorDetail(code="queue_full", message="Too many frames wait for their image")
            await until_stored(
                lambda: self._deliver.end([job], JobStatus.DROPPED, error),
                f"{job.key} cannot be ended",
            )
            return
        self._pending[job.key] = None
        self._deadlines.add(ticket_of(job, self._clock))
        self._added.put_nowait(job)

    def pop_expired(self) -> list[Ticket]:
        """Let go of jobs whose time is over; see `service.queue.expiry`."""
        expired = self._deadlines.pop_expired(self._clock.monotonic())
        for ticket in expired:
            if (task := self._pending.pop(ticket.job_key, None)) is not None:
                task.cancel()
        return expired

    def cancel(self, job_key: str) -> None:
        """Let go of a job that has ended; one that does not wait here is no error."""
        self._deadlines.discard(job_key)
        if (task := self._pending.pop(job_key, None)) is not None:
            task.cancel()

    async def run(self) -> None:
        """Fetch for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                job = await self._added.get()
                if job.key in self._pending:
                    self._pending[job.key] = tasks.create_task(
                        self._complete_or_fail(job), name=f"fetch {job.key}"
                    )

    async def _complete_or_fail(self, job: Job) -> None:
        async with self._deliver.boundary(job):
            await self._complete(job)

    async def _complete(self, job: Job) -> None:
        try:
            complete = await until_stored(
                lambda: self._attach(job), f"{job.key}: its image cannot be stored"
            )
        finally:  # from here on its time is the queue's matter
            self._pending.pop(job.key, None)
            self._deadlines.discard(job.key)
        if complete is not None:
            await self._queue.enqueue([complete])

    async def _attach(self, job: Job) -> Job | None:
        """Get and keep the image; None when the job has ended without one."""
        image = await self._store.image(job.key)  # fetched before a restart
        if image is None:
            try:
                image = await self._fetch.fetch(job.frame_url or "")
                inspect(image, self._limits)
            except (FrameError, ImageError, UrlRefusedError) as error:
                detail = ErrorDetail(code=error.code, message=str(error))
                await self._deliver.end([job], JobStatus.FAILED, detail)
                return None
            if not await self._store.add_image(job.key, image):
                return None  # cancelled meanwhile
        return job.model_copy(update={"num_bytes": len(image)})
