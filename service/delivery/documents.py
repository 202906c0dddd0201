"""What is said of a job, a refusal or a loss: documents, and the rows of the outbox that hold them.

No I/O and no clock: the same job makes the same documents, so every copy of an end says the same.
`service.delivery.deliver` writes them in the transaction in which it happens.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from broker.codec import encode
from broker.handover import Publish
from broker.publisher import address, address_image, answer, to_outbox
from broker.topics import Topics
from schemas.job import ErrorDetail, FrigateOrigin, Job, JobStatus, job_key
from schemas.outbox import Channel, OutboxMessage
from schemas.result import Answer, Result, ResultDocument
from schemas.status import DeadLetter, StatusDocument
from schemas.write_back import RECEIVER as FRIGATE
from schemas.write_back import WriteBack
from service.delivery.place import Place
from service.http.urls import origin
from service.store.set_aside import SetAside

LONGEST_TOPIC = 1024  # characters of a hostile topic that are worth keeping

_MESSAGES = {
    JobStatus.QUEUED: "Waiting",  # its place says for what
    JobStatus.PROCESSING: "The model is looking at it",
    JobStatus.COMPLETED: "Captioned",
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A frame that never became a job, and what its sender is told."""

    origin: str  #: where it came from: its topic, or the name of its source
    camera_id: str | None  #: None when it names no valid camera
    job_id: str | None
    size: int
    sha256: str | None
    error: ErrorDetail


class Documents:
    """Makes them.

    Args:
        topics: Where each goes.
    """

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def status(self, job: Job, now: datetime, place: Place | None = None) -> StatusDocument:
        """Where a job is.

        Args:
            job: As it stands.
            now: When it came there, unless that is its end.
            place: Where it waits.
        """
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
            timestamp=job.finished_at or now,
            taken_at=job.taken_at,
            retry_of=job.retry_of,
            metadata=job.metadata,
        )

    def final_messages(
        self,
        job: Job,
        now: datetime,
        document: ResultDocument | None = None,
        image: bytes | None = None,
        *,
        is_newest: bool = False,
    ) -> list[OutboxMessage]:
        """Everything that goes out because a job has ended.

        Args:
            job: As it ended.
            now: When.
            document: With its result, if it has one.
            image: JPEG to publish beside the caption.
            is_newest: Whether no frame of the camera that arrived later has been captioned.
        """
        document = document or result_document(job, None, now)
        messages = [address(self.status(job, now), self._topics)]
        if document.result is not None:
            messages += self._caption(job, document, image, is_newest=is_newest)
        if job.response_topic is not None:
            messages.append(
                answer(document, job.response_topic, job.correlation_data, priority=job.priority)
            )
        if job.status is JobStatus.FAILED and job.error is not None:
            messages.append(address(self._of_failed(job, job.error, now), self._topics))
        rows = [to_outbox(each, job_key=job.key, created_at=now) for each in messages]
        if job.webhook_url is not None:
            rows.append(_webhook(job, job.webhook_url, encode(document), now))
        if document.result is not None and job.frigate is not None and job.frigate.write_back:
            rows += _write_back(job, job.frigate, document.result, now)
        return rows

    def of_rejection(self, rejection: Rejection, now: datetime) -> list[OutboxMessage]:
        """Everything that goes out because a frame was not accepted."""
        letter = DeadLetter(
            job_id=rejection.job_id,
            topic=rejection.origin[:LONGEST_TOPIC],
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

    def of_unreadable(self, lost: SetAside, now: datetime) -> list[OutboxMessage]:
        """Everything that goes out because a row cannot be read, as far as it says whose it was."""
        if lost.job is not None:
            return self.final_messages(lost.job, now)
        topic = origin(lost.topic) if "://" in lost.topic else lost.topic  # a URL may hold a token
        letter = DeadLetter(
            job_id=lost.job_id,
            topic=topic[:LONGEST_TOPIC],
            camera_id=None,
            size=lost.size,
            sha256=None,
            error=lost.error,
            attempts=lost.attempts,
            timestamp=now,
        )
        return [self._row(letter)]

    def dead_letters(self, letters: Sequence[DeadLetter]) -> list[OutboxMessage]:
        """Rows for dead letters.

        A dead letter that is given up itself makes no other: that one would fare no better.
        """
        own = self._topics.bridge("dead_letter")
        return [self._row(letter) for letter in letters if letter.topic != own]

    def _caption(
        self, job: Job, document: ResultDocument, image: bytes | None, *, is_newest: bool
    ) -> list[Publish]:
        """The caption, and before it the frame when it is wanted.

        Only the newest frame's are retained: a job that ends out of turn must not take its place.
        Who acts on a caption, as a notification does, finds the picture that belongs to it.
        """
        messages = [replace(address(document, self._topics), retain=is_newest)]
        if is_newest and image is not None:
            messages.insert(0, address_image(image, self._topics, job.camera_id))
        return messages

    def _of_failed(self, job: Job, error: ErrorDetail, now: datetime) -> DeadLetter:
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

    def _row(self, document: DeadLetter | StatusDocument) -> OutboxMessage:
        camera_id, job_id = document.camera_id, document.job_id
        key = job_key(camera_id, job_id) if camera_id is not None and job_id is not None else None
        message = address(document, self._topics)
        return to_outbox(message, job_key=key, created_at=document.timestamp)


def result_document(job: Job, result: Result | None, now: datetime) -> ResultDocument:
    """The end of a job as everyone outside sees it."""
    return ResultDocument(
        job_id=job.job_id,
        camera_id=job.camera_id,
        status=job.status,
        result=result,
        error_message=job.error.message if job.error else None,
        timestamp=now,
        taken_at=job.taken_at,
        location=job.location,
        metadata=job.metadata,
    )


def without_senders_words(job: Job) -> Job:
    """The job without anything that its sender has written."""
    own = ("location", "response_topic", "webhook_url")
    return job.model_copy(update={"metadata": {}, **dict.fromkeys(own)})


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


def _write_back(
    job: Job, origin: FrigateOrigin, result: Result, now: datetime
) -> list[OutboxMessage]:
    """What goes back into Frigate; nothing where nothing was said."""
    if not result.caption:
        return []
    chosen = _chosen(origin, result)
    content = WriteBack(
        description=result.caption,
        sub_label=chosen.answer if chosen else None,
        score=chosen.confidence if chosen else None,
    )
    message = OutboxMessage(
        job_key=job.key,
        channel=Channel.FRIGATE,
        destination=origin.event_id,
        payload=encode(content),
        created_at=now,
        receiver=FRIGATE,
    )
    return [message]


def _chosen(origin: FrigateOrigin, result: Result) -> Answer | None:
    """The answer to what was asked for the sub label."""
    asked = origin.sub_label
    if asked is None:
        return None
    answers = (each for each in result.answers if each.question == asked.text)
    return next((each for each in answers if each.answer in asked.choices), None)
