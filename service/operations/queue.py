"""Requests about the queue as a whole: whether it is worked on, and what becomes of it."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence

from schemas.job import JobStatus
from schemas.requests.bridge import (
    QUEUE_CLEANUP,
    QUEUE_CLEAR,
    QUEUE_PAUSE,
    QUEUE_PROCESSING,
    QUEUE_RESUME,
    Cleanup,
    IsProcessing,
    Processing,
    QueueFilter,
    Swept,
)
from schemas.requests.envelope import Nothing
from schemas.requests.operation import Bound
from service.boundary import contained
from service.engines.dispatch import Dispatcher
from service.monitor import Monitor
from service.operations.cancel import Cancellation
from service.operations.sweep import GROUP, Sweep
from service.store.store import Store

logger = logging.getLogger(__name__)


class QueueOperations:
    """Does what is asked for with the queue.

    Args:
        store: Keeps what is switched.
        dispatcher: Takes jobs, or does not.
        cancellation: Ends jobs.
        monitor: Says so.
    """

    def __init__(
        self,
        store: Store,
        dispatcher: Dispatcher,
        cancellation: Cancellation,
        monitor: Monitor,
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._cancellation = cancellation
        self._monitor = monitor
        self._clearing = Sweep("clearing")
        self._cleaning_up = Sweep("cleaning up")
        self._switching = asyncio.Lock()  # the store and the dispatcher hear orders in one order

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            QUEUE_PAUSE.bind(self.pause),
            QUEUE_RESUME.bind(self.resume),
            QUEUE_PROCESSING.bind(self.switch),
            QUEUE_CLEAR.bind(self.clear),
            QUEUE_CLEANUP.bind(self.clean_up),
        )

    async def pause(self, _: Nothing) -> IsProcessing:
        """Let the engines take no more jobs."""
        return await self.switch(Processing(enabled=False))

    async def resume(self, _: Nothing) -> IsProcessing:
        """Let the engines take jobs again."""
        return await self.switch(Processing(enabled=True))

    async def switch(self, request: Processing) -> IsProcessing:
        """Kept before it is done, and done before it is answered."""
        async with self._switching:
            await self._store.set_paused(not request.enabled)
            if request.enabled:
                self._dispatcher.resume()
            else:
                self._dispatcher.pause()
        word = "resumed" if request.enabled else "paused"
        logger.info("processing is %s", word, extra={"action": word})
        await self._tell()
        return IsProcessing(processing=request.enabled)

    async def clear(self, request: QueueFilter) -> Swept:
        """Cancel what matches."""
        return await self._clearing.run(self._told(self._clear(request)))

    async def clean_up(self, request: Cleanup) -> Swept:
        """Delete what has ended long ago."""
        cleaning = self._clean_up(request.max_age_hours * 3600.0)
        return await self._cleaning_up.run(self._told(cleaning))

    async def _told(self, groups: AsyncIterator[int]) -> AsyncIterator[int]:
        """The same, and then what the queue has become."""
        async for num_jobs in groups:
            yield num_jobs
        await self._tell()

    async def _tell(self) -> None:
        with contained("bridge/stats cannot be published"):
            await self._monitor.publish_stats()

    async def _clear(self, request: QueueFilter) -> AsyncIterator[int]:
        async for jobs in self._store.own_jobs(
            status=JobStatus(request.status),
            camera_id=request.camera_id,
            priority=request.priority,
            limit=GROUP,
        ):
            yield len(await self._cancellation.cancel(jobs))

    async def _clean_up(self, ended_s: float) -> AsyncIterator[int]:
        num_deleted = GROUP
        while num_deleted == GROUP:
            num_deleted = await self._store.delete_finished(ended_s, GROUP)
            yield num_deleted
