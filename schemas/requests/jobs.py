"""Requests about jobs."""

from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field

from schemas.frame import CameraId, JobId, PriorityName
from schemas.job import ErrorDetail, JobStatus
from schemas.requests.envelope import Answer, Request
from schemas.requests.operation import Operation
from schemas.result import ResultDocument

MAX_PAGE = 200


class JobName(Request):
    """Which job."""

    job_id: JobId
    camera_id: CameraId | None = Field(
        default=None, description="needed where several cameras have a job of this id"
    )


class RetryRequest(JobName):
    """Which job, and how often."""

    max_attempts: int | None = Field(default=None, ge=1, le=10, description="the job's")


class JobFilter(Request):
    """Which jobs, and in what order."""

    status: JobStatus | None = None
    camera_id: CameraId | None = None
    limit: int = Field(default=50, ge=1, le=MAX_PAGE)
    offset: int = Field(default=0, ge=0, le=10_000_000)
    order_by: Literal["priority", "queued_at", "finished_at"] = "queued_at"
    order_direction: Annotated[
        Literal["asc", "desc"], BeforeValidator(lambda value: str(value).lower())
    ] = "desc"


class JobView(Answer):
    """A job as it stands."""

    job_id: str
    camera_id: str
    status: JobStatus
    priority: PriorityName
    motion_intensity: float
    attempts: int
    max_attempts: int
    queue_position: int | None = Field(default=None, description="1 is next")
    estimated_wait_time: float | None = Field(default=None, description="seconds")
    queued_at: AwareDatetime
    taken_at: AwareDatetime
    started_at: AwareDatetime | None = None
    finished_at: AwareDatetime | None = None
    error: ErrorDetail | None = None
    location: str | None = None
    retry_of: str | None = Field(default=None, description="the job that it repeats")
    metadata: dict[str, Any] = Field(default_factory=dict)


class JobDetail(JobView):
    """The same with its result."""

    result: ResultDocument | None = Field(default=None, description="once it has one")


class Pagination(Answer):
    """Where a page is among all."""

    limit: int
    offset: int
    has_more: bool


class JobPage(Answer):
    """Some of the jobs that match."""

    count: int = Field(description="of all that match")
    items: tuple[JobView, ...]
    pagination: Pagination


class JobResult(ResultDocument, Answer):
    """The result document."""

    model_config = ConfigDict(frozen=True)


_ID = "5f0c1c8e-7b1f-4f0a-9a55-1d3c52a3a0c1"

JOB_GET = Operation(
    "job/get",
    JobName,
    JobDetail,
    "A job with its status, place, times and result.",
    {"job_id": _ID},
)
JOB_LIST = Operation(
    "job/list",
    JobFilter,
    JobPage,
    "The jobs that match, a page of them.",
    {"status": "failed", "limit": 10},
)
JOB_RESULT = Operation(
    "job/result",
    JobName,
    JobResult,
    "The result document of a job that has ended.",
    {"job_id": _ID},
)
JOB_CANCEL = Operation(
    "job/cancel",
    JobName,
    JobDetail,
    "End a job that waits, or one that an engine has, as `cancelled`.",
    {"job_id": _ID},
)
JOB_RETRY = Operation(
    "job/retry",
    RetryRequest,
    JobView,
    "Caption the frame of a failed, expired, cancelled or dropped job again while it is kept: as a "
    "new job that names the old one in `retry_of`.",
    {"job_id": _ID, "max_attempts": 2},
)

JOBS = (JOB_GET, JOB_LIST, JOB_RESULT, JOB_CANCEL, JOB_RETRY)
