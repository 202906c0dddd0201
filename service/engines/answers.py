"""From a job's tasks to what the engine is asked, and from its answers to the result."""

from collections.abc import Iterator
from dataclasses import asdict

from engine import protocol
from engine.protocol import BoxesAnswer, ChoiceAnswer, Done, PointsAnswer, TaskSpec, TextAnswer
from schemas.frame import Task, TaskKind
from schemas.job import Job
from schemas.result import (
    Answer,
    Box,
    DetectedObjects,
    ModelInfo,
    Point,
    PointedObjects,
    Result,
    shorten,
)
from schemas.status import ModelStatus


def task_specs(job: Job) -> list[TaskSpec]:
    """What the engine is asked, one per task of the job, in order.

    A prompt replaces the plain caption: its answer becomes the caption.
    """
    specs = []
    for task in job.tasks:
        if task.kind is not TaskKind.CAPTION:
            specs.append(TaskSpec(task.kind.value, task.text, task.choices))
        elif job.prompt is not None:
            specs.append(TaskSpec("query", job.prompt))
        else:
            specs.append(TaskSpec("caption", job.length.value))
    return specs


def streamed_task(job: Job) -> int | None:
    """Which task's text can be told while it is generated: that which the result's caption is of.

    None where there is none: boxes, points and choices are known at their end.
    """
    kinds = [task.kind for task in job.tasks]
    if TaskKind.CAPTION in kinds:
        return kinds.index(TaskKind.CAPTION)
    said = [kind for kind in kinds if kind in {TaskKind.QUERY, TaskKind.CHOOSE}]
    return kinds.index(TaskKind.QUERY) if said and said[0] is TaskKind.QUERY else None


def build_result(
    job: Job, done: Done, model: ModelStatus, latency: float, max_tokens: int
) -> Result:
    """What the model said about a frame.

    Args:
        job: Whose tasks were answered, in order.
        done: The answers.
        model: Who answered.
        latency: Seconds from the arrival of the frame to theirs.
        max_tokens: What a text was allowed; one of so many tokens was cut.

    Raises:
        ValueError: They are not answers to these tasks.
    """
    pairs = list(zip(job.tasks, done.answers, strict=True))
    for task, answer in pairs:
        if not isinstance(answer, _ANSWERS[task.kind]):
            raise ValueError(f"a {task.kind} task was answered by a {type(answer).__name__}")
    answers = tuple(_texts(pairs))
    objects = tuple(_objects(pairs))
    points = tuple(_points(pairs))
    caption, confidence = _caption(pairs, answers, objects, points)
    return Result(
        caption=caption,
        short_caption=shorten(caption),
        confidence=round(confidence, 4),
        answers=answers,
        objects=objects,
        points=points,
        processing_time=round(done.engine_seconds, 4),
        queue_time=round(max(0.0, latency - done.engine_seconds), 4),
        truncated=any(
            isinstance(answer, TextAnswer) and len(answer.token_ids) >= max_tokens
            for answer in done.answers
        ),
        model_info=ModelInfo(
            model=model.name,
            revision=model.revision,
            device=model.device,
            camera_id=job.camera_id,
            motion_intensity=job.motion_intensity,
            priority=job.priority,
        ),
    )


_Pair = tuple[Task, protocol.Answer]

_ANSWERS: dict[TaskKind, type[protocol.Answer]] = {
    TaskKind.CAPTION: TextAnswer,
    TaskKind.QUERY: TextAnswer,
    TaskKind.CHOOSE: ChoiceAnswer,
    TaskKind.DETECT: BoxesAnswer,
    TaskKind.POINT: PointsAnswer,
}


def _caption(
    pairs: list[_Pair],
    answers: tuple[Answer, ...],
    objects: tuple[DetectedObjects, ...],
    points: tuple[PointedObjects, ...],
) -> tuple[str, float]:
    """The caption; without such a task the first answer, else what was counted."""
    for task, answer in pairs:
        if task.kind is TaskKind.CAPTION and isinstance(answer, TextAnswer):
            return answer.text.strip(), answer.confidence
    if answers:
        return answers[0].answer, answers[0].confidence
    counts = [(each.label, each.count) for each in objects]
    counts += [(each.label, each.count) for each in points]
    counted = ", ".join(f"{label}: {count}" for label, count in counts)
    return counted, min(answer.confidence for _, answer in pairs)


def _texts(pairs: list[_Pair]) -> Iterator[Answer]:
    for task, answer in pairs:
        if task.kind is TaskKind.QUERY and isinstance(answer, TextAnswer):
            confidence = round(answer.confidence, 4)
            yield Answer(question=task.text, answer=answer.text.strip(), confidence=confidence)
        elif isinstance(answer, ChoiceAnswer):
            yield _chosen(task, answer)


def _chosen(task: Task, answer: ChoiceAnswer) -> Answer:
    """The most probable choice, the first of equals; ValueError when they are not of these."""
    shares = dict(zip(task.choices, answer.probabilities, strict=True))
    best = max(shares, key=shares.__getitem__)
    return Answer(
        question=task.text,
        answer=best,
        confidence=round(shares[best], 4),
        probabilities={choice: round(share, 4) for choice, share in shares.items()},
    )


def _objects(pairs: list[_Pair]) -> Iterator[DetectedObjects]:
    for task, answer in pairs:
        if isinstance(answer, BoxesAnswer):
            boxes = tuple(_inside(box) for box in answer.boxes)
            yield DetectedObjects(label=task.text, count=len(boxes), boxes=boxes)


def _inside(box: protocol.Box) -> Box:
    """The model's box is centre ± half a size, which may reach over the border."""
    return Box(**{side: min(max(value, 0.0), 1.0) for side, value in asdict(box).items()})


def _points(pairs: list[_Pair]) -> Iterator[PointedObjects]:
    for task, answer in pairs:
        if isinstance(answer, PointsAnswer):
            points = tuple(Point(x=point.x, y=point.y) for point in answer.points)
            yield PointedObjects(label=task.text, count=len(points), points=points)
