"""Requests that ask the model about a picture at once: a frame in, its result document out."""

from typing import Any, Self

from pydantic import Field, model_validator

from schemas.frame import (
    MAX_CHOICES,
    MAX_TEXT_CHARACTERS,
    MIN_CHOICES,
    CameraId,
    MotionFrame,
    Task,
    TaskKind,
)
from schemas.requests.envelope import Request
from schemas.requests.jobs import JobResult
from schemas.requests.operation import ANSWER_WITHIN_S, Operation

MAX_TIMEOUT_S = 300.0


class SkillRequest(MotionFrame, Request):
    """A frame, as on the frame topic; its priority is `high` unless it says another."""

    camera_id: CameraId = Field(description="in whose name it is asked")
    timeout: float = Field(
        default=60.0,
        ge=0.1,
        le=MAX_TIMEOUT_S,
        description="seconds until an error names the job, which goes on",
    )

    @property
    def task(self) -> Task:
        """What is asked, besides the frame's own `tasks`."""
        return Task(kind=TaskKind.CAPTION)


class QueryRequest(SkillRequest):
    """A frame and a question."""

    question: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"\S")

    @property
    def task(self) -> Task:
        """The question."""
        return Task(kind=TaskKind.QUERY, text=self.question.strip())


class LabelRequest(SkillRequest):
    """A frame and what to look for."""

    label: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"\S")


class DetectRequest(LabelRequest):
    """Objects are to be boxed."""

    @property
    def task(self) -> Task:
        """The label."""
        return Task(kind=TaskKind.DETECT, text=self.label.strip())


class PointRequest(LabelRequest):
    """Objects are to be pointed at."""

    @property
    def task(self) -> Task:
        """The label."""
        return Task(kind=TaskKind.POINT, text=self.label.strip())


class ChooseRequest(SkillRequest):
    """A frame, a question, and the only answers there can be."""

    question: str = Field(min_length=1, max_length=MAX_TEXT_CHARACTERS, pattern=r"\S")
    choices: tuple[str, ...] = Field(min_length=MIN_CHOICES, max_length=MAX_CHOICES)

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        _ = self.task
        return self

    @property
    def task(self) -> Task:
        """The question with its choices."""
        choose = {"question": self.question, "choices": self.choices}
        return Task.model_validate({"choose": choose})


_FRAME: dict[str, Any] = {
    "camera_id": "front_door",
    "frame_data": "iVBORw0KGgoAAAANSUhEUgAAABAAAAAQCAAAAAA6mKC9AAAAD0lEQVR42mOo"
    "QAMMI1sAAMTBeAE4dGZfAAAAAElFTkSuQmCC",
}
_PATIENCE_S = MAX_TIMEOUT_S + ANSWER_WITHIN_S

CAPTION = Operation(
    "caption",
    SkillRequest,
    JobResult,
    "Caption a picture, and answer with its result document.",
    _FRAME,
    answer_within_s=_PATIENCE_S,
)
QUERY = Operation(
    "query",
    QueryRequest,
    JobResult,
    "Answer a question about a picture.",
    {**_FRAME, "question": "Is there a package?"},
    answer_within_s=_PATIENCE_S,
)
DETECT = Operation(
    "detect",
    DetectRequest,
    JobResult,
    "Find all objects of a kind in a picture, with their boxes.",
    {**_FRAME, "label": "person"},
    answer_within_s=_PATIENCE_S,
)
POINT = Operation(
    "point",
    PointRequest,
    JobResult,
    "Find all objects of a kind in a picture, with a point in each.",
    {**_FRAME, "label": "person"},
    answer_within_s=_PATIENCE_S,
)

CHOOSE = Operation(
    "choose",
    ChooseRequest,
    JobResult,
    "Choose one of given answers to a question about a picture, with the probability of each.",
    {**_FRAME, "question": "Is the gate open?", "choices": ["yes", "no"]},
    answer_within_s=_PATIENCE_S,
)

SKILLS = (CAPTION, QUERY, DETECT, POINT, CHOOSE)
