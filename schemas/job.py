"""A job: one accepted frame on its way to exactly one final status.

The life cycle is here and nowhere else: `JobStatus` names the states, `TRANSITIONS` the allowed
steps between them.
"""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from schemas.frame import (
    CAPTION,
    CameraId,
    Headers,
    JobId,
    Length,
    Priority,
    PriorityName,
    Task,
)
from schemas.frigate import EventId


class JobStatus(StrEnum):
    """Where a job is in its life; `REJECTED` is the answer to a frame that never became a job."""

    QUEUED = "queued"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
    DROPPED = "dropped"
    EXPIRED = "expired"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"

    @property
    def is_final(self) -> bool:
        """Whether nothing comes after it."""
        return self not in {JobStatus.QUEUED, JobStatus.PROCESSING}


#: From each status to those that may follow. A final status is an end.
TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset(
        {
            JobStatus.PROCESSING,
            JobStatus.FAILED,
            JobStatus.CANCELLED,
            JobStatus.DROPPED,
            JobStatus.EXPIRED,
            JobStatus.DUPLICATE,
        }
    ),
    JobStatus.PROCESSING: frozenset(
        {
            JobStatus.QUEUED,  # returned: engine lost, preempted, or shut down
            JobStatus.COMPLETED,
            JobStatus.FAILED,
            JobStatus.CANCELLED,
            JobStatus.EXPIRED,
            JobStatus.DUPLICATE,  # found to look like the frame before it
        }
    ),
    **{status: frozenset() for status in JobStatus if status.is_final},
}


#: Ends after which the frame can be captioned again, as another job.
CAN_BE_RETRIED = frozenset(
    {JobStatus.FAILED, JobStatus.EXPIRED, JobStatus.CANCELLED, JobStatus.DROPPED}
)


def sources_of(status: JobStatus) -> frozenset[JobStatus]:
    """The statuses that `status` may follow."""
    return frozenset(before for before, after in TRANSITIONS.items() if status in after)


def _encodable(text: str) -> str:
    """Without lone surrogates, which neither the store nor the wire takes."""
    return text.encode("utf-8", "replace").decode()


class ErrorDetail(BaseModel):
    """Why something went wrong: a code for programs, a sentence for people.

    The sentence can quote anything: a foreign server's words, a file name that is no UTF-8.
    """

    model_config = ConfigDict(frozen=True, cache_strings="keys")

    code: str
    message: Annotated[str, AfterValidator(_encodable)]


def job_key(camera_id: str, job_id: str) -> str:
    """What names a job inside the service: its sender's id is unique within its camera only.

    Neither part can hold a slash.
    """
    return f"{camera_id}/{job_id}"


def split_key(key: str) -> tuple[str, str]:
    """Camera and job id of a `job_key`."""
    camera_id, _, job_id = key.partition("/")
    return camera_id, job_id


class FrigateOrigin(BaseModel):
    """The object of Frigate's that a job describes; only our own source says it, never a frame."""

    model_config = ConfigDict(frozen=True, cache_strings="keys")

    event_id: EventId
    is_final: bool = Field(default=True, description="nothing better of the object comes later")
    write_back: bool = Field(default=False, description="the description goes back into Frigate")
    sub_label: Task | None = Field(
        default=None, description="what is asked for the object's sub label"
    )


#: What brought a frame.
Source = Literal["mqtt", "http", "request", "batch", "trigger", "folder", "frigate"]


class Job(BaseModel):
    """An accepted frame with everything resolved; the image itself is kept apart.

    It is stored as JSON and read back by the same rules: what could not be read cannot be made.
    """

    # Pydantic keeps the last 16,384 short strings it has read. Ids are never read again: they would
    # fill it over an hour, with 1.3 MB and more.
    model_config = ConfigDict(
        frozen=True,
        ser_json_bytes="base64",
        val_json_bytes="base64",
        allow_inf_nan=False,  # JSON has neither
        cache_strings="keys",
    )

    job_id: JobId
    camera_id: CameraId
    status: JobStatus = JobStatus.QUEUED
    priority: PriorityName = Priority.NORMAL
    motion_intensity: float = 0.5
    tasks: tuple[Task, ...] = (CAPTION,)
    prompt: str | None = Field(default=None, description="question that replaces the caption")
    length: Length = Length.NORMAL
    location: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    webhook_url: str | None = None
    webhook_id: str | None = Field(
        default=None, description="in place of the job id, where another camera's job has that too"
    )
    webhook_headers: Headers | None = None
    webhook_is_trusted: bool = Field(
        default=False, description="the operator named the URL, not the frame"
    )
    frame_url: str | None = Field(default=None, description="where the image is still to be had")
    publish_image: bool = False
    source: Source = "mqtt"
    is_asked_for: bool = Field(
        default=False, description="what spares a camera's frames their caption does not end it"
    )
    similarity: float = Field(default=0.0, description="0: never taken for the frame before it")
    response_topic: str | None = None
    correlation_data: bytes | None = None
    sha256: str = Field(default="", description="of the image bytes, hexadecimal")
    content: str = Field(
        default="", description="names the picture and what is asked of it; empty: not known"
    )
    num_bytes: int = Field(default=0, description="size of the image bytes")
    width: int = 0
    height: int = 0
    retry_of: JobId | None = Field(
        default=None, description="the job of the same camera whose frame is captioned again"
    )
    frame_received_at: AwareDatetime | None = Field(
        default=None, description="of a retry: when the frame arrived; received_at is the order's"
    )
    taken_at: AwareDatetime
    received_at: AwareDatetime
    arrived_monotonic: float | None = Field(
        default=None,
        exclude=True,
        repr=False,
        description="when it arrived, on this process's monotonic clock; known where it begins to "
        "wait: at intake and after a restart",
    )
    max_age: float = Field(default=300.0, description="seconds from its arrival")
    max_attempts: int = 3
    attempts: int = 0
    engine_losses: int = Field(default=0, description="times the engine died under it")
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    error: ErrorDetail | None = None

    frigate: FrigateOrigin | None = Field(
        default=None, description="where the description goes back to"
    )

    batch_id: str | None = Field(
        default=None, description="of the batch it came with: behind all that cameras send"
    )

    @property
    def key(self) -> str:
        """What names it inside the service; see `job_key`."""
        return job_key(self.camera_id, self.job_id)
