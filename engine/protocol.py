"""The messages between the service and an engine process.

Both sides import this file and nothing else of each other. It knows the standard library only, so
that the asyncio process never loads torch and the engine never loads pydantic.

On the wire (a socket pair, never stdout) a message is two unsigned 32-bit lengths in network order,
then a JSON header with the name of the class and its fields, then the body as raw bytes: the image
of a `Submit`, empty otherwise.
"""

import json
import struct
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_origin, get_type_hints

_LENGTHS = struct.Struct("!II")
PREAMBLE_BYTES = _LENGTHS.size
MAX_HEADER_BYTES = 16 << 20
MAX_BODY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model to load, and how."""

    name: str  #: hub id or folder
    revision: str
    device: str  #: `cpu`, `cuda`, `cuda:N`
    dtype: str  #: `auto`, `float32`, `bfloat16`, `float16`
    max_crops: int | None = None  #: most local crops of a frame; None: what the model was made for
    slots: int | None = None  #: key/value slots; None: from free memory
    threads: int | None = None  #: CPU threads; None: as many as there are cores
    compile: bool = False  #: torch.compile of vision and prefill
    quantization: Literal["int8", "int4"] | None = None


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task: `caption` (text: length), `query` (question), `detect` or `point` (label)."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Submit:
    """Service to engine: caption this image. The encoded image travels as the body."""

    key: str  #: names the job; opaque here
    camera_id: str
    rank: tuple[float, ...]  #: smallest first
    tasks: tuple[TaskSpec, ...]
    temperature: float = 0.0
    top_p: float = 0.3
    max_tokens: int = 256
    max_objects: int = 50
    seed: int = 0
    #: share of the fingerprint's bits that must agree to call the frame the same; 0 never does
    similarity: float = 0.0
    #: seconds back that frames of the same camera are compared with
    similarity_window: float = 0.0
    #: a frame that matters more than the one it resembles is captioned all the same
    importance: int = 0
    want_image: bool = False  #: return the frame as a JPEG with the boxes drawn
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Service to engine: forget this job. Answered by `Cancelled` unless an outcome came first."""

    key: str


@dataclass(frozen=True, slots=True)
class Loading:
    """Engine to service: what the engine is doing before it is ready."""

    message: str


@dataclass(frozen=True, slots=True)
class Ready:
    """Engine to service: jobs are welcome."""

    model: str
    revision: str
    device: str
    dtype: str
    capacity: int  #: most jobs to be held at once, those being cancelled apart
    load_seconds: float
    vram_mb: float
    ram_mb: float


@dataclass(frozen=True, slots=True)
class LoadFailed:
    """Engine to service: the model cannot be loaded; the process ends."""

    code: str
    message: str
    can_retry: bool = False  #: it may work later without anyone changing anything


@dataclass(frozen=True, slots=True)
class Capacity:
    """Engine to service: memory ran short or came back; the most jobs held at once is now this."""

    capacity: int
    message: str


@dataclass(frozen=True, slots=True)
class Started:
    """Engine to service: the job left the engine's waiting line."""

    key: str


@dataclass(frozen=True, slots=True)
class Similar:
    """Engine to service: the frame looks like the one of `other_key`; it was not captioned."""

    key: str
    other_key: str
    likeness: float  #: share of the fingerprint's bits that agree


@dataclass(frozen=True, slots=True)
class Done:
    """Engine to service: every task is answered; the body is the JPEG when one was wanted.

    `answers` has one entry per task, in order: `{"text","token_ids","confidence"}` for caption and
    query, `{"boxes": [{"x_min","y_min","x_max","y_max"}],"confidence"}` for detect,
    `{"points": [{"x","y"}],"confidence"}` for point.
    """

    key: str
    answers: tuple[dict[str, Any], ...]
    engine_seconds: float  #: from arrival in the engine to here
    timings: dict[str, float] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Failed:
    """Engine to service: this job cannot be finished, the engine goes on."""

    key: str
    code: str
    message: str
    can_retry: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Engine to service: the job is forgotten."""

    key: str


@dataclass(frozen=True, slots=True)
class Alive:
    """Engine to service, every few seconds: the loop turns; memory in MiB."""

    num_jobs: int
    num_steps: int
    vram_mb: float
    ram_mb: float


ToEngine = Submit | Cancel
ToService = (
    Loading | Ready | LoadFailed | Capacity | Started | Similar | Done | Failed | Cancelled | Alive
)
Message = ToEngine | ToService

_CLASSES: dict[str, type[Any]] = {
    cls.__name__: cls
    for cls in (
        Submit,
        Cancel,
        Loading,
        Ready,
        LoadFailed,
        Capacity,
        Started,
        Similar,
        Done,
        Failed,
        Cancelled,
        Alive,
    )
}


def _kind(hint: Any) -> type[Any] | tuple[type[Any], ...]:
    return (float, int) if hint is float else get_origin(hint) or hint


#: What the values of each field are, containers without what is in them.
_KINDS = {
    cls: {name: _kind(hint) for name, hint in get_type_hints(cls).items()}
    for cls in _CLASSES.values()
}


def encode(message: Message) -> bytes:
    """The message as it travels."""
    content = asdict(message)
    body = content.pop("body", b"")
    header = json.dumps([type(message).__name__, content]).encode()
    return b"".join((_LENGTHS.pack(len(header), len(body)), header, body))


def lengths(preamble: bytes) -> tuple[int, int]:
    """Sizes of header and body, from the first `PREAMBLE_BYTES` of a message.

    Raises:
        ValueError: The stream is out of step.
    """
    header, body = _LENGTHS.unpack(preamble)
    if header > MAX_HEADER_BYTES or body > MAX_BODY_BYTES:
        raise ValueError(f"a message of {header} + {body} bytes: the stream is out of step")
    return header, body


def decode(header: bytes, body: bytes) -> Message:
    """The message that `encode` made.

    Raises:
        ValueError, KeyError, TypeError, RecursionError: It is none.
    """
    name, content = json.loads(header)
    cls = _CLASSES[name]
    if name == "Submit":
        content["tasks"] = tuple(TaskSpec(**task) for task in content["tasks"])
        content["rank"] = tuple(content["rank"])
    if name == "Done":
        content["answers"] = tuple(content["answers"])
    if any(each.name == "body" for each in fields(cls)):
        content["body"] = body
    message: Message = cls(**content)
    for each in fields(cls):
        if not isinstance(getattr(message, each.name), _KINDS[cls][each.name]):
            raise TypeError(f"{each.name} of {name} is no {each.type}")
    return message
