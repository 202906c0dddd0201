"""What can be asked of a model and what comes back: plain data, no torch.

A request is one frame and its tasks. Tasks share the encoded frame and are answered independently
of each other and of every other request.
"""

from dataclasses import dataclass

from moondream2.crops import Crops


@dataclass(frozen=True, slots=True)
class Caption:
    """Describe the frame."""

    length: str = "normal"


@dataclass(frozen=True, slots=True)
class Query:
    """Answer a question about the frame, or any question when there is no frame."""

    question: str
    #: Think first; the thoughts come with the answer.
    reasoning: bool = False
    #: Places the question is about: points (x, y) or boxes (x_min, y_min, x_max, y_max), in 0..1.
    spatial_refs: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Choose:
    """Weigh some answers to a question; nothing else can be answered and nothing is sampled."""

    question: str
    #: At least one.
    choices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Detect:
    """Find the boxes of all objects of a kind."""

    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """Find the centres of all objects of a kind."""

    label: str


@dataclass(frozen=True, slots=True)
class Gaze:
    """Find what the person with an eye at this place looks at."""

    #: (x, y) in 0..1.
    eye: tuple[float, float]


Task = Caption | Query | Choose | Detect | Point | Gaze


@dataclass(frozen=True, slots=True)
class Request:
    """One frame and what to do with it."""

    #: Names the request in events; unique among those the engine holds.
    key: str
    #: Smallest first. The first entry is the class: work of a smaller class takes the slots of
    #: work of a greater one; inside a class nothing that runs is interrupted.
    rank: tuple[float, ...]
    #: None for questions without a frame.
    crops: Crops | None
    tasks: tuple[Task, ...]
    #: 0 is greedy. Objects and points are always greedy, choices play no part in it.
    temperature: float = 0.0
    top_p: float = 0.3
    #: Most tokens of an answer; thoughts may be as many again.
    max_tokens: int = 768
    #: Equal seeds give equal samples, whoever shares the batch.
    seed: int = 0
    #: Most objects of one detect or point task.
    max_objects: int = 50


@dataclass(frozen=True, slots=True)
class Grounding:
    """Places that a part of the thoughts speaks about."""

    #: Character offsets of that part in the text of the thoughts.
    start: int
    end: int
    #: (x, y) in 0..1.
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Reasoning:
    """The thoughts before an answer."""

    text: str
    token_ids: tuple[int, ...]
    coordinate_bins: tuple[int, ...]
    grounding: tuple[Grounding, ...]


@dataclass(frozen=True, slots=True)
class TextAnswer:
    """Answer of a caption or query."""

    text: str
    token_ids: tuple[int, ...]
    #: Geometric mean of the probabilities of the tokens, thoughts apart; 0..1.
    confidence: float
    #: `stop_token`, `max_tokens`, or `context` when no position was left.
    stop_reason: str
    reasoning: Reasoning | None = None


@dataclass(frozen=True, slots=True)
class Box:
    """A box in 0..1 of the frame; one that ends outside of it is not cut."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True, slots=True)
class ObjectsAnswer:
    """Answer of a detect task."""

    boxes: tuple[Box, ...]
    #: x and y of each centre in turn.
    coordinate_bins: tuple[int, ...]
    #: (width, height) of each box.
    size_bins: tuple[tuple[int, int], ...]
    #: Geometric mean of the probabilities of all bins and of every decision to go on or stop.
    confidence: float
    #: `eos`, `max_objects`, or `context` when no position was left.
    stop_reason: str


@dataclass(frozen=True, slots=True)
class PointsAnswer:
    """Answer of a point or gaze task; a gaze that goes nowhere in the frame has no point."""

    #: (x, y) in 0..1.
    points: tuple[tuple[float, float], ...]
    #: x and y of each point in turn.
    coordinate_bins: tuple[int, ...]
    #: As for `ObjectsAnswer`.
    confidence: float
    #: As for `ObjectsAnswer`.
    stop_reason: str


@dataclass(frozen=True, slots=True)
class ChoiceAnswer:
    """Answer of a choose task."""

    #: Of each choice, in the order of the task; they add up to 1.
    probabilities: tuple[float, ...]

    @property
    def confidence(self) -> float:
        """That of the most probable choice."""
        return max(self.probabilities)


Answer = TextAnswer | ObjectsAnswer | PointsAnswer | ChoiceAnswer


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a request went, since `submit`."""

    #: In the passes that encoded the frame, shared with the frames beside it.
    encode_seconds: float
    #: Until the first token, coordinate or refusal of the first task that got so far.
    first_token_seconds: float
    total_seconds: float
    #: Steps of the engine between start and end.
    steps: int


@dataclass(frozen=True, slots=True)
class Started:
    """The request left the waiting line."""

    key: str


@dataclass(frozen=True, slots=True)
class Piece:
    """The next characters of a caption or of an answer to a query.

    The pieces of a task joined are its text. Where the row was interrupted and run again on a
    device whose rounding depends on the batch, they may differ: the answer's text is what counts.
    """

    key: str
    task_index: int
    text: str


@dataclass(frozen=True, slots=True)
class TaskDone:
    """One task is answered."""

    key: str
    task_index: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Finished:
    """All tasks are answered; the engine has forgotten the request."""

    key: str
    answers: tuple[Answer, ...]
    timings: Timings


@dataclass(frozen=True, slots=True)
class Failed:
    """The request cannot be finished; the engine has forgotten it and goes on."""

    key: str
    error: Exception


@dataclass(frozen=True, slots=True)
class Resized:
    """Memory ran short or came back: this many rows run at once from here on."""

    capacity: int


Event = Started | Piece | TaskDone | Finished | Failed | Resized
