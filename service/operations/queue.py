"""Requests about the queue as a whole: whether it is worked on, and what becomes of it."""

import asyncio
import logging
from collections.abc import Sequence

from schemas.requests.bridge import (
    QUEUE_PAUSE,
    QUEUE_PROCESSING,
    QUEUE_RESUME,
    IsProcessing,
    Processing,
)
from schemas.requests.envelope import Nothing
from schemas.requests.operation import Bound
from service.boundary import contained
from service.engines.dispatch import Dispatcher
from service.monitor import Monitor
from service.store.store import Store

logger = logging.getLogger(__name__)


class QueueOperations:
    """Does what is asked for with the queue.

    Args:
        store: Keeps what is switched.
        dispatcher: Takes jobs, or does not.
        monitor: Says so.
    """

    def __init__(self, store: Store, dispatcher: Dispatcher, monitor: Monitor) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._monitor = monitor
        self._switching = asyncio.Lock()  # the store and the dispatcher hear orders in one order

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            QUEUE_PAUSE.bind(self.pause),
            QUEUE_RESUME.bind(self.resume),
            QUEUE_PROCESSING.bind(self.switch),
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
        with contained("bridge/stats cannot be published"):
            await self._monitor.publish_stats()
        return IsProcessing(processing=request.enabled)
