"""The only exit: one outcome becomes one transaction, and what must go out goes with it.

A final status, the result and every message about them (MQTT, webhook, dead letter) are written
together; the outbox tells its senders, which send each at least once. `queued` and `processing` are
news, not promises: they are published directly and are said again after a restart.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from functools import partial
from typing import Protocol

from pydantic import BaseModel

from broker.topics import Topics
from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import OutboxMessage
from schemas.result import Result
from service.boundary import INTERNAL, contained
from service.clock import Clock
from service.delivery.documents import (
    Documents,
    Rejection,
    result_document,
    without_senders_words,
)
from service.statistics import Statistics
from service.store.retry import until_stored
from service.store.store import Ending, Store
from service.store.unreadable import UnreadableRow

logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel) -> bool:
        """Hand over and return; lost when the broker is away."""


class Deliver:
    """Turns outcomes into final states.

    Args:
        store: Where they become durable.
        topics: Names of the topics.
        announcer: For what is said without promise.
        statistics: Counts every ending.
        clock: For timestamps.
    """

    def __init__(
        self,
        store: Store,
        topics: Topics,
        announcer: Announcer,
        statistics: Statistics,
        clock: Clock,
    ) -> None:
        self._store = store
        self._documents = Documents(topics)
        self._announcer = announcer
        self._statistics = statistics
        self._clock = clock
        self._newest_caption: dict[str, datetime] = {}  # arrival of its frame, by camera

    async def accept(
        self, jobs: Sequence[Job], images: Mapping[str, bytes], rejections: Sequence[Rejection]
    ) -> None:
        """Commit what intake decided about a group of frames, in one transaction.

        Jobs that are final already (duplicates, drops) and rejections send their messages.

        Raises:
            StoreError: Nothing was committed, nothing may be acknowledged.
        """
        now = self._clock.now()
        final = [job for job in jobs if job.status.is_final]
        messages = [message for job in final for message in self._messages_at_end(job, now)]
        for rejection in rejections:
            messages += self._documents.of_rejection(rejection, now)
        await asyncio.shield(self._store.accept(jobs, images, messages))
        with contained("frames that are committed cannot be counted"):
            for job in final:
                self._count(job)
            for rejection in rejections:
                self._count_rejection(rejection)

    def _count_rejection(self, rejection: Rejection) -> None:
        self._statistics.ended(JobStatus.REJECTED, rejection.error.code)
        logger.warning(
            "%s %s rejected: %s",
            rejection.job_id or "-",
            rejection.camera_id or rejection.origin,
            rejection.error.message,
            extra={"action": "frame_rejected"},
        )

    async def complete(self, job: Job, result: Result, image: bytes | None, latency: float) -> bool:
        """End a job with its result.

        Args:
            job: As it was when it went to the engine.
            result: What the model said.
            image: JPEG to publish beside it, if the camera wants one.
            latency: Seconds since it arrived.

        Returns:
            False when the job had ended already, e.g. was cancelled a moment ago.
        """
        now = self._clock.now()
        job = job.model_copy(update={"status": JobStatus.COMPLETED, "finished_at": now})
        document = result_document(job, result, now)
        is_newest = await self._is_newest(job, now)
        messages = self._documents.final_messages(job, now, document, image, is_newest=is_newest)
        ending = Ending(job.key, JobStatus.COMPLETED, now, result=document, messages=messages)
        ended = await self._finish([ending])
        if not ended:
            self._newest_caption.pop(job.camera_id, None)  # the store knows
            return False
        self._statistics.completed(
            job.priority, latency, result.processing_time, self._clock.monotonic()
        )
        return True

    async def end(
        self, jobs: Sequence[Job], status: JobStatus, error: ErrorDetail | None = None
    ) -> list[Job]:
        """End jobs without a result, in one transaction.

        Args:
            jobs: Not final yet, as far as the caller knows.
            status: Failed, cancelled, dropped, expired or duplicate.
            error: Why.

        Returns:
            Those that ended here; others had ended already.
        """
        now = self._clock.now()
        endings = []
        for job in jobs:
            update = {"status": status, "finished_at": now, "error": error}
            messages = self._messages_at_end(job.model_copy(update=update), now)
            endings.append(Ending(job.key, status, now, error=error, messages=messages))
        return await self._finish(endings)

    @asynccontextmanager
    async def boundary(self, job: Job) -> AsyncIterator[None]:
        """Do something for one job: an unexpected error ends it, as failed, and nothing else."""
        try:
            yield
        except Exception:
            logger.exception("%s failed", job.key, extra={"action": "unexpected_error"})
            await self.abandon([job])

    async def abandon(self, jobs: Iterable[Job]) -> None:
        """End jobs that an unexpected error has hit; one that resists waits for the next start."""
        for job in jobs:
            with contained(f"{job.key} cannot be ended"):
                await until_stored(
                    partial(self.end, [job], JobStatus.FAILED, INTERNAL),
                    f"{job.key} cannot be ended",
                )

    async def set_aside(self, row: UnreadableRow) -> None:
        """End a job, or give up a message, whose row in the store cannot be read.

        Raises:
            StoreError: It is as it was.
        """
        now = self._clock.now()
        found = await asyncio.shield(
            self._store.set_aside(row, now, lambda lost: self._documents.of_unreadable(lost, now))
        )
        if found is not None and found[0].job is not None:
            self._count(found[0].job)

    def announce(self, job: Job, position: int | None = None, wait: float | None = None) -> None:
        """Publish where a job is, without promise."""
        document = self._documents.status(job, self._clock.now(), position, wait)
        self._announcer.announce(document)

    async def _finish(self, endings: Sequence[Ending]) -> list[Job]:
        stored = await asyncio.shield(self._store.finish_many(endings))
        with contained("ends that are committed cannot be counted"):
            for job, _ in stored:
                self._count(job)
        return [job for job, _ in stored]

    def _count(self, job: Job) -> None:
        reason = job.error.code if job.error else None
        self._statistics.ended(job.status, reason)
        finished_at = job.finished_at or self._clock.now()
        log = logger.warning if job.status is JobStatus.FAILED else logger.info
        log(
            "%s %s %s%s in %.2f s",
            job.job_id,
            job.camera_id,
            job.status.value,
            f" ({reason})" if reason else "",
            max(0.0, (finished_at - job.received_at).total_seconds()),  # the clock may be set
            extra={"action": f"job_{job.status.value}"},
        )

    def _messages_at_end(self, job: Job, now: datetime) -> list[OutboxMessage]:
        """What goes out when a job ends without a result: its status, whatever it holds."""
        try:
            return self._documents.final_messages(job, now)
        except Exception:
            logger.exception("%s: only its status is sent", job.key)
            return self._documents.final_messages(without_senders_words(job), now)

    async def _is_newest(self, job: Job, now: datetime) -> bool:
        """Whether no frame of the camera that arrived later has been captioned.

        By arrival, because a camera's clock can be wrong by decades. So can ours: an arrival that
        is still to come was written before it was set back, and counts for nothing.
        """
        camera_id = job.camera_id
        if camera_id not in self._newest_caption:  # a job of the last run may end out of turn
            found = await self._store.newest_caption(camera_id)
            self._newest_caption.setdefault(camera_id, found or job.received_at)
        newest = self._newest_caption[camera_id]
        if newest > job.received_at and newest <= now:
            return False
        self._newest_caption[camera_id] = job.received_at
        return True
