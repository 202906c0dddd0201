import json
from dataclasses import asdict
from typing import Any

import pytest

from engine.protocol import (
    Answer,
    Box,
    BoxesAnswer,
    ChoiceAnswer,
    Done,
    Point,
    PointsAnswer,
    TaskSpec,
    TextAnswer,
)
from schemas.frame import Length, Task
from schemas.job import Job
from schemas.result import Result, shorten
from schemas.status import ModelStatus
from service.engines.answers import build_result, streamed_task, task_specs
from tests.support.factories import make_job

MODEL = ModelStatus(name="tiny", revision="1", device="cpu", dtype="float32", state="ready")
BOX = Box(0.1, 0.2, 0.3, 0.4)
CHOOSE = {"choose": {"question": "Is it raining?", "choices": ["yes", "no"]}}


def job_with(*tasks: object, **fields: Any) -> Job:
    return make_job(tasks=[Task.model_validate(task) for task in tasks], **fields)


MAX_TOKENS = 4


def result_of(job: Job, *answers: Answer, engine_seconds: float = 0.25) -> Result:
    done = Done(job.job_id, answers, engine_seconds)
    return build_result(job, done, MODEL, 1.0, MAX_TOKENS)


def text(words: str, confidence: float = 0.5) -> TextAnswer:
    return TextAnswer(words, (1,), confidence)


def test_task_specs_name_every_task_in_order() -> None:
    job = job_with({"detect": "person"}, "caption", {"query": "Who?"}, length=Length.SHORT)
    assert task_specs(job) == [
        TaskSpec("detect", "person"),
        TaskSpec("caption", "short"),
        TaskSpec("query", "Who?"),
    ]


def test_task_specs_replace_the_caption_by_the_prompt() -> None:
    assert task_specs(job_with("caption", prompt="Who?")) == [TaskSpec("query", "Who?")]


@pytest.mark.parametrize(
    ("tasks", "index"),
    [
        (("caption",), 0),
        (({"query": "Who?"},), 0),
        (({"detect": "dog"}, {"query": "Who?"}, "caption"), 2),
        (({"detect": "dog"}, {"query": "Who?"}, {"query": "Why?"}), 1),
        ((CHOOSE, {"query": "Who?"}), None),
        (({"query": "Who?"}, CHOOSE), 0),
        (({"detect": "dog"},), None),
    ],
)
def test_task_that_is_streamed_is_the_one_that_the_caption_is_of(
    tasks: tuple[object, ...], index: int | None
) -> None:
    job = job_with(*tasks)
    assert streamed_task(job) == index
    if index is not None:
        other: dict[str, Answer] = {
            "query": text("no"),
            "caption": text("no"),
            "detect": BoxesAnswer((), 1.0),
            "choose": ChoiceAnswer((1.0, 0.0)),
        }
        answers = [other[task.kind.value] for task in job.tasks]
        answers[index] = text("This one")
        assert result_of(job, *answers).caption == "This one"


@pytest.mark.parametrize(("num_tokens", "is_cut"), [(1, False), (3, False), (4, True)])
def test_text_that_ended_at_the_limit_is_said_to_be_cut(num_tokens: int, is_cut: bool) -> None:
    job = job_with("caption", {"detect": "dog"})
    said = TextAnswer("A dog is", tuple(range(num_tokens)), 0.5)
    result = result_of(job, said, BoxesAnswer((), 1.0))
    assert result.truncated is is_cut
    assert ("truncated" in result.model_dump()) is is_cut  # what is as ever is not said
    assert Result.model_validate_json(result.model_dump_json()) == result


def test_result_takes_each_answer_to_its_place() -> None:
    job = job_with("caption", {"query": "Who?"}, {"detect": "dog"}, {"point": "face"})
    result = result_of(
        job,
        text(" A dog.", 0.9),
        text("Nobody"),
        BoxesAnswer((BOX,), 0.4),
        PointsAnswer((Point(0.5, 0.6),), 0.3),
    )
    assert (result.caption, result.confidence) == ("A dog.", 0.9)
    assert result.answers[0].model_dump() == {
        "question": "Who?",
        "answer": "Nobody",
        "confidence": 0.5,
    }
    assert (result.objects[0].label, result.objects[0].count) == ("dog", 1)
    assert result.objects[0].boxes[0].model_dump() == asdict(BOX)
    assert result.points[0].points[0].model_dump() == {"x": 0.5, "y": 0.6}


def test_choice_is_answered_with_the_probability_of_each() -> None:
    job = job_with(CHOOSE)
    assert task_specs(job) == [TaskSpec("choose", "Is it raining?", ("yes", "no"))]
    result = result_of(job, ChoiceAnswer((0.070004, 0.929996)))
    expected = {
        "question": "Is it raining?",
        "answer": "no",
        "confidence": 0.93,
        "probabilities": {"yes": 0.07, "no": 0.93},
    }
    assert result.answers[0].model_dump() == expected
    assert json.loads(result.model_dump_json())["answers"] == [expected]
    assert (result.caption, result.confidence) == ("no", 0.93)
    assert Result.model_validate_json(result.model_dump_json()) == result


@pytest.mark.parametrize("shares", [(), (1.0,), (0.2, 0.3, 0.5), (float("nan"), 0.5)])
def test_choices_that_were_not_asked_for_are_refused(shares: tuple[float, ...]) -> None:
    with pytest.raises(ValueError):
        result_of(job_with(CHOOSE), ChoiceAnswer(shares))


def test_result_splits_the_time_between_queue_and_engine() -> None:
    result = result_of(job_with("caption"), text("x"), engine_seconds=0.25)
    assert (result.processing_time, result.queue_time) == (0.25, 0.75)


def test_result_without_a_caption_task_says_what_was_answered_or_counted() -> None:
    asked = result_of(job_with({"query": "Who?"}), text("A postman"))
    assert asked.caption == "A postman"
    counted = result_of(
        job_with({"detect": "dog"}, {"detect": "cat"}),
        BoxesAnswer((BOX, BOX), 0.4),
        BoxesAnswer((), 0.8),
    )
    assert (counted.caption, counted.confidence) == ("dog: 2, cat: 0", 0.4)


def test_boxes_end_at_the_border_of_the_image() -> None:
    over = Box(-0.1, 0.2, 1.15, 0.4)
    result = result_of(job_with({"detect": "dog"}), BoxesAnswer((over,), 0.4))
    box = result.objects[0].boxes[0]
    assert (box.x_min, box.x_max) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("task", "answer"),
    [
        ("caption", BoxesAnswer((BOX,), 0.4)),
        ({"query": "Who?"}, PointsAnswer((), 0.4)),
        ({"detect": "dog"}, TextAnswer("a dog", (1,), 0.4)),
        ({"point": "dog"}, BoxesAnswer((BOX,), 0.4)),
        ({"query": "Who?"}, ChoiceAnswer((0.5, 0.5))),
        (CHOOSE, TextAnswer("yes", (1,), 0.4)),
    ],
)
def test_answer_to_another_kind_of_task_is_refused(task: object, answer: Answer) -> None:
    with pytest.raises(ValueError, match="was answered by"):
        result_of(job_with(task), answer)


def test_shorten_cuts_at_a_word() -> None:
    assert shorten("one two three", 9) == "one two…"
    assert shorten("one two", 9) == "one two"
    assert len(shorten("x" * 300)) == 255
