"""The recorded answers of the reference implementation as requests and checks."""

import copy
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from torch import Tensor

from moondream2.crops import Crops, prepare
from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.tasks import (
    Answer,
    Caption,
    Detect,
    Event,
    Failed,
    Finished,
    Gaze,
    ObjectsAnswer,
    Piece,
    Point,
    PointsAnswer,
    Query,
    Request,
    Task,
    TextAnswer,
)
from moondream2.tokens import Tokenizer
from moondream2.vision import VisionModel
from tests.support.checkpoints import (
    FIXTURES,
    reference_image,
    reference_model,
    reference_record,
)


@dataclass(frozen=True)
class Case:
    """One recorded answer."""

    name: str
    image: int | None
    task: Task
    record: dict[str, Any]
    #: Name of the recorded logits after the prompt.
    logits: str

    def request(self, key: str | None = None, rank: tuple[float, ...] = (0.0,)) -> Request:
        crops = None if self.image is None else image_crops(self.image)
        return Request(key or self.name, rank, crops, (self.task,), max_tokens=32, max_objects=6)


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.load(FIXTURES / "tokenizer.json", reference_model().config)


@cache
def image_crops(index: int) -> Crops:
    return prepare(reference_image(index), reference_model().config.vision)


class RemembersImages(VisionModel):
    """Encodes the same frames in the same company once: four fifths of what an answer costs."""

    def __init__(self, vision: VisionModel) -> None:
        self.__dict__.update(vision.__dict__)  # its weights
        self._known: dict[tuple[int | None, ...], tuple[Sequence[Crops], Tensor]] = {}

    def encode(self, frames: Sequence[Crops], *, chunk: int | None = None) -> Tensor:
        key = (chunk, *map(id, frames))
        if key not in self._known:
            # With the frames, or an id could be given to another.
            self._known[key] = (frames, super().encode(frames, chunk=chunk))
        return self._known[key][1].clone()


@cache
def remembering_model() -> Moondream:
    """The reference model, for tests of what comes after the encoding of images."""
    model = copy.copy(reference_model())
    model._modules = {**model._modules, "vision": RemembersImages(model.vision)}
    return model


def engine(slots: int = 4, **options: Any) -> Engine:
    return Engine(reference_model(), tokenizer(), slots=slots, **options)


def decoding_engine(slots: int, **options: Any) -> Engine:
    """One whose images are encoded once for all tests."""
    return Engine(remembering_model(), tokenizer(), slots=slots, **options)


def run(engine: Engine, requests: Iterable[Request] = ()) -> list[Event]:
    """Submit requests and step until nothing is left to do."""
    for request in requests:
        engine.submit(request)
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def answers(events: Iterable[Event]) -> dict[str, tuple[Answer, ...]]:
    """Return the answers of all requests; none may have failed."""
    assert not [event for event in events if isinstance(event, Failed)]
    return {event.key: event.answers for event in events if isinstance(event, Finished)}


def pieces(events: Iterable[Event], key: str, task_index: int = 0) -> list[str]:
    """Return the pieces of one task in order."""
    return [
        event.text
        for event in events
        if isinstance(event, Piece) and (event.key, event.task_index) == (key, task_index)
    ]


@cache
def cases() -> tuple[Case, ...]:
    """Return every recorded answer of the fixture."""
    record = reference_record()
    places = {image["file"]: index for index, image in enumerate(record["images"])}
    found = [case for index in range(len(places)) for case in _image_cases(index)]
    for number, each in enumerate(record["reasoning_query"]):
        index = places[each["image"]]
        task: Task = Query(each["question"], reasoning=True)
        found.append(Case(f"reasoning{number}", index, task, each, f"img{index}.reasoning.logits"))
    for number, each in enumerate(record["spatial_query"]):
        refs = tuple(tuple(ref) for ref in each["spatial_refs"])
        task, index = Query(each["question"], spatial_refs=refs), places[each["image"]]
        found.append(Case(f"spatial{number}", index, task, each, f"spatial{number}.logits"))
    for number, each in enumerate(record["text_only_query"]):
        task = Query(each["question"])
        found.append(Case(f"textonly{number}", None, task, each, f"textonly{number}.logits"))
    for number, each in enumerate(record["gaze"]):
        x, y = each["eye"]
        index = places[each["image"]]
        found.append(Case(f"gaze{number}", index, Gaze((x, y)), each, f"gaze{number}.logits"))
    return tuple(found)


