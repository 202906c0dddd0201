"""From what the service asks to what the model is asked, and from the model's answers back."""

from typing import assert_never

from engine.protocol import (
    Answer,
    Box,
    BoxesAnswer,
    ChoiceAnswer,
    Point,
    PointsAnswer,
    Submit,
    TaskSpec,
    TextAnswer,
)
from moondream2 import tasks
from moondream2.crops import Crops


def make_request(submit: Submit, crops: Crops) -> tasks.Request:
    """What the model is asked about a frame that was cut into these crops."""
    return tasks.Request(
        key=submit.key,
        rank=submit.rank,
        crops=crops,
        tasks=tuple(_task(spec) for spec in submit.tasks),
        temperature=submit.temperature,
        top_p=submit.top_p,
        max_tokens=submit.max_tokens,
        seed=submit.seed,
        max_objects=submit.max_objects,
    )


def _task(spec: TaskSpec) -> tasks.Task:
    match spec.kind:
        case "caption":
            return tasks.Caption(spec.text)
        case "query":
            return tasks.Query(spec.text)
        case "choose":
            return tasks.Choose(spec.text, spec.choices)
        case "detect":
            return tasks.Detect(spec.text)
        case "point":
            return tasks.Point(spec.text)
    raise ValueError(f"no task is called {spec.kind!r}")


def to_protocol(answer: tasks.Answer) -> Answer:
    """An answer as it travels: what the service has a use for."""
    match answer:
        case tasks.TextAnswer():
            return TextAnswer(answer.text, tuple(answer.token_ids), answer.confidence)
        case tasks.ObjectsAnswer():
            boxes = (Box(box.x_min, box.y_min, box.x_max, box.y_max) for box in answer.boxes)
            return BoxesAnswer(tuple(boxes), answer.confidence)
        case tasks.PointsAnswer():
            return PointsAnswer(tuple(Point(x, y) for x, y in answer.points), answer.confidence)
        case tasks.ChoiceAnswer():
            return ChoiceAnswer(answer.probabilities)
        case _:
            assert_never(answer)
