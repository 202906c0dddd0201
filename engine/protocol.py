"""The messages between the service and an engine process.

Both sides import this file and nothing else of each other. It knows the standard library only, so
that the asyncio process never loads torch and the engine never loads pydantic.

On the wire (a socket pair, never stdout) a message is two unsigned 32-bit lengths in network order,
then a JSON header with the name of the class and its fields (see `codec`), then the body as raw
bytes: the image of a `Submit`, the JPEG of a `Done`, empty otherwise.

The engine speaks first, with its `Hello`. One of another version is ended: the program on the disk
was changed while the service ran.
"""

import struct
from dataclasses import dataclass, field, replace
from typing import Literal

from engine.codec import Codec

#: Raised with every change of a message; `tests/unit/engine/test_protocol.py` asks for it.
VERSION = 6

_LENGTHS = struct.Struct("!II")
PREAMBLE_BYTES = _LENGTHS.size
MAX_HEADER_BYTES = 16 << 20
MAX_BODY_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Which model to load, and how."""

    name: str  #: hub id or folder
    revision: str
    device: str  #: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`
    dtype: str  #: `auto`, `float32`, `bfloat16`, `float16`
    #: most local crops of a frame; None: what the model was made for, or fewer where it runs in
    #: int8 on a CPU and a frame would take longer than `target_seconds`
    max_crops: int | None = None
    slots: int | None = None  #: key/value slots; None: from free memory
    threads: int | None = None  #: CPU threads; None: as many as there are cores
    compile: bool = False  #: torch.compile of vision and prefill
    quantization: Literal["auto", "none", "int8", "int4"] = "auto"
    download: bool = True  #: fetch what is not on this machine
    target_seconds: float = 20.0  #: of a 1280×720 frame, see `max_crops`


@dataclass(frozen=True, slots=True)
class TaskSpec:
    """One task: `caption` (text: length), `query`/`choose` (question), `detect`/`point` (label)."""

    kind: str
    text: str
    choices: tuple[str, ...] = ()  #: of `choose`


@dataclass(frozen=True, slots=True)
class LastFrame:
    """The newest frame of a camera that is being captioned or was, by whichever engine."""

    key: str
    fingerprint: bytes = field(repr=False)  #: as its `Started` said
    age_s: float  #: seconds since it was compared with those before it
    importance: int


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
    #: what this frame is compared with besides those that the engine knows itself
    last_frame: LastFrame | None = None
    want_image: bool = False  #: return the frame as a JPEG with the boxes drawn
    #: the task whose text is told by `Piece` while it is generated; None: nobody listens
    streamed_task: int | None = None
    body: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Cancel:
    """Service to engine: forget this job. Answered by `Cancelled` unless an outcome came first."""

    key: str


@dataclass(frozen=True, slots=True)
class Hello:
    """Engine to service, before anything else. Its own form never changes."""

    version: int


@dataclass(frozen=True, slots=True)
class Loading:
    """Engine to service: what the engine is doing before it is ready."""

    message: str
    share: float | None = None  #: of a download that is done, 0..1; None: this is a step of its own


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
    quantization: str = "none"  #: of the weights in use: `none`, `int8`, `int4`
    max_crops: int | None = None  #: most local crops of a frame; None: what the model was made for
    #: of a 1280×720 frame with a caption of normal length, measured at warm-up; None: not measured
    seconds_per_frame: float | None = None
    can_shrink: bool = False  #: it could have 8-bit weights on this CPU, with the same settings


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
    #: of its frame, for the `LastFrame` of those to come; None when it was not to be compared
    fingerprint: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """Engine to service: the next characters of the task that is streamed, ten times a second.

    Together they are the beginning of its text; the rest comes with `Done`.
    """

    key: str
    text: str


@dataclass(frozen=True, slots=True)
class Similar:
    """Engine to service: the frame looks like the one of `other_key`; it was not captioned."""

    key: str
    other_key: str
    likeness: float  #: share of the fingerprint's bits that agree


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """Answer of a caption or query."""

    text: str
    token_ids: tuple[int, ...]
    confidence: float  #: 0..1


@dataclass(frozen=True, slots=True)
class Box:
    """A box as shares of the frame's width and height; it may reach over the border."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True)
class BoxesAnswer:
    """Answer of a detect task."""

    boxes: tuple[Box, ...]
    confidence: float  #: 0..1


@dataclass(frozen=True, slots=True)
class Point:
    """A place as shares of the frame's width and height."""

    x: float
    y: float


@dataclass(frozen=True, slots=True)
class PointsAnswer:
    """Answer of a point task."""

    points: tuple[Point, ...]
    confidence: float  #: 0..1


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """Answer of a choose task."""

    probabilities: tuple[float, ...]  #: of the choices in their order, which add up to 1

    @property
    def confidence(self) -> float:
        """That of the most probable choice; ValueError when there is none."""
        return max(self.probabilities)


Answer = TextAnswer | BoxesAnswer | PointsAnswer | ChoiceAnswer


@dataclass(frozen=True, slots=True)
class Done:
    """Engine to service: every task is answered; the body is the JPEG when one was wanted."""

    key: str
    answers: tuple[Answer, ...]  #: one for each task, in order
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
Event = (
    Loading
    | Ready
    | LoadFailed
    | Capacity
    | Started
    | Piece
    | Similar
    | Done
    | Failed
    | Cancelled
    | Alive
)
ToService = Hello | Event
Message = ToEngine | ToService

_HEADERS: Codec[Message] = Codec(Message)


def encode(message: Message) -> bytes:
    """The message as it travels.

    Raises:
        ValueError: A field holds what its type does not allow.
    """
    body = b""
    if isinstance(message, Submit | Done):
        body = message.body
        message = replace(message, body=b"")
    header = _HEADERS.encode(message)
    return b"".join((_LENGTHS.pack(len(header), len(body)), header, body))


def lengths(preamble: bytes) -> tuple[int, int]:
    """Sizes of header and body, from the first `PREAMBLE_BYTES` of a message.

    Raises:
        ValueError: The stream is out of step.
    """
    if len(preamble) != PREAMBLE_BYTES:
        raise ValueError("the stream ended inside a message")
    header, body = _LENGTHS.unpack(preamble)
    if header > MAX_HEADER_BYTES or body > MAX_BODY_BYTES:
        raise ValueError(f"a message of {header} + {body} bytes: the stream is out of step")
    return header, body


def decode(header: bytes, body: bytes) -> Message:
    """The message that `encode` made.

    Raises:
        ValueError: It is none; the error names the field.
    """
    message = _HEADERS.decode(header)
    if isinstance(message, Submit | Done):
        return replace(message, body=body)
    if body:
        raise ValueError(f"{type(message).__name__}: has no body")
    return message