def _image_cases(index: int) -> Iterable[Case]:
    image, name = reference_record()["images"][index], f"img{index}"
    for length, each in image["caption"].items():
        logits = f"{name}.caption_{length}.logits"
        yield Case(f"{name}.caption.{length}", index, Caption(length), each, logits)
    query, detect, point = image["query"], image["detect"], image["point"]
    yield Case(f"{name}.query", index, Query(query["question"]), query, f"{name}.query.logits")
    yield Case(f"{name}.detect", index, Detect(detect["object"]), detect, f"{name}.detect.logits")
    yield Case(f"{name}.point", index, Point(point["object"]), point, f"{name}.point.logits")


def check(case: Case, answer: Answer) -> None:
    """Assert that an answer is the recorded one: ids, bins, objects, text."""
    match answer:
        case TextAnswer() if "reasoning" in case.record:
            _check_reasoning(case.record, answer)
        case TextAnswer():
            assert list(answer.token_ids) == case.record["token_ids"]
            assert answer.text == case.record["text"]
            assert answer.stop_reason == case.record["stop_reason"]
        case ObjectsAnswer():
            _check_objects(case.record, answer)
        case PointsAnswer():
            _check_points(case, answer)
    assert 0 < answer.confidence <= 1


def _check_reasoning(record: dict[str, Any], answer: TextAnswer) -> None:
    thoughts = answer.reasoning
    assert thoughts is not None
    assert list(thoughts.token_ids) == record["reasoning"]["token_ids"]
    assert list(thoughts.coordinate_bins) == record["coord_bins"]
    assert thoughts.text == record["reasoning_text"]
    grounding = [
        {"start_idx": part.start, "end_idx": part.end, "points": [list(p) for p in part.points]}
        for part in thoughts.grounding
    ]
    assert grounding == record["reasoning_grounding"]
    assert list(answer.token_ids) == record["answer"]["token_ids"]
    assert answer.text == record["answer_text"]
    assert answer.stop_reason == record["answer"]["stop_reason"]


def _check_objects(record: dict[str, Any], answer: ObjectsAnswer) -> None:
    assert list(answer.coordinate_bins) == record["coord_bins"]
    assert [list(size) for size in answer.size_bins] == record["size_bins"]
    assert answer.stop_reason == record["stop_reason"]
    sides = ("x_min", "y_min", "x_max", "y_max")
    boxes = [{side: getattr(box, side) for side in sides} for box in answer.boxes]
    assert boxes == record["objects"]


def _check_points(case: Case, answer: PointsAnswer) -> None:
    points = [{"x": x, "y": y} for x, y in answer.points]
    if isinstance(case.task, Point):
        assert list(answer.coordinate_bins) == case.record["coord_bins"]
        assert points == case.record["objects"]
        assert answer.stop_reason == case.record["stop_reason"]
    elif case.record["force_detect"]:
        # With this switch the reference can only answer "nowhere"; there is no such switch here.
        assert case.record["gaze"] is None
    else:
        assert list(answer.coordinate_bins) == case.record["coord_bins"]
        assert points == ([] if case.record["gaze"] is None else [case.record["gaze"]])


def grouped(chosen: Iterable[Case]) -> tuple[list[Request], dict[str, list[Case]]]:
    """Put the cases of each picture into one request with many tasks."""
    groups: dict[str, list[Case]] = {}
    for case in chosen:
        groups.setdefault(f"frame{case.image}", []).append(case)
    requests = [
        replace(group[0].request(key), tasks=tuple(case.task for case in group))
        for key, group in groups.items()
    ]
    return requests, groups


def describe(answer: Answer) -> str:
    """Return an answer as text, for messages."""
    return json.dumps(answer, default=repr)
