"""What frames cost, by a few units of one, and how many crops that allows."""

from itertools import cycle

import pytest

from moondream2.config import public_config
from moondream2.costs import CAPTION_TOKENS, Costs, choose_max_crops, measure, num_crops
from moondream2.model import Moondream
from tests.support.checkpoints import reference_model
from tests.unit.moondream2.test_encoding import Ticks

PUBLIC = public_config().vision
#: Two older cores without 8-bit dot products: 33 s for nine crops.
SLOW = Costs(crop_s=2.8, prefix_s=5.5, token_s=0.075)


@pytest.mark.parametrize(
    ("max_crops", "expected"),
    [(1, 1), (2, 1), (3, 3), (5, 3), (6, 4), (7, 7), (9, 7), (10, 9), (12, 9)],
)
def test_crops_of_the_frame_by_the_most_there_may_be(max_crops: int, expected: int) -> None:
    assert num_crops(PUBLIC, max_crops) == expected


@pytest.mark.parametrize(
    ("costs", "target_s", "expected"),
    [
        (SLOW, 20.0, 6),  # 4 crops: 19.7 s
        (SLOW, 19.0, 5),
        (SLOW, 30.0, 9),
        (SLOW, 40.0, 12),
        (SLOW, 12.0, 2),
        (SLOW, 1.0, 1),  # never fewer, whatever it takes
        (Costs(0.1, 0.2, 0.01), 20.0, 12),
        (Costs(0.0, 30.0, 0.0), 20.0, 1),
        (Costs(float("inf"), 0.0, 0.0), 20.0, 1),
    ],
)
def test_as_many_crops_as_the_target_allows(costs: Costs, target_s: float, expected: int) -> None:
    assert choose_max_crops(costs, PUBLIC, target_s) == expected


def test_frame_costs_its_crops_the_prefix_and_a_caption() -> None:
    assert SLOW.frame_s(4) == pytest.approx(4 * 2.8 + 5.5 + CAPTION_TOKENS * 0.075)


def test_measured_units_stand_for_all_of_their_kind() -> None:
    """By a clock that moves by one second a unit."""
    model = reference_model()
    layers = model.config.vision.layers, model.config.text.layers
    chunk = min(model.vision.crops_per_pass(), 1 + model.config.vision.max_crops)
    costs = measure(model, Ticks())
    assert costs.crop_s == pytest.approx(layers[0] / chunk)
    assert costs.prefix_s == 1 + layers[1] + 1  # projector, blocks, prompt
    assert costs.token_s == 1


class Busy(Ticks):
    """A clock of a machine that is busy with something else at first."""

    def __init__(self) -> None:
        super().__init__()
        self._late = iter([0, 50, 80])

    def __call__(self) -> float:
        self._now += next(self._late, 0)
        return super().__call__()


def test_busy_moment_is_not_taken_for_slowness() -> None:
    model = reference_model()
    assert measure(model, Busy()) == measure(model, Ticks())


def test_measuring_takes_a_part_of_a_frame() -> None:
    """In units: of nine crops' hundreds, a few."""
    clock = Ticks()
    measure(reference_model(), clock)
    assert clock() < 30


class Contended(Ticks):
    """A clock of a machine that does something else most of the time, between short units."""

    def __init__(self) -> None:
        super().__init__()
        self._pauses = cycle([0.03, 0.15, 0.07, 0.001, 0.2])

    def __call__(self) -> float:
        self._now += next(self._pauses)
        return self._now


def test_short_units_are_repeated_until_one_was_left_alone() -> None:
    """A demonstration model's token takes a millisecond, and was taken for half a second."""
    assert measure(reference_model(), Contended()).token_s == pytest.approx(0.001)


class Computed(Ticks):
    """A clock that moves by what is computed: the first unit of an encoding embeds patches too."""

    def __init__(self, model: Moondream) -> None:
        super().__init__()
        self.num_encodings = 0
        self._hooks = [
            model.vision.patch_emb.register_forward_hook(self._embed),
            *(block.register_forward_hook(self._attend) for block in model.vision.blocks),
        ]

    def __call__(self) -> float:
        self._now += 0.001
        return self._now

    def _embed(self, *_: object) -> None:
        self.num_encodings += 1
        self._now += 0.1

    def _attend(self, *_: object) -> None:
        self._now += 0.04

    def stop(self) -> None:
        for hook in self._hooks:
            hook.remove()


def test_first_unit_that_is_always_longer_is_no_reason_to_measure_again() -> None:
    clock = Computed(reference_model())
    measure(reference_model(), clock)
    clock.stop()
    assert clock.num_encodings == 1
