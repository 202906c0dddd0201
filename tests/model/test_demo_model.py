"""The shipped demonstration model keeps what its model card says.

The floors lie a little under the figures measured on these very scenes; the answers are greedy and
computed in float32, so a failure means that the model, the engine or the drawing changed.
"""

import pytest

from demo.training.evaluate import GOALS, MODEL, Examiner, Tally, evaluate

#: Scenes of seeds that neither training nor the published figures used.
FIRST, NUMBER = 100_000, 100


pytestmark = pytest.mark.timeout(300)  # the evaluation is the first test's, and a busy machine slow


@pytest.fixture(scope="module")
def examiner() -> Examiner:
    return Examiner(MODEL)


@pytest.fixture(scope="module")
def tally(examiner: Examiner) -> Tally:
    return evaluate(examiner, NUMBER, first=FIRST)


FLOORS = {
    "objects present are named": 0.905,
    "objects absent are not named": 0.985,
    "day or night is right": 0.99,
    "the side is right": 0.88,
    "yes or no is right": 0.97,
    "counts up to three are right": 0.87,
    "objects are found (IoU 0.5)": 0.88,
    "nothing is found for absent labels": 0.98,
    "points are inside the box": 0.95,
    "choosing agrees with answering freely": 0.97,
}


@pytest.mark.parametrize("name", [goal.name for goal in GOALS])
def test_demo_model_keeps_its_figure(tally: Tally, name: str) -> None:
    assert tally.share(name) >= FLOORS[name]


def test_demo_model_files_are_small() -> None:
    assert sum(file.stat().st_size for file in MODEL.iterdir()) <= 10 * 2**20
    assert {file.name for file in MODEL.iterdir()} == {
        "README.md",
        "config.json",
        "model.safetensors",
        "tokenizer.json",
    }


def test_demo_model_loads_in_a_second(examiner: Examiner) -> None:
    # The card says how fast; this bound holds on a busy machine.
    assert examiner.load_s < 3
