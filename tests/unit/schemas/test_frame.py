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
    {"kind": "choose", "text": "Is it raining?", "choices": ["yes", "no"]},
]
WIRE_FORMS: list[Any] = [
    "caption",
    {"query": "Is it raining?"},
    {"detect": "dog"},
    {"point": "é"},
    {"choose": {"question": "Is it raining?", "choices": ["yes", "no"]}},
    {"choose": {"question": "?", "choices": [f"{i:x<64}" for i in range(16)]}},
]


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
    assert Task(kind=task.kind, text=task.text, choices=task.choices) == task


# What is wrong with the content of `choose`, and where and how it is told.
CHOICES_REFUSED: list[tuple[Any, tuple[str | int, ...], str]] = [
    ("yes or no?", (), "an object of question and choices"),
    ({"question": "Is it?"}, (), "an object of question and choices"),
    ({"question": "Is it?", "choices": ["a", "b"], "most": 1}, (), "an object of question"),
    ({"question": 5, "choices": ["a", "b"]}, (), "choose.question"),
    ({"question": " ", "choices": ["a", "b"]}, (), "choose.question"),
    ({"question": "x" * 2001, "choices": ["a", "b"]}, ("text",), "at most 2000"),
    ({"question": "Is it?", "choices": "ab"}, (), "choose.choices must be a list"),
    ({"question": "Is it?", "choices": {"a": 1, "b": 2}}, (), "choose.choices must be a list"),
    ({"question": "Is it?", "choices": []}, (), "2 to 16 different"),
    ({"question": "Is it?", "choices": ["a"]}, (), "2 to 16 different"),
    ({"question": "Is it?", "choices": ["a", "b", " a "]}, (), "2 to 16 different"),
    ({"question": "Is it?", "choices": [str(i) for i in range(17)]}, ("choices",), "at most 16"),
    ({"question": "Is it?", "choices": ["a", "x" * 65]}, ("choices", 1), "at most 64"),
    ({"question": "Is it?", "choices": ["a", 5]}, ("choices", 1), "string"),
    ({"question": "Is it?", "choices": ["a", ["b"]]}, ("choices", 1), "string"),
    ({"question": "Is it?", "choices": ["a", "\ud800"]}, ("choices", 1), "string"),
    ({"question": "Is it?", "choices": ["a", " "]}, (), "no empty text"),
]


@pytest.mark.parametrize(("content", "where", "what"), CHOICES_REFUSED)
def test_what_is_wrong_with_choices_is_told(
    content: Any, where: tuple[str | int, ...], what: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        FrameOptions.model_validate({"tasks": ["caption", {"choose": content}]})
    [problem] = caught.value.errors()
    assert problem["loc"] == ("tasks", 1, *where)
    assert what in problem["msg"]


def test_blanks_around_question_and_choices_are_left_out() -> None:
    task = Task.model_validate({"choose": {"question": " Is it? ", "choices": ["a ", " b c"]}})
    assert (task.text, task.choices) == ("Is it?", ("a", "b c"))


@pytest.mark.parametrize(
    ("kind", "text"),
    [(TaskKind.QUERY, ""), (TaskKind.DETECT, "  "), (TaskKind.CAPTION, "aside")],
)
def test_task_that_could_not_be_read_back_cannot_be_made(kind: TaskKind, text: str) -> None:
    with pytest.raises(ValidationError):
        Task(kind=kind, text=text)


@pytest.mark.parametrize(
    ("kind", "choices"),
    [
        (TaskKind.QUERY, ("a", "b")),
        (TaskKind.CHOOSE, ()),
        (TaskKind.CHOOSE, ("a", "a")),
        (TaskKind.CHOOSE, ("a", " b")),
    ],
)
def test_choices_that_could_not_be_read_back_cannot_be_made(
    kind: TaskKind, choices: tuple[str, ...]
) -> None:
    with pytest.raises(ValidationError):
        Task(kind=kind, text="Is it?", choices=choices)


def test_task_is_made_in_python_by_kind_and_text() -> None:
    assert Task(kind=TaskKind.QUERY, text="Who?").model_dump(mode="json") == {"query": "Who?"}
    assert Task(kind=TaskKind.CAPTION) == CAPTION
