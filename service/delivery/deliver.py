"""The only exit: one outcome becomes one transaction, and what must go out goes with it.

A final status, the result and every message about them (MQTT, webhook, dead letter) are written
together; the senders then drain the outbox and send each at least once. `queued` and `processing`
are news, not promises: they are published directly and are said again after a restart.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from pydantic import BaseModel

from broker.codec import encode
from broker.handover import Publish
from broker.publisher import address, address_image, answer, to_outbox
from broker.topics import Topics
from schemas.job import ErrorDetail, Job, JobStatus, job_key
from schemas.outbox import Channel, OutboxMessage
from schemas.result import Result, ResultDocument
from schemas.status import DeadLetter, StatusDocument
from service.boundary import INTERNAL, contained
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.place import Place
from service.http.urls import origin
from service.statistics import Statistics
from service.store.retry import until_stored
from service.store.set_aside import SetAside
from service.store.store import Ending, Store
from service.store.unreadable import UnreadableRow

logger = logging.getLogger(__name__)

_LONGEST_TOPIC = 1024  # characters of a hostile topic that are worth keeping
_MESSAGES = {
    JobStatus.QUEUED: "Waiting",  # its place says for what
    JobStatus.PROCESSING: "The model is looking at it",
    JobStatus.COMPLETED: "Captioned",
}


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel) -> bool:
        """Hand over and return; lost when the broker is away."""


class Sender(Protocol):
    """Drains one channel of the outbox."""

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        """These rows have just been committed; none: there may be some that nobody was told of."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """A frame that never became a job, and what its sender is told."""

    topic: str
    camera_id: str | None  #: None when the topic names no valid camera
    job_id: str | None
    size: int
    sha256: str | None
    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class Captioned:
    """What a captioned job ends with."""

    result: Result
    image: bytes | None  #: JPEG to publish beside it, if the camera wants one
    latency: float  #: seconds since it arrived
    fingerprint: bytes | None = None  #: what the camera's next frames are compared with


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
        senders: One per channel; told of new rows.
        statistics: Counts every ending.
        clock: For timestamps.
        cameras: Know whose caption is the newest.
    """

    def __init__(
        self,
        store: Store,
        topics: Topics,
        announcer: Announcer,
        senders: Mapping[Channel, Sender],
        statistics: Statistics,
        clock: Clock,
        cameras: Cameras,
    ) -> None:
        self._cameras = cameras
        self._store = store
        self._topics = topics
        self._announcer = announcer
        self._senders = senders
        self._statistics = statistics
        self._clock = clock

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
            messages += self._refusal(rejection, now)
        stored = await asyncio.shield(self._store.accept(jobs, images, messages))
        with contained("frames that are committed cannot be counted"):
            self._notify(stored, is_all=len(stored) == len(messages))
            for job in final:
                self._count(job)
            for rejection in rejections:
                self._count_rejection(rejection)

    def _count_rejection(self, rejection: Rejection) -> None:
        self._statistics.ended(JobStatus.REJECTED, rejection.error.code)
        logger.warning(
            "%s %s rejected: %s",
            rejection.job_id or "-",
            rejection.camera_id or rejection.topic,
            rejection.error.message,
            extra={"action": "frame_rejected"},
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
            self._statistics.completed(
                each.job.priority,
                each.captioned.latency,
                each.captioned.result.processing_time,
                self._clock.monotonic(),
            )
        return ended

    async def end(
        self, jobs: Sequence[Job], status: JobStatus, error: ErrorDetail | None = None
    ) -> list[Job]:
        """End jobs without a result, all for the same reason; see `finish`."""
        return await self.finish([Outcome(job, status, error) for job in jobs])

    async def _ending(self, outcome: Outcome, now: datetime) -> Ending:
        update = {"status": outcome.status, "finished_at": now, "error": outcome.error}
        job, captioned = outcome.job.model_copy(update=update), outcome.captioned
        if captioned is None:
            messages = self._messages_at_end(job, now)
            return Ending(job.key, job.status, now, error=job.error, messages=messages)
        document = result_document(job, captioned.result, now)
        is_newest = await self._is_newest(job, now)
        messages = self._farewell(job, now, document, captioned.image, is_newest=is_newest)
        return Ending(
            job.key,
            job.status,
            now,
            result=document,
            messages=messages,
            fingerprint=captioned.fingerprint,
        )

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

    async def bury(self, *letters: DeadLetter) -> None:
        """Publish, at least once, what was given up outside a job's own end, in one transaction.

        A dead letter that is given up itself makes no other: that one would fare no better.

        Raises:
            StoreError: It could not be kept.
        """
        # One that is given up itself makes no other: that would fare no better.
        own = self._topics.bridge("dead_letter")
        rows = [self._row(letter) for letter in letters if letter.topic != own]
        if not rows:
            return
        stored = await self._store.accept([], {}, rows)
        self._notify(stored, is_all=True)

    async def set_aside(self, row: UnreadableRow) -> None:
        """End a job, or give up a message, whose row in the store cannot be read.

        Raises:
            StoreError: It is as it was.
        """
        now = self._clock.now()
        found = await asyncio.shield(
            self._store.set_aside(row, now, lambda lost: self._last_words(lost, now))
        )
        self._notify(found[1] if found else [], is_all=False)  # nor were those read behind it
        if found is not None and found[0].job is not None:
            self._count(found[0].job)

    def look_again(self) -> None:
        """Tell the senders that there may be rows that nobody told them of."""
        self._notify((), is_all=False)

    def announce(self, job: Job, place: Place | None = None) -> None:
        """Publish where a job is, without promise."""
        self._announcer.announce(self._status(job, self._clock.now(), place))

    async def _finish(self, endings: Sequence[Ending]) -> list[Job]:
        stored = await asyncio.shield(self._store.finish_many(endings))
        messages = [message for _, each in stored for message in each]
        with contained("ends that are committed cannot be counted"):
            self._notify(messages, is_all=len(stored) == len(endings))
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

    def _notify(self, messages: Sequence[OutboxMessage], *, is_all: bool) -> None:
        """Tell the senders of new rows.

        What was written already, by a try whose answer was lost, is not among them: then they are
        to look for themselves.
        """
        for channel, sender in self._senders.items():
            chosen = [message for message in messages if message.channel is channel]
            if chosen:
                sender.notify(chosen)
            if not is_all:
                sender.notify(())

    def _messages_at_end(self, job: Job, now: datetime) -> list[OutboxMessage]:
        """What goes out when a job ends without a result: its status, whatever it holds."""
        try:
            return self._farewell(job, now)
        except Exception:
            logger.exception("%s: only its status is sent", job.key)
            return self._farewell(_bare(job), now)

    def _farewell(
        self,
        job: Job,
        now: datetime,
        document: ResultDocument | None = None,
        image: bytes | None = None,
        *,
        is_newest: bool = False,
    ) -> list[OutboxMessage]:
        """Everything that goes out because a job has ended."""
        document = document or result_document(job, None, now)
        messages = [address(self._status(job, now), self._topics)]
        if document.result is not None:
            messages += self._caption(job, document, image, is_newest=is_newest)
        if job.response_topic is not None:
            messages.append(
                answer(document, job.response_topic, job.correlation_data, priority=job.priority)
            )
        if job.status is JobStatus.FAILED and job.error is not None:
            messages.append(address(self._dead_letter(job, job.error, now), self._topics))
        rows = [to_outbox(each, job_key=job.key, created_at=now) for each in messages]
        if job.webhook_url is not None:
            rows.append(_webhook(job, job.webhook_url, encode(document), now))
        return rows

    async def _is_newest(self, job: Job, now: datetime) -> bool:
        """Whether no frame of the camera that arrived later has been captioned.

        By arrival, because a camera's clock can be wrong by decades. So can ours: an arrival that
        is still to come was written before it was set back, and counts for nothing. Of a camera
        that has been forgotten meanwhile nothing is retained.
        """
        camera = self._cameras.get(job.camera_id)
        if camera is None:
            return False
        if camera.newest_caption_at is None:  # a job of the last run may end out of turn
            found = await self._store.newest_caption(job.camera_id)
            camera.newest_caption_at = found or job.received_at
        newest = camera.newest_caption_at
        if newest > job.received_at and newest <= now:
            return False
        camera.newest_caption_at = job.received_at
        return True

    def _caption(
        self, job: Job, document: ResultDocument, image: bytes | None, *, is_newest: bool
    ) -> list[Publish]:
        """The caption, and the frame when it is wanted.

        Only the newest frame's are retained: a job that ends out of turn must not take its place.
        """
        messages = [replace(address(document, self._topics), retain=is_newest)]
        if is_newest and image is not None:
            messages.append(address_image(image, self._topics, job.camera_id))
        return messages

    def _dead_letter(self, job: Job, error: ErrorDetail, now: datetime) -> DeadLetter:
        return DeadLetter(
            job_id=job.job_id,
            topic=self._topics.frame(job.camera_id),
            camera_id=job.camera_id,
            size=job.num_bytes,
            sha256=job.sha256 or None,
            error=error,
            attempts=job.attempts,
            timestamp=now,
        )

    def _last_words(self, lost: SetAside, now: datetime) -> list[OutboxMessage]:
        """As a farewell, as far as the row still says whose job it was."""
        if lost.job is not None:
            return self._farewell(lost.job, now)
        topic = origin(lost.topic) if "://" in lost.topic else lost.topic  # a URL may hold a token
        letter = DeadLetter(
            job_id=lost.job_id,
            topic=topic[:_LONGEST_TOPIC],
            camera_id=None,
            size=lost.size,
            sha256=None,
            error=lost.error,
            attempts=lost.attempts,
            timestamp=now,
        )
        return [self._row(letter)]

    def _refusal(self, rejection: Rejection, now: datetime) -> list[OutboxMessage]:
        """Everything that goes out because a frame was not accepted."""
        letter = DeadLetter(
            job_id=rejection.job_id,
            topic=rejection.topic[:_LONGEST_TOPIC],
            camera_id=rejection.camera_id,
            size=rejection.size,
            sha256=rejection.sha256,
            error=rejection.error,
            attempts=0,
            timestamp=now,
        )
        rows = [self._row(letter)]
        if rejection.camera_id is not None:
            status = StatusDocument(
                job_id=rejection.job_id,
                camera_id=rejection.camera_id,
                status=JobStatus.REJECTED,
                message=rejection.error.message,
                error=rejection.error,
                timestamp=now,
            )
            rows.append(self._row(status))
        return rows

    def _row(self, document: DeadLetter | StatusDocument) -> OutboxMessage:
        camera_id, job_id = document.camera_id, document.job_id
        key = job_key(camera_id, job_id) if camera_id is not None and job_id is not None else None
        message = address(document, self._topics)
        return to_outbox(message, job_key=key, created_at=document.timestamp)

    def _status(self, job: Job, now: datetime, place: Place | None = None) -> StatusDocument:
        message = place.message if place else _MESSAGES.get(job.status, job.status.value)
        return StatusDocument(
            job_id=job.job_id,
            camera_id=job.camera_id,
            status=job.status,
            message=job.error.message if job.error else message,
            priority=job.priority,
            queue_position=place.position if place else None,
            estimated_wait_time=place.wait_s if place else None,
            webhook_configured=job.webhook_url is not None,
            attempts=job.attempts,
            error=job.error,
            timestamp=job.finished_at or now,  # every copy of an end says the same
            metadata=job.metadata,
        )


def _bare(job: Job) -> Job:
    """The job without anything that its sender has written."""
    own = ("location", "response_topic", "webhook_url")
    return job.model_copy(update={"metadata": {}, **dict.fromkeys(own)})


def result_document(job: Job, result: Result | None, now: datetime) -> ResultDocument:
    """The end of a job as everyone outside sees it."""
    return ResultDocument(
        job_id=job.job_id,
        camera_id=job.camera_id,
        status=job.status,
        result=result,
        error_message=job.error.message if job.error else None,
        timestamp=now,
        location=job.location,
        metadata=job.metadata,
    )


def _webhook(job: Job, url: str, payload: bytes, now: datetime) -> OutboxMessage:
    options = {
        "headers": job.webhook_headers or {},
        "trusted": job.webhook_is_trusted,
        "webhook_id": job.webhook_id,
    }
    return OutboxMessage(
        job_key=job.key,
        channel=Channel.WEBHOOK,
        destination=url,
        payload=payload,
        options={name: value for name, value in options.items() if value is not None},
        created_at=now,
        receiver=origin(url),
    )
