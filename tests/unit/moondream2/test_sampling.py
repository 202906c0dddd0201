import math
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from moondream2.sampling import (
    Pick,
    Picking,
    Suppression,
    generator,
    geometric_mean,
    nucleus,
    pick_bins,
    pick_tokens,
)

LOGITS = torch.tensor([0.5, 0.2, 0.2, 0.1]).log()
STOP = 3


def _picked(logits: Tensor, rows: Sequence[Picking]) -> list[Pick]:
    return pick_tokens(logits, rows, STOP, Suppression()).told()


def _warm(seed: int = 0, **settings: float) -> Picking:
    return Picking(1.0, settings.get("top_p", 1.0), generator=generator(seed, 0))


def test_pick_without_temperature_takes_likeliest() -> None:
    (pick,) = _picked(LOGITS[None], [Picking()])
    assert pick.token == 0
    assert pick.probability == pytest.approx(0.5)
    assert pick.stop_probability == pytest.approx(0.1)


def test_suppressed_ids_are_neither_picked_nor_counted() -> None:
    rows = [Picking(suppressed=(0,)), Picking(), Picking(suppressed=(0, 1))]
    picks = _picked(LOGITS.expand(3, -1), rows)
    assert [pick.token for pick in picks] == [1, 0, 2]
    assert picks[0].probability == pytest.approx(0.4)
    assert picks[2].stop_probability == pytest.approx(1 / 3)


def test_rows_that_suppress_the_same_are_as_rows_that_do_not() -> None:
    """By a mask that is made once, and one by one."""
    logits = torch.randn(3, 40)
    ids, others = (3, 17), (4,)
    together = Suppression()
    for kinds in ((ids, ids, ids), ((), (), ()), (others, others, others), (ids, ids, ids)):
        rows = [Picking(suppressed=kind) for kind in kinds]
        mixed = Suppression()(logits, [Picking(suppressed=(1,)), *rows[1:]])
        assert torch.equal(together(logits, rows)[1:], mixed[1:])
        assert torch.isneginf(together(logits, rows)).sum() == sum(map(len, kinds))


def test_pick_leaves_logits_as_they_are() -> None:
    logits = LOGITS[None].clone()
    _picked(logits, [Picking(suppressed=(0,))])
    assert torch.equal(logits, LOGITS[None])


@pytest.mark.parametrize("temperature", [5e-324, 1e-40, 1e-4])
def test_temperature_too_cold_to_divide_by_takes_likeliest(temperature: float) -> None:
    rows = [Picking(temperature, 1.0, generator=generator(seed, 0)) for seed in range(8)]
    picks = _picked(LOGITS.expand(8, -1) * 30, rows)
    assert [pick.token for pick in picks] == [0] * 8


def test_probability_of_sample_is_the_models_own() -> None:
    """Temperature and top-p change what is picked, not what is reported."""
    rows = [Picking(0.1, 0.3, generator=generator(0, 0))]
    (pick,) = _picked(LOGITS[None], rows)
    assert pick.token == 0
    assert pick.probability == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("top_p", "kept"),
    # 0 keeps the likeliest; the token that crosses the limit stays.
    [(0.0, 1), (0.3, 1), (0.55, 2), (0.75, 3), (0.95, 4), (1.0, 4)],
)
def test_nucleus_keeps_what_precedes_and_crosses_limit(top_p: float, kept: int) -> None:
    chances, tokens = nucleus(LOGITS[None], torch.ones(1, 1), torch.tensor([[top_p]]))
    assert int((chances > 0).sum()) == kept
    assert float(chances.sum()) == pytest.approx(1)
    assert int(tokens[0, 0]) == 0


def test_samples_follow_distribution() -> None:
    rows = [_warm(seed) for seed in range(4000)]
    picks = _picked(LOGITS.expand(len(rows), -1), rows)
    shares = [sum(pick.token == token for pick in picks) / len(rows) for token in range(4)]
    assert shares == pytest.approx([0.5, 0.2, 0.2, 0.1], abs=0.03)


def test_sample_depends_on_own_generator_only() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    alone = [_picked(logits[i : i + 1], [_warm(i)])[0].token for i in range(6)]
    rows = [_warm(i) if i % 2 else Picking() for i in range(6)]
    together = [pick.token for pick in _picked(logits, rows)]
    assert together[1::2] == alone[1::2]
    assert together[::2] == logits.argmax(-1).tolist()[::2]


def test_generators_of_two_tasks_draw_different_numbers() -> None:
    numbers = {torch.rand((), generator=generator(7, task)).item() for task in range(5)}
    assert len(numbers) == 5


def test_pick_bins_returns_likeliest_and_its_probability() -> None:
    bins, chances = pick_bins(LOGITS.flip(0).expand(2, 3, -1).bfloat16())
    assert bins.tolist() == [[3] * 3] * 2
    assert chances.flatten().tolist() == pytest.approx([0.5] * 6, abs=0.01)


def test_geometric_mean_of_probabilities() -> None:
    assert geometric_mean([0.25, 1.0]) == pytest.approx(0.5)
    assert geometric_mean([]) == 0
    assert math.isfinite(geometric_mean([0.0, 1.0]))
