"""A motion frame as a sender describes it, and the tasks it asks for.

The field names are the wire's (`docs/topics.md`); everything a sender can get wrong is refused here
with the name of the field.
"""

import json
import re
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    field_validator,
    model_serializer,
    model_validator,
)
from typing_extensions import TypedDict

MAX_METADATA_BYTES = 8 * 1024
MAX_TASKS = 16
MAX_HEADERS = 32  # common servers take a hundred, ours and their proxies' included
MAX_AGE_S = 7 * 86400.0
MAX_TEXT_CHARACTERS = 2000
MAX_LOCATION_CHARACTERS = 256
MIN_CHOICES, MAX_CHOICES, MAX_CHOICE_CHARACTERS = 2, 16, 64
CAMERA_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
JOB_ID_PATTERN = r"^[A-Za-z0-9_-]{1,64}$"
RESERVED_CAMERA_IDS = frozenset({"bridge"})


class Priority(IntEnum):
    """How much a frame matters; a greater value leaves the heap first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    CRITICAL = 3

    @property
    def wire(self) -> str:
        """The name on the wire, e.g. `critical`."""
        return self.name.lower()

    @classmethod
    def from_intensity(cls, intensity: float) -> "Priority":
        """The class of a frame that gives no priority of its own."""
        if intensity >= 0.8:
            return cls.CRITICAL
        if intensity >= 0.6:
            return cls.HIGH
        if intensity >= 0.4:
            return cls.NORMAL
        return cls.LOW


_PRIORITY_NAMES = {
    **{priority.wire: priority for priority in Priority},
    "immediate": Priority.CRITICAL,
    "interactive": Priority.HIGH,
    "preload": Priority.NORMAL,
    "background": Priority.LOW,
}


def _read_priority(value: object) -> object:
    if isinstance(value, Priority):
        return value
    if isinstance(value, str) and value in _PRIORITY_NAMES:
        return _PRIORITY_NAMES[value]
    raise ValueError(f"must be one of {', '.join(_PRIORITY_NAMES)}")


def priority_named(name: object) -> Priority | None:
    """The class of this name or its alias; None: there is none."""
    return _PRIORITY_NAMES.get(name) if isinstance(name, str) else None


PriorityName = Annotated[
    Priority,
    BeforeValidator(_read_priority),
    PlainSerializer(lambda priority: priority.wire, return_type=str),
    WithJsonSchema({"type": "string", "enum": list(_PRIORITY_NAMES)}, mode="validation"),
    WithJsonSchema({"type": "string", "enum": [p.wire for p in Priority]}, mode="serialization"),
]


class Length(StrEnum):
    """How long a plain caption is."""

    SHORT = "short"
    NORMAL = "normal"
    LONG = "long"


class TaskKind(StrEnum):
    """What the model can be asked to do with a frame."""

    CAPTION = "caption"
    QUERY = "query"
    CHOOSE = "choose"
    DETECT = "detect"
    POINT = "point"


class _Choose(TypedDict):
    """The wire form of what is chosen."""

    question: str
    choices: tuple[str, ...]


def _read_choose(content: object) -> dict[str, object]:
    """The fields of a task from the wire form of what is chosen."""
    if not isinstance(content, dict) or content.keys() != {"question", "choices"}:
        raise ValueError("choose must be an object of question and choices")
    question, choices = content["question"], content["choices"]
    if not isinstance(question, str) or not question.strip():
        raise ValueError("choose.question must be a text")
    if not isinstance(choices, list | tuple):
        raise ValueError("choose.choices must be a list")
    stripped = [each.strip() if isinstance(each, str) else each for each in choices]
    return {"kind": TaskKind.CHOOSE, "text": question.strip(), "choices": stripped}


def _check_choices(choices: tuple[str, ...]) -> None:
    if not MIN_CHOICES <= len(set(choices)) == len(choices):
        raise ValueError(f"choose.choices must be {MIN_CHOICES} to {MAX_CHOICES} different texts")
    if any(not choice or choice != choice.strip() for choice in choices):
        raise ValueError("choose.choices must have no empty text and no blanks around one")


def _wire_schema(schema: dict[str, Any]) -> None:
    """Describe the form of the wire, not our own."""
    text = {"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARACTERS}
    forms = {"query": text, "detect": text, "point": text}
    objects = [
        {
            "type": "object",
            "properties": {name: form},
            "required": [name],
            "additionalProperties": False,
        }
        for name, form in forms.items()
    ]
    choice = {"type": "string", "minLength": 1, "maxLength": MAX_CHOICE_CHARACTERS}
    choices = {
        "type": "array",
        "items": choice,
        "minItems": MIN_CHOICES,
        "maxItems": MAX_CHOICES,
        "uniqueItems": True,
    }
    chosen = {
        "type": "object",
        "properties": {"question": text, "choices": choices},
        "required": ["question", "choices"],
        "additionalProperties": False,
    }
    choose = {
        "type": "object",
        "properties": {"choose": chosen},
        "required": ["choose"],
        "additionalProperties": False,
    }
    schema.clear()
    schema["anyOf"] = [{"type": "string", "const": "caption"}, *objects, choose]


class Task(BaseModel):
    """One task; on the wire `"caption"`, or an object like `{"query": "Is it raining?"}`."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_wire_schema)

    kind: TaskKind
    text: str = Field(default="", max_length=MAX_TEXT_CHARACTERS)
    choices: tuple[Annotated[str, Field(max_length=MAX_CHOICE_CHARACTERS)], ...] = Field(
        default=(), max_length=MAX_CHOICES, description="of `choose`, what can be answered"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_wire(cls, value: object) -> object:
        if value == TaskKind.CAPTION.value:
            return {"kind": TaskKind.CAPTION}
        if isinstance(value, dict) and len(value) == 1:
            [(kind, text)] = value.items()
            if kind in {"query", "detect", "point"} and isinstance(text, str) and text.strip():
                return {"kind": TaskKind(kind), "text": text.strip()}
            if kind == "choose":
                return _read_choose(text)
        # Our own form is told by the enumeration's member, which no JSON, YAML or variable holds.
        if isinstance(value, dict) and isinstance(value.get("kind"), TaskKind):
            return value
        raise ValueError(
            'must be "caption", {"query": "question"}, {"detect": "label"}, {"point": "label"} or '
            '{"choose": {"question": "question", "choices": ["one", "another"]}}'
        )

    @model_validator(mode="after")
    def _can_be_read_back(self) -> Self:
        if bool(self.text) is (self.kind is TaskKind.CAPTION) or self.text != self.text.strip():
            raise ValueError("a caption has no text, any other task has one without blanks around")
        if self.kind is not TaskKind.CHOOSE and self.choices:
            raise ValueError("choices are for a task choose only")
        if self.kind is TaskKind.CHOOSE:
            _check_choices(self.choices)
        return self

    @model_serializer
    def _to_wire(self) -> str | dict[str, str] | dict[str, _Choose]:
        match self.kind:
            case TaskKind.CAPTION:
                return "caption"
            case TaskKind.CHOOSE:
                return {"choose": _Choose(question=self.text, choices=self.choices)}
            case _:
                return {self.kind.value: self.text}


CAPTION = Task(kind=TaskKind.CAPTION)


def _read_headers(value: dict[str, str]) -> dict[str, str]:
    if len(value) > MAX_HEADERS:
        raise ValueError(f"must be at most {MAX_HEADERS} headers")
    for name, text in value.items():
        found = re.match(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{0,128}", name)
        if not name or found is None or found[0] != name:
            # Only what can be one: "Authorization: Bearer …" has more in it.
            shown = found[0][:40] if found else ""
            raise ValueError(f"'{shown}…' is not an HTTP header name")
        if not re.fullmatch(r"[\t\x20-\x7e]{0,2048}", text):
            raise ValueError(f"the value of {name!r} must be printable ASCII without line ends")
    return value


def _with_offset(moment: datetime) -> datetime:
    """A time without an offset is the service's local time: what a camera's display shows."""
    try:
        local = moment.astimezone() if moment.tzinfo is None else moment
        local.astimezone(UTC)  # what most who read it do, Home Assistant among them
    except (ValueError, OverflowError, OSError) as error:  # at the ends of the calendar
        raise ValueError("is out of range") from error
    return local


def _is_not_reserved(camera_id: str) -> str:
    if camera_id in RESERVED_CAMERA_IDS:
        raise ValueError("is a name of the service's own")
    return camera_id


#: HTTP headers by name.
Headers = Annotated[dict[str, str], AfterValidator(_read_headers)]
CameraId = Annotated[str, Field(pattern=CAMERA_ID_PATTERN), AfterValidator(_is_not_reserved)]
JobId = Annotated[str, Field(pattern=JOB_ID_PATTERN)]


def is_camera_id(text: str) -> bool:
    """Whether a topic level can name a camera."""
    return re.fullmatch(CAMERA_ID_PATTERN, text) is not None and text not in RESERVED_CAMERA_IDS


class FrameOptions(BaseModel):
    """Everything a sender may say about a frame besides the image; None where nothing was said."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    camera_id: CameraId | None = Field(default=None, description="must equal the topic's camera")
    motion_intensity: float | None = Field(
        default=None,
        ge=0.0,
        le=1.0,
        strict=True,
        description="gives the priority: 0.8 and more is critical, 0.6 high, 0.4 normal, less low",
    )
    priority: PriorityName | None = Field(
        default=None, description="overrides that of the intensity"
    )
    timestamp: Annotated[datetime, AfterValidator(_with_offset)] | None = Field(
        default=None, description="when the frame was taken; else its arrival"
    )
    location: str | None = Field(
        default=None, max_length=MAX_LOCATION_CHARACTERS, description="e.g. Front Door"
    )
    metadata: dict[str, Any] = Field(
        default_factory=dict, description="at most 8 KiB as JSON; comes back unchanged"
    )
    prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TEXT_CHARACTERS,
        description="a question that replaces the plain caption",
    )
    length: Length | None = Field(default=None, description="of the caption")
    tasks: tuple[Task, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=MAX_TASKS,
        description="what to do; all share one encoding of the image",
    )
    webhook_url: str | None = Field(
        default=None, max_length=2048, description="where the result is POSTed too"
    )
    webhook_headers: Headers | None = Field(
        default=None, description="HTTP headers for the frame's own webhook_url"
    )
    job_id: JobId | None = Field(
        default=None, description="the same id again is not run twice; made up where there is none"
    )
    max_age: float | None = Field(
        default=None, gt=0, le=MAX_AGE_S, description="seconds from arrival until it expires"
    )
    max_attempts: int | None = Field(default=None, ge=1, le=10, description="tries")

    @field_validator("metadata")
    @classmethod
    def _metadata_is_small(cls, value: dict[str, Any]) -> dict[str, Any]:
        if value and len(json.dumps(value, ensure_ascii=False).encode()) > MAX_METADATA_BYTES:
            raise ValueError(f"must be at most {MAX_METADATA_BYTES} bytes as JSON")
        return value


class MotionFrame(FrameOptions):
    """The JSON form of a frame: its image is in `frame_data` or behind `frame_url`."""

    frame_data: str | None = Field(
        default=None, min_length=1, description="the image as base64 or data URI; or frame_url"
    )
    frame_url: str | None = Field(
        default=None, min_length=1, max_length=2048, description="its http(s) address"
    )

    @model_validator(mode="after")
    def _has_one_image(self) -> "MotionFrame":
        if (self.frame_data is None) == (self.frame_url is None):
            raise ValueError("exactly one of frame_data and frame_url is required")
        return self
