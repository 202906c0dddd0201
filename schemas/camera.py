"""Settings of one camera: from the configuration file, overlaid by changes at run time."""

from pydantic import BaseModel, ConfigDict, Field

from schemas.frame import (
    MAX_TASKS,
    MAX_TEXT_CHARACTERS,
    Headers,
    Length,
    Priority,
    PriorityName,
    Task,
)


class CameraSettings(BaseModel):
    """What a frame gets where it does not say otherwise, and which frames are worth captioning."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    location: str | None = Field(default=None, max_length=256, description="e.g. Front Door")
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEXT_CHARACTERS,
        description="a question that replaces the plain caption",
    )
    length: Length = Field(default=Length.NORMAL, description="of the plain caption")
    tasks: tuple[Task, ...] = Field(
        default=(Task.model_validate("caption"),),
        min_length=1,
        max_length=MAX_TASKS,
        description="what to do with each frame; all tasks share one image encoding",
    )
    cooldown: float = Field(
        default=0.0,
        ge=0,
        le=86400,
        description="seconds after an accepted frame in which others are dropped",
    )
    min_intensity: float = Field(
        default=0.0, ge=0, le=1, description="frames with less motion are dropped"
    )
    enabled: bool = Field(default=True, description="off: every frame is dropped")
    newest_wins: bool = Field(
        default=False,
        description="a new frame replaces a waiting one of the same or lower priority",
    )
    similarity: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="overrides dedupe.similarity for this camera; 0 captions every frame",
    )
    webhook_url: str | None = Field(
        default=None,
        max_length=2048,
        description="where its results are POSTed; overrides webhooks.url",
    )
    webhook_headers: Headers | None = Field(
        default=None, description="HTTP headers sent along, e.g. Authorization"
    )
    publish_image: bool = Field(default=False, description="publish the captioned frame, retained")
    min_priority: PriorityName = Field(
        default=Priority.LOW,
        description="low, normal, high, critical: frames of a lower priority are dropped",
    )
    snapshot_url: str | None = Field(
        default=None,
        max_length=2048,
        description="http(s) address of what it sees now, for camera/describe; set at run time, it "
        "must pass fetch.allow_hosts",
    )
