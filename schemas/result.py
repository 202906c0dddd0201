"""The result document: the same on the caption topic, the response topic and in a webhook."""

from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.frame import PriorityName
from schemas.job import JobStatus

SHORT_CAPTION_CHARACTERS = 255  # the longest state Home Assistant keeps


class Box(BaseModel):
    """Corners as shares of the image's width and height, origin top left."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    x_min: float
    y_min: float
    x_max: float
    y_max: float


class Point(BaseModel):
    """A place as shares of the image's width and height, origin top left."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    x: float
    y: float


class Answer(BaseModel):
    """The answer to one question."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    question: str
    answer: str
    confidence: float
    probabilities: dict[str, float] | None = Field(
        default=None,
        exclude_if=lambda probabilities: probabilities is None,
        description="of each choice; only where there was a choice",
    )


class DetectedObjects(BaseModel):
    """All boxes found for one label."""

    model_config = ConfigDict(frozen=True)

    label: str
    count: int
    boxes: tuple[Box, ...]


class PointedObjects(BaseModel):
    """All points found for one label."""

    model_config = ConfigDict(frozen=True)

    label: str
    count: int
    points: tuple[Point, ...]


class ModelInfo(BaseModel):
    """Which model answered, and for whom."""

    model_config = ConfigDict(frozen=True, protected_namespaces=())

    model: str
    revision: str
    device: str
    camera_id: str
    motion_intensity: float
    priority: PriorityName


class Result(BaseModel):
    """What the model said about one frame."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False, protected_namespaces=())

    caption: str
    short_caption: str = Field(description="at most 255 characters, cut at a word")
    confidence: float = Field(description="geometric mean of the generated tokens' probabilities")
    answers: tuple[Answer, ...] = ()
    objects: tuple[DetectedObjects, ...] = ()
    points: tuple[PointedObjects, ...] = ()
    processing_time: float = Field(description="seconds in the engine")
    queue_time: float = Field(description="seconds from arrival to the engine")
    truncated: bool = Field(
        default=False,
        exclude_if=lambda truncated: not truncated,
        description="a text ended where model.max_tokens cut it; only where one did",
    )
    model_info: ModelInfo


class ResultDocument(BaseModel):
    """The end of a job as everyone outside sees it."""

    model_config = ConfigDict(frozen=True, cache_strings="keys")

    job_id: str
    camera_id: str
    status: JobStatus
    result: Result | None
    error_message: str | None
    timestamp: AwareDatetime = Field(description="when the job ended")
    taken_at: AwareDatetime | None = Field(default=None, description="when the frame was taken")
    location: str | None
    metadata: dict[str, Any]


def shorten(caption: str, limit: int = SHORT_CAPTION_CHARACTERS) -> str:
    """Cut a caption to `limit` characters at a word; an ellipsis marks what is missing."""
    if len(caption) <= limit:
        return caption
    head = caption[: limit - 1]
    cut = head.rfind(" ")
    return (head[:cut] if cut > 0 else head).rstrip(" ,;:") + "…"
