import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from moondream2.config import MoondreamConfig
from moondream2.stitching import pool_map, stitch_map
from tests.support.checkpoints import (
    ODD_SHAPE,
    assert_near,
    reference_model,
    reference_tensors,
)

CPU = torch.device("cpu")
ODD = MoondreamConfig.from_json(ODD_SHAPE).vision


@pytest.mark.parametrize("name", ["1x1", "2x2", "1x12", "6x1", "2x4", "3x4"])
def test_stitch_and_pool_equal_the_reference(name: str) -> None:
    model, expected = reference_model().vision, reference_tensors()
    rows, columns = map(int, name.split("x"))
    indices = stitch_map((rows, columns), model.config)
    assert torch.equal(indices.int(), expected[f"stitch.{name}"])
    numbered = torch.arange(rows * columns * 729, dtype=torch.float32).view(-1, 729, 1)
    pooled = model.pool(numbered, (rows, columns)).view(27, 27)
    assert_near(pooled, expected[f"stitch_pooled.{name}"], bound=1e-6)


@pytest.mark.parametrize("tiling", [(1, 1), (1, 3), (3, 2), (2, 6)])
def test_mean_of_cells_equals_adaptive_pooling_of_the_stitched_grid(
    tiling: tuple[int, int],
) -> None:
    features = torch.randn(tiling[0] * tiling[1], ODD.tokens, 5)
    stitched = features.flatten(0, 1)[stitch_map(tiling, ODD)]  # (height, width, W)
    pooled = adaptive_avg_pool2d(stitched.permute(2, 0, 1), ODD.grid_size)  # (W, grid, grid)
    found = pool_map(tiling, ODD, CPU).mean(features)
    assert_near(found, pooled.flatten(1).T, bound=1e-6)


def test_mean_in_bfloat16_is_rounded_once() -> None:
    features = torch.randn(6, ODD.tokens, 5).to(torch.bfloat16)
    pools = pool_map((2, 3), ODD, CPU)
    assert_near(pools.mean(features), pools.mean(features.float()), bound=2**-8)
