"""What a task may be: one form on the wire, another in Python, and each reads what it writes."""

from typing import Any

import pytest
from pydantic import ValidationError

from schemas.camera import CameraSettings
from schemas.frame import CAPTION, FrameOptions, MotionFrame, Task, TaskKind
from schemas.job import Job
from tests.support.factories import make_job

INTERNAL_FORMS: list[Any] = [
    {"kind": "query", "text": ""},
    {"kind": "detect"},
    {"kind": "query", "text": "Is it raining?"},
    {"kind": "caption"},
    {"kind": "caption", "text": "aside"},
]
WIRE_FORMS: list[Any] = ["caption", {"query": "Is it raining?"}, {"detect": "dog"}, {"point": "é"}]


@pytest.mark.parametrize("form", INTERNAL_FORMS)
def test_internal_form_of_a_task_is_refused_from_outside(form: dict[str, str]) -> None:
    for schema, content in (
        (FrameOptions, {"tasks": [form]}),
        (MotionFrame, {"frame_data": "x", "tasks": [form]}),
        (CameraSettings, {"tasks": [form]}),
        (Job, {**make_job().model_dump(mode="json"), "tasks": [form]}),
    ):
        with pytest.raises(ValidationError) as caught:
            schema.model_validate(content)
        assert caught.value.errors()[0]["loc"] == ("tasks", 0)


@pytest.mark.parametrize("form", WIRE_FORMS)
def test_wire_form_of_a_task_comes_back_as_it_went(form: Any) -> None:
    task = Task.model_validate(form)
    assert task.model_dump(mode="json") == form
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert Task(kind=task.kind, text=task.text) == task


@pytest.mark.parametrize(
    ("kind", "text"),
    [(TaskKind.QUERY, ""), (TaskKind.DETECT, "  "), (TaskKind.CAPTION, "aside")],
)
def test_task_that_could_not_be_read_back_cannot_be_made(kind: TaskKind, text: str) -> None:
    with pytest.raises(ValidationError):
        Task(kind=kind, text=text)


def test_task_is_made_in_python_by_kind_and_text() -> None:
    assert Task(kind=TaskKind.QUERY, text="Who?").model_dump(mode="json") == {"query": "Who?"}
    assert Task(kind=TaskKind.CAPTION) == CAPTION
