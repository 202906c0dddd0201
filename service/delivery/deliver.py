"""The only exit: one outcome becomes one transaction, and what must go out goes with it.

A final status, the result and every message about them (MQTT, webhook, dead letter) are written
together; the outbox tells its senders, which send each at least once. `queued` and `processing` are
news, not promises: they are published directly and are said again after a restart.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Protocol

from pydantic import BaseModel

from broker.topics import Topics
from schemas.job import ErrorDetail, Job, JobStatus, Source
from schemas.outbox import OutboxMessage
from schemas.result import Result
from service.boundary import INTERNAL, contained
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.documents import (
    Documents,
    Rejection,
    result_document,
    without_senders_words,
)
from service.delivery.end_log import EndLog
from service.delivery.ends import Ends
from service.delivery.place import Place
from service.statistics import Statistics
from service.store.retry import until_stored
from service.store.store import Ending, Store
from service.store.unreadable import UnreadableRow

logger = logging.getLogger(__name__)


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel) -> bool:
        """Hand over and return; lost when the broker is away."""


@dataclass(frozen=True, slots=True)
class Captioned:
    """What a captioned job ends with."""

    result: Result
    image: bytes | None  #: JPEG to publish beside it, if the camera wants one
    latency: float  #: seconds since it arrived
    fingerprint: bytes | None = None  #: what the camera's next frames are compared with
    num_tokens: int = 0  #: generated for its texts


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ends."""

    job: Job  #: as it was before
    status: JobStatus
    error: ErrorDetail | None = None
    captioned: Captioned | None = None


