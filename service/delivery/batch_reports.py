"""How batches are doing: said after every end, and once when all has ended.

On the way nothing is promised and at most two a second are said; the last one is written with the
end of the batch and sent like a final status.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from broker.publisher import address, to_outbox
from broker.topics import Topics
from schemas.batch import BatchProgress
from schemas.job import Job
from schemas.outbox import OutboxMessage
from service.boundary import contained
from service.clock import Clock
from service.delivery.deliver import Announcer, Deliver
from service.store.retry import until_stored
from service.store.store import Store

_PAUSE_S = 0.5
# An end that nobody tells of is found after so long: of a job that was there before its batch, or
# that another instance has left to us.
_LOOK_S = 5.0


class BatchReports:
    """Publishes how batches are doing.

    Args:
        store: Knows it.
        topics: Where it is published.
        announcer: For what is said on the way.
        deliver: Tells of ends.
        estimate: Seconds until a batch is over of which so many items are left; None: not known.
        clock: For the end of a batch.
    """

    def __init__(
        self,
        store: Store,
        topics: Topics,
        announcer: Announcer,
        deliver: Deliver,
        estimate: Callable[[int], float | None],
        clock: Clock,
    ) -> None:
        self._store = store
        self._topics = topics
        self._announcer = announcer
        self._estimate = estimate
        self._clock = clock
        self._changed: dict[str, None] = {}  # batch ids, in order
        self._news = asyncio.Event()
        self._looked_at = clock.monotonic()
        deliver.subscribe(self._on_end)

    def note(self, batch_id: str) -> None:
        """Say soon how a batch is doing."""
        self._changed[batch_id] = None
        self._news.set()

    def with_estimate(self, progress: BatchProgress) -> BatchProgress:
        """The same with the time that is left."""
        num_left = progress.total - progress.completed - progress.failed - progress.cancelled
        wait_s = self._estimate(num_left) if num_left else None
        return progress.model_copy(update={"estimated_wait_time": wait_s})

    async def run(self) -> None:
        """Report for ever."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._news.wait()
            self._news.clear()
            await self._report_all()
            await asyncio.sleep(_PAUSE_S)

    async def _report_all(self) -> None:
        changed, self._changed = self._changed, {}
        now = self._clock.monotonic()
        is_look = now - self._looked_at >= _LOOK_S
        if is_look:
            self._looked_at = now
        open_ones = await until_stored(self._store.batches.open, "open batches cannot be read")
        for batch_id in open_ones:
            if is_look or batch_id in changed:
                with contained(f"the progress of batch {batch_id} cannot be said"):
                    await self._report(batch_id, is_news=batch_id in changed)

    async def _report(self, batch_id: str, *, is_news: bool) -> None:
        progress = await until_stored(
            partial(self._store.finish_batch, batch_id, self._clock.now(), self._message),
            f"the end of batch {batch_id} cannot be stored",
        )
        if progress is not None and progress.finished_at is None and is_news:
            self._announcer.announce(self.with_estimate(progress))

    def _message(self, progress: BatchProgress) -> OutboxMessage:
        assert progress.finished_at is not None  # noqa: S101 - of a batch that is over
        message = address(progress, self._topics)
        return to_outbox(message, job_key=None, created_at=progress.finished_at)

    def _on_end(self, job: Job) -> None:
        if job.batch_id is not None:
            self.note(job.batch_id)
