"""Requests about cameras: what is known of each, and its settings at run time."""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, Field, create_model
from pydantic.fields import FieldInfo

from schemas.camera import CameraSettings
from schemas.frame import CameraId, FrameOptions
from schemas.job import JobStatus
from schemas.requests.envelope import Answer, Request
from schemas.requests.jobs import MAX_PAGE, Pagination
from schemas.requests.operation import Operation

SETTINGS = tuple(CameraSettings.model_fields)

#: Who gave a setting the value that counts.
Origin = Literal["default", "file", "changed"]


def _is_setting(name: str) -> str:
    if name not in SETTINGS:
        raise ValueError(f"must be one of {', '.join(SETTINGS)}")
    return name


class CameraName(Request):
    """Which camera."""

    camera_id: CameraId


class CameraFilter(Request):
    """Which page of all cameras, by name."""

    limit: int = Field(default=MAX_PAGE, ge=1, le=MAX_PAGE)
    offset: int = Field(default=0, ge=0, le=10_000_000)


def _or_null(field: FieldInfo) -> Any:
    """A setting as a field that need not be there."""
    kind: Any = field.annotation
    value = Annotated[(kind, *field.metadata)] if field.metadata else kind
    return Annotated[value | None, Field(description=field.description)], None


_CHANGES: dict[str, Any] = {
    name: _or_null(field) for name, field in CameraSettings.model_fields.items()
}

CameraChange = create_model(
    "CameraChange",
    __base__=CameraName,
    __doc__="A camera, and new values for some of its settings; null goes back to the file's.",
    **_CHANGES,
)


class CameraReset(CameraName):
    """Which camera, and which of its settings."""

    setting: Annotated[str, AfterValidator(_is_setting)] | None = Field(
        default=None, description="without it, all"
    )


class CameraView(Answer):
    """A camera, and what became of its frames since `since`."""

    camera_id: str
    location: str | None
    enabled: bool
    configured: bool = Field(description="the file names it")
    changed: tuple[str, ...] = Field(description="settings that were changed at run time")
    last_seen_at: AwareDatetime | None = Field(description="its newest frame, null: none has come")
    last_seen_age: float | None = Field(description="seconds since then")
    since: AwareDatetime = Field(description="the start of the service, or when it became known")
    frames: int = Field(description="that came, whatever became of them")
    captions: int
    newest_caption_age: float | None = Field(description="seconds; null: none since `since`")
    dropped: dict[str, int] = Field(description="by reason")
    duplicates: dict[str, int] = Field(description="by rule")
    rejected: dict[str, int] = Field(description="by error code")
    failed: dict[str, int] = Field(description="by error code")
    expired: int
    cancelled: int


class CameraDetail(CameraView):
    """The same with its settings."""

    settings: CameraSettings = Field(description="effective, without secrets")
    origins: dict[str, Origin] = Field(description="of each setting: who gave the value")


class CameraPage(Answer):
    """Some of the cameras that are known."""

    count: int = Field(description="of all that are known")
    items: tuple[CameraView, ...]
    pagination: Pagination


class Forgotten(Answer):
    """The camera that is not known any more."""

    camera_id: str


class DescribeRequest(FrameOptions, Request):
    """Which camera, and what else is to be done with the picture than with its frames."""

    camera_id: CameraId


class Described(Answer):
    """The job of the picture; its end is told as any frame's."""

    camera_id: str
    job_id: str
    status: JobStatus | None = Field(
        description="null: the picture is still being fetched, ask `ask_next` for the job"
    )
    ask_next: str | None = None


_ID = "front_door"

CAMERA_LIST = Operation(
    "camera/list",
    CameraFilter,
    CameraPage,
    "The cameras that are known, with what became of their frames.",
)
CAMERA_GET = Operation(
    "camera/get",
    CameraName,
    CameraDetail,
    "A camera with its settings, and where each of them comes from.",
    {"camera_id": _ID},
)
CAMERA_SET = Operation(
    "camera/set",
    CameraChange,
    CameraDetail,
    "Change settings of a camera at run time: kept across restarts, effective for its next frame. "
    "null goes back to the file's value. A camera that is not known becomes known.",
    {"camera_id": _ID, "cooldown": 5, "enabled": True},
)
CAMERA_RESET = Operation(
    "camera/reset",
    CameraReset,
    CameraDetail,
    "Go back to the file's settings, all or one.",
    {"camera_id": _ID, "setting": "cooldown"},
)
CAMERA_FORGET = Operation(
    "camera/forget",
    CameraName,
    Forgotten,
    "Clear everything kept and published of a camera that the file does not name. Its jobs stay, "
    "and those that run end without a retained caption.",
    {"camera_id": _ID},
)

CAMERA_DESCRIBE = Operation(
    "camera/describe",
    DescribeRequest,
    Described,
    "Fetch a camera's present picture from its `snapshot_url`, or else from a trigger's `url`, and "
    "caption it, with priority `high` unless it says another; answered with the job, not with the "
    "caption.",
    {"camera_id": _ID, "prompt": "Is there a package?"},
    waits_for_others=True,
)

CAMERAS = (
    CAMERA_LIST,
    CAMERA_GET,
    CAMERA_SET,
    CAMERA_RESET,
    CAMERA_FORGET,
    CAMERA_DESCRIBE,
)


def changes_of(request: CameraName) -> dict[str, Any]:
    """What a `CameraChange` says, as JSON values by name; None goes back to the file's."""
    said = request.model_dump(mode="json", include=request.model_fields_set - {"camera_id"})
    return dict(said)
