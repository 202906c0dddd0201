"""Requests about batches: many frames in one request, with one progress and a list of results."""

from typing import Annotated

from pydantic import Field, WithJsonSchema

from schemas.batch import BatchProgress
from schemas.frame import CameraId
from schemas.job import ErrorDetail, JobStatus
from schemas.requests.envelope import Answer, Request
from schemas.requests.jobs import Pagination
from schemas.requests.operation import Operation
from schemas.result import Result

MAX_ITEMS = 1000
MAX_BATCH_BYTES = 64 << 20

#: A MotionFrame as an object, or as the bytes of one: what is wrong with it is its own result's
#: matter, so it is read by whoever takes the batch.
Item = Annotated[object, WithJsonSchema({"type": "object", "title": "MotionFrame"})]

BatchId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]


class BatchSubmit(Request):
    """The frames, as in a JSON frame."""

    items: tuple[Item, ...] = Field(
        min_length=1, max_length=MAX_ITEMS, description="MotionFrames; URLs are fetched in time"
    )
    name: str | None = Field(default=None, max_length=128)
    camera_id: CameraId | None = Field(default=None, description="of items without one")


class BatchName(Request):
    """Which batch."""

    batch_id: BatchId


class BatchPart(BatchName):
    """Which batch, and which of its results."""

    limit: int = Field(default=MAX_ITEMS, ge=1, le=MAX_ITEMS, description="most results")
    offset: int = Field(default=0, ge=0, le=MAX_ITEMS)


class BatchFilter(Request):
    """Which batches, the newest first."""

    limit: int = Field(default=50, ge=1, le=200)
    offset: int = Field(default=0, ge=0, le=10_000_000)


class BatchResult(Answer):
    """What became of one item."""

    job_id: str | None = Field(description="null for an item that is no frame")
    camera_id: str | None
    status: JobStatus
    result: Result | None = None
    error: ErrorDetail | None = None


class BatchView(BatchProgress, Answer):
    """As on the progress topic."""


class BatchDetail(BatchView):
    """The same with results."""

    results: tuple[BatchResult, ...] = Field(description="in the order of `items`")
    pagination: Pagination


class BatchPage(Answer):
    """Some of the batches."""

    count: int = Field(description="of all")
    items: tuple[BatchView, ...]
    pagination: Pagination


_ID = "7a1d2f9e-2f55-4f0e-8a0e-0b6a8a9b1c11"

BATCH_SUBMIT = Operation(
    "batch/submit",
    BatchSubmit,
    BatchView,
    "Caption up to 1,000 frames when the cameras leave time for it; one that is no frame is a "
    "failed result. Progress is published on `bridge/batch/<batch_id>`.",
    {
        "name": "yesterday",
        "camera_id": "front_door",
        "items": [{"frame_url": "http://nvr.local/clips/1.jpg", "job_id": "clip-1"}],
    },
    max_bytes=MAX_BATCH_BYTES,
    answer_within_s=60.0,  # 64 MiB to a slow disk
    array_field="items",
)
BATCH_GET = Operation(
    "batch/get",
    BatchPart,
    BatchDetail,
    "A batch with its results, in the order of its items.",
    {"batch_id": _ID},
)
BATCH_LIST = Operation("batch/list", BatchFilter, BatchPage, "The batches, newest first.")
BATCH_CANCEL = Operation(
    "batch/cancel",
    BatchName,
    BatchView,
    "End everything of a batch that no engine has yet, as `cancelled`.",
    {"batch_id": _ID},
)

BATCHES = (BATCH_SUBMIT, BATCH_GET, BATCH_LIST, BATCH_CANCEL)
