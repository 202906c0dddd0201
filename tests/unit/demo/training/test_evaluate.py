import random
from collections.abc import Sequence

import pytest

from demo.language import Length, caption
from demo.scenes.scene import EVALUATION_SEEDS, Kind
from demo.scenes.scene import Box as TrueBox
from demo.training.evaluate import GOALS, YES_OR_NO, Exam, Tally, grade, matched, report
from moondream2.tasks import (
    Answer,
    Box,
    ChoiceAnswer,
    ObjectsAnswer,
    PointsAnswer,
    TextAnswer,
)

EXAMS = [Exam.of(EVALUATION_SEEDS + 900_000 + index) for index in range(40)]


def text(words: str) -> TextAnswer:
    return TextAnswer(words, (), 1.0, "stop_token")


def perfect(exam: Exam) -> list[Answer]:
    """The answers of a model that makes no mistake."""
    scene, rng = exam.scene, random.Random(0)
    boxes = {
        kind: tuple(Box(b.x_min, b.y_min, b.x_max, b.y_max) for b in scene.boxes(kind))
        for kind in Kind
    }
    points = {kind: tuple((b.x, b.y) for b in scene.boxes(kind)) for kind in Kind}
    return [
        *(text(caption(scene, length, rng)) for length in Length),
        *(text(question.answer) for question in exam.questions),
        *(ObjectsAnswer(boxes[kind], (), (), 1.0, "eos") for kind in Kind),
        *(PointsAnswer(points[kind], (), 1.0, "eos") for kind in Kind),
        *(choice(question.answer) for question in exam.questions[: len(Kind)]),
    ]


def choice(answer: str) -> ChoiceAnswer:
    return ChoiceAnswer(tuple(0.9 if each == answer else 0.1 for each in YES_OR_NO))


def grades(answers: Sequence[Sequence[Answer]]) -> Tally:
    tally = Tally()
    for exam, own in zip(EXAMS, answers, strict=True):
        grade(exam, own, tally)
    return tally


def test_grade_perfect_answers_reach_every_figure() -> None:
    tally = grades([perfect(exam) for exam in EXAMS])
    assert {name: tally.share(name) for name in tally.total} == dict.fromkeys(tally.total, 1.0)
    assert {goal.name for goal in GOALS} <= set(tally.total)
    assert not [line for line in report(tally) if "MISSED" in line]


def test_grade_answers_about_other_scenes_miss_most_figures() -> None:
    answers = [perfect(exam) for exam in EXAMS]
    tally = grades([*answers[1:], answers[0]])
    missed = [line for line in report(tally) if "MISSED" in line]
    assert len(missed) == len(GOALS) - 1  # choices agree with answers, whatever the scene


def test_grade_choices_that_contradict_the_answers_miss_their_figure() -> None:
    answers = [perfect(exam) for exam in EXAMS]
    for own in answers:
        own[-len(Kind) :] = [
            ChoiceAnswer(each.probabilities[::-1]) for each in own if isinstance(each, ChoiceAnswer)
        ]
    tally = grades(answers)
    assert tally.share("choosing agrees with answering freely") == 0.0


def test_exam_asks_as_many_tasks_as_grade_reads() -> None:
    assert len(EXAMS[0].tasks) == len(perfect(EXAMS[0]))


@pytest.mark.parametrize(
    ("found", "hits"),
    [
        ([], 0),
        ([TrueBox(0.1, 0.1, 0.3, 0.3)], 1),
        # Two boxes on one thing find one thing.
        ([TrueBox(0.1, 0.1, 0.3, 0.3), TrueBox(0.11, 0.1, 0.3, 0.3)], 1),
        ([TrueBox(0.1, 0.1, 0.3, 0.3), TrueBox(0.6, 0.6, 0.9, 0.9)], 2),
        ([TrueBox(0.25, 0.1, 0.45, 0.3)], 0),
    ],
)
def test_matched_counts_each_thing_once(found: list[TrueBox], hits: int) -> None:
    true = [TrueBox(0.1, 0.1, 0.3, 0.3), TrueBox(0.6, 0.6, 0.9, 0.9)]
    assert matched(true, found) == hits
