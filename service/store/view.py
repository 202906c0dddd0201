"""The store as a part that is watched: how many jobs, and whether it takes what it is given."""

from schemas.job import JobStatus
from schemas.status import Figures, HealthCheck
from service.errors import StoreError
from service.statistics import Statistics
from service.store.store import Store


class StoreView:
    """What the store says of itself.

    Args:
        store: Counts its jobs.
        statistics: Knows of the frames that never became one.
    """

    def __init__(self, store: Store, statistics: Statistics) -> None:
        self._store = store
        self._statistics = statistics
        self._unread: str | None = None  # why the last count failed

    async def figures(self) -> Figures:
        """For `bridge/stats`; nothing is counted while the store cannot be read."""
        counts: dict[JobStatus, int] = {}
        try:
            counts = await self._store.counts()
            self._unread = None
        except StoreError as error:
            self._unread = str(error)
        total = sum(counts.values())
        counts[JobStatus.REJECTED] = self._statistics.endings[JobStatus.REJECTED]
        return {"total_jobs": total, "status_counts": counts}

    def health(self) -> HealthCheck:
        """Unhealthy from a refusal until the store works again."""
        refusal = self._unread or self._store.refusal
        if refusal is None:
            return HealthCheck(status="healthy", message="ok")
        return HealthCheck(status="unhealthy", message=refusal)