class Deliver:
    """Turns outcomes into final states.

    Args:
        store: Where they become durable.
        topics: Names of the topics.
        announcer: For what is said without promise.
        statistics: Counts every ending.
        clock: For timestamps.
        cameras: Know whose caption is the newest.
        end_log: Writes a line of each end; None: with the captions.

    Attributes:
        ends: Who waits for the end of a job.
    """

    def __init__(
        self,
        store: Store,
        topics: Topics,
        announcer: Announcer,
        statistics: Statistics,
        clock: Clock,
        cameras: Cameras,
        end_log: EndLog | None = None,
    ) -> None:
        self._store = store
        self._end_log = end_log or EndLog()
        self._documents = Documents(topics)
        self._announcer = announcer
        self._statistics = statistics
        self._clock = clock
        self._cameras = cameras
        self.ends = Ends()
        self._subscribers: list[Callable[[Job], None]] = [self.ends.tell]

    def subscribe(self, on_end: Callable[[Job], None]) -> None:
        """Be told of each job that ends from now on, once that is committed."""
        self._subscribers.append(on_end)

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
            for job in jobs:
                self._count_frame(job.camera_id, job.source)
            for job in final:
                self._count(job)
            for rejection in rejections:
                self._count_frame(rejection.camera_id)
                self._count_rejection(rejection)

    def _count_rejection(self, rejection: Rejection) -> None:
        self._statistics.ended(JobStatus.REJECTED, rejection.error.code)
        self._count_of_camera(rejection.camera_id, JobStatus.REJECTED, rejection.error.code)
        self._end_log.rejected(
            rejection.job_id,
            rejection.camera_id or rejection.origin,
            rejection.error.code,
            rejection.error.message,
            self._clock.monotonic(),
        )

    async def finish(self, outcomes: Sequence[Outcome]) -> list[Job]:
        """End jobs, in one transaction.

        Args:
            outcomes: Of jobs that are not final yet, as far as the caller knows.

        Returns:
            Those that ended here; others had ended already, e.g. were cancelled a moment ago.
        """
        now = self._clock.now()
        ended = await self._finish([await self._ending(each, now) for each in outcomes])
        keys = {job.key for job in ended}
        for each in outcomes:
            if each.captioned is None:
                continue
            if each.job.key not in keys:
                if (camera := self._cameras.get(each.job.camera_id)) is not None:
                    camera.newest_caption_at = None  # the store knows
                continue
            self._end_log.captioned(each.job, each.captioned.result, each.captioned.latency)
            self._statistics.completed(
                each.job.priority,
                each.captioned.latency,
                each.captioned.result.processing_time,
                self._clock.monotonic(),
                each.captioned.num_tokens,
            )
        return ended

    async def end(
        self, jobs: Sequence[Job], status: JobStatus, error: ErrorDetail | None = None
    ) -> list[Job]:
        """End jobs without a result, all for the same reason; see `finish`."""
        return await self.finish([Outcome(job, status, error) for job in jobs])

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

    def announce(self, job: Job, place: Place | None = None) -> None:
        """Publish where a job is, without promise."""
        self._announcer.announce(self._documents.status(job, self._clock.now(), place))

    async def cancel(self, jobs: Sequence[Job]) -> list[Job]:
        """End jobs on request; see `finish`."""
        error = ErrorDetail(code="cancelled", message="Cancelled on request")
        return await self.end(jobs, JobStatus.CANCELLED, error)

    async def _ending(self, outcome: Outcome, now: datetime) -> Ending:
        update = {"status": outcome.status, "finished_at": now, "error": outcome.error}
        job, captioned = outcome.job.model_copy(update=update), outcome.captioned
        if captioned is None:
            messages = self._messages_at_end(job, now)
            return Ending(
                job.key,
                job.status,
                now,
                error=job.error,
                messages=messages,
                priority=job.priority,
            )
        document = result_document(job, captioned.result, now)
        is_newest = await self._is_newest(job, now)
        messages = self._documents.final_messages(
            job, now, document, captioned.image, is_newest=is_newest
        )
        return Ending(
            job.key,
            job.status,
            now,
            result=document,
            messages=messages,
            fingerprint=captioned.fingerprint,
            priority=job.priority,
        )

    async def _finish(self, endings: Sequence[Ending]) -> list[Job]:
        stored = await asyncio.shield(self._store.finish_many(endings))
        with contained("ends that are committed cannot be counted"):
            for job, _ in stored:
                self._count(job)
        # A camera may have been forgotten, or its picture switched off, while this was written.
        await self._cameras.clear_unwanted(
            {
                (job.camera_id, message.destination)
                for job, sent in stored
                for message in sent
                if _is_retained(message)
            }
        )
        return [job for job, _ in stored]

    def _count_frame(self, camera_id: str | None, source: Source | None = None) -> None:
        if camera_id is not None and (camera := self._cameras.get(camera_id)) is not None:
            camera.counts.frames += 1
            if source is not None:
                camera.counts.sources[source] += 1

    def _count_of_camera(
        self, camera_id: str | None, status: JobStatus, reason: str | None
    ) -> None:
        if camera_id is not None and (camera := self._cameras.get(camera_id)) is not None:
            camera.counts.ended(status, reason, self._clock.monotonic())

    def _count(self, job: Job) -> None:
        reason = job.error.code if job.error else None
        self._statistics.ended(job.status, reason)
        self._count_of_camera(job.camera_id, job.status, reason)
        if job.status is not JobStatus.COMPLETED:
            finished_at = job.finished_at or self._clock.now()
            took = (finished_at - job.received_at).total_seconds()
            seconds = max(0.0, took)  # the clock may be set
            self._end_log.ended(job, reason, seconds, self._clock.monotonic())
        for on_end in self._subscribers:
            with contained(f"the end of {job.key} cannot be told"):
                on_end(job)

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
        is still to come was written before it was set back, and counts for nothing. Of a camera
        that has been forgotten meanwhile nothing is retained. What comes in a batch is not what a
        camera sees now.
        """
        if job.batch_id is not None:
            return False
        camera = self._cameras.get(job.camera_id)
        if camera is None or camera.is_leaving:
            return False
        arrived = job.frame_received_at or job.received_at
        if camera.newest_caption_at is None:  # a job of the last run may end out of turn
            found = await self._store.newest_caption(job.camera_id)
            camera.newest_caption_at = found or arrived
        newest = camera.newest_caption_at
        if newest > arrived and newest <= now:
            return False
        camera.newest_caption_at = arrived
        return True


def _is_retained(message: OutboxMessage) -> bool:
    return bool(message.options.get("retain"))
