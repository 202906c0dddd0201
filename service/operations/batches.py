"""Requests about batches."""

import uuid
from collections.abc import Sequence

from schemas.batch import BatchProgress
from schemas.requests.batches import (
    BATCH_CANCEL,
    BATCH_GET,
    BATCH_LIST,
    BATCH_SUBMIT,
    BatchDetail,
    BatchFilter,
    BatchName,
    BatchPage,
    BatchPart,
    BatchSubmit,
    BatchView,
)
from schemas.requests.jobs import Pagination
from schemas.requests.operation import Bound
from service.clock import Clock
from service.delivery.batch_reports import BatchReports
from service.intake.batches import BatchIntake
from service.operations.operations import OperationError
from service.queue.batch_feed import BatchFeed
from service.store.store import Store

MOST_OPEN = 50  # of a thousand items each: the keys of their jobs take 6 MB


class BatchOperations:
    """Takes batches, and answers how they are doing.

    Args:
        store: Keeps them.
        intake: Makes jobs of their items.
        feed: Lets the jobs into the queue.
        reports: Says how they are doing.
        clock: For when one was made.
    """

    def __init__(
        self,
        store: Store,
        intake: BatchIntake,
        feed: BatchFeed,
        reports: BatchReports,
        clock: Clock,
    ) -> None:
        self._store = store
        self._intake = intake
        self._feed = feed
        self._reports = reports
        self._clock = clock

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            BATCH_SUBMIT.bind(self.submit),
            BATCH_GET.bind(self.get),
            BATCH_LIST.bind(self.list),
            BATCH_CANCEL.bind(self.cancel),
        )

    async def submit(self, request: BatchSubmit) -> BatchView:
        """Take a batch: all of it, or nothing where the store refuses."""
        if len(await self._store.batches.open()) >= MOST_OPEN:
            raise OperationError("busy", f"{MOST_OPEN} batches are not over yet; ask again later")
        batch_id = str(uuid.uuid4())
        store = self._store.batches
        await store.begin(batch_id, request.name, len(request.items), self._clock.now())
        try:
            keys = await self._intake.take(batch_id, request.items, request.camera_id)
            await store.complete(batch_id)
        except Exception:
            await store.undo(batch_id)  # where that fails too, the next start does it
            raise
        self._feed.add(batch_id, keys)
        self._reports.note(batch_id)
        return self._view(await self._find(batch_id))

    async def get(self, request: BatchPart) -> BatchDetail:
        """A batch with results."""
        progress = await self._find(request.batch_id)
        results = await self._store.batches.results(request.batch_id, request.limit, request.offset)
        has_more = request.offset + len(results) < progress.total
        return BatchDetail(
            **vars(self._reports.with_estimate(progress)),
            results=tuple(results),
            pagination=Pagination(limit=request.limit, offset=request.offset, has_more=has_more),
        )

    async def list(self, request: BatchFilter) -> BatchPage:
        """A page of batches."""
        found = await self._store.batches.page(request.limit, request.offset)
        count = await self._store.batches.count()
        has_more = request.offset + len(found) < count
        return BatchPage(
            count=count,
            items=tuple(self._view(each) for each in found),
            pagination=Pagination(limit=request.limit, offset=request.offset, has_more=has_more),
        )

    async def cancel(self, request: BatchName) -> BatchView:
        """End what has not started."""
        progress = await self._find(request.batch_id)
        if progress.finished_at is not None:
            raise OperationError("wrong_state", f"batch {request.batch_id} is over")
        await self._store.batches.cancel(request.batch_id)
        await self._feed.cancel(request.batch_id)
        self._reports.note(request.batch_id)
        return self._view(await self._find(request.batch_id))

    async def _find(self, batch_id: str) -> BatchProgress:
        """The batch that is meant.

        Raises:
            OperationError: `not_found`.
        """
        if (progress := await self._store.batches.get(batch_id)) is None:
            raise OperationError("not_found", f"there is no batch {batch_id}")
        return progress

    def _view(self, progress: BatchProgress) -> BatchView:
        return BatchView(**vars(self._reports.with_estimate(progress)))
