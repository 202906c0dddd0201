"""The shipped demonstration model in 8 bits: the same whatever the company, and nearly as good."""

import random
from collections.abc import Iterator, Sequence

import pytest

from demo.scenes.scene import EVALUATION_SEEDS, draw_scene
from demo.training.evaluate import GOALS, MODEL, YES_OR_NO, Examiner, camera_image, compare
from moondream2.crops import prepare
from moondream2.generate import Engine
from moondream2.int8 import can_shrink, load_int8, weight_steps
from moondream2.tasks import (
    Answer,
    Caption,
    Choose,
    Detect,
    Event,
    Point,
    Query,
    Request,
    TextAnswer,
)
from moondream2.tokens import Tokenizer
from tests.support.checkpoints import FIXTURES, reference_tensors
from tests.support.generation import answers
from tests.support.reference import cases, grouped, image_crops, run

pytestmark = pytest.mark.skipif(not can_shrink(), reason="no int8 kernels for this processor")

TASKS = (
    Caption("normal"),
    Query("Is there a car?"),
    Detect("person"),
    Detect("car"),
    Point("person"),
    Choose("Is there a cat?", YES_OR_NO),
)


class Company:
    """One model, asked about frames that come and go; each frame has all kinds of tasks."""

    def __init__(self, number: int) -> None:
        self.model = load_int8(MODEL)
        self._tokenizer = Tokenizer.load(MODEL / "tokenizer.json", self.model.config)
        scenes = [draw_scene(EVALUATION_SEEDS + index) for index in range(number)]
        # Frames of one crop beside frames of several.
        self._crops = [
            prepare(camera_image(scene), self.model.config.vision, 1 if index % 3 == 0 else None)
            for index, scene in enumerate(scenes)
        ]

    def ask(self, frames: Sequence[int], slots: int) -> dict[str, tuple[Answer, ...]]:
        """Ask about some at first, then about another every few steps."""
        engine = Engine(self.model, self._tokenizer, slots=slots)
        return answers(self._events(engine, list(frames), random.Random(0)))

    def _events(self, engine: Engine, waiting: list[int], rng: random.Random) -> Iterator[Event]:
        while waiting or engine.has_work:
            if waiting and (not engine.has_work or rng.random() < 0.3):
                index = waiting.pop(0)
                engine.submit(Request(str(index), (0.0,), self._crops[index], TASKS, max_tokens=40))
            yield from engine.step()


def test_frame_alone_is_answered_as_in_a_batch_bit_for_bit() -> None:
    """Words, probabilities and coordinates; others join it and leave at every stage."""
    company = Company(12)
    together = company.ask(range(12), slots=8)
    for index in range(12):
        assert company.ask([index], slots=1)[str(index)] == together[str(index)]


#: Bounds of few scenes: some figures count 33 things, and one of them is 3 points. Of 300 the
#: bounds are 0.5 points and 99 %, see docs/benchmarks.md.
SCENES, POINTS, TEXTS, BOXES = 24, 4.0, 0.98, 0.88


@pytest.mark.timeout(300)
@pytest.mark.parametrize("steps", sorted({64, weight_steps()}) if can_shrink() else [])
def test_answers_are_nearly_those_of_float32(steps: int) -> None:
    likeness = compare(Examiner(MODEL), Examiner(MODEL, steps=steps), SCENES, first=200_000)
    assert likeness.texts >= TEXTS
    assert likeness.boxes >= BOXES
    worse = {goal.name: likeness.points(goal.name) for goal in GOALS}
    assert not {name: points for name, points in worse.items() if points < -POINTS}


def test_recorded_answers_begin_the_same() -> None:
    """Random weights, so the answers themselves part sooner or later."""
    requests, groups = grouped(case for case in cases() if case.image is not None)
    model = load_int8(FIXTURES)
    tokenizer = Tokenizer.load(FIXTURES / "tokenizer.json", model.config)
    found = answers(run(Engine(model, tokenizer, slots=4), requests))
    pairs = [
        (case.record["token_ids"], answer.token_ids)
        for key, group in groups.items()
        for case, answer in zip(group, found[key], strict=True)
        if isinstance(answer, TextAnswer) and "token_ids" in case.record  # not of a reasoning
    ]
    same = sum(recorded[:1] == list(ours[:1]) for recorded, ours in pairs)
    assert len(pairs) >= 20
    assert same / len(pairs) >= 0.9


def test_recorded_image_embeddings_are_near() -> None:
    model = load_int8(FIXTURES)
    for index in (0, 5):
        exact = reference_tensors()[f"img{index}.image_embeds"]
        found = model.vision.encode([image_crops(index)])[0]
        assert (found - exact).norm() / exact.norm() < 0.05
