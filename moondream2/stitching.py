"""From the patches of overlapping crops to one grid of the size of a crop: a map per tiling.

The local crops of a frame are laid side by side without their margins, and each cell of the pooled
grid is the mean of a rectangle of what results. Which patches that means depends on the tiling and
on nothing else, so it is worked out once, and a frame is pooled in a single pass over its patches.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from moondream2.config import VisionConfig


@dataclass(frozen=True, slots=True)
class PoolMap:
    """Which patches make which cell."""

    #: Patches of all local crops, in the order of the cells; bins overlap, so some stand twice.
    patches: Tensor
    #: (grid²,) where each cell begins in `patches`.
    starts: Tensor

    def mean(self, features: Tensor) -> Tensor:
        """Average patches to cells: (rows * columns, grid², W) of the local crops to (grid², W)."""
        # In float32, or every addition is rounded.
        rows = features.flatten(0, 1).float()
        cells = F.embedding_bag(self.patches, rows, self.starts, mode="mean")
        return cells.to(features.dtype)


def pool_map(tiling: tuple[int, int], config: VisionConfig, device: torch.device) -> PoolMap:
    """Compute the map of rows and columns of local crops."""
    index = stitch_map(tiling, config)
    height, width = index.shape
    cells = [
        index[top:bottom, left:right].flatten()
        for top, bottom in _bins(height, config.grid_size)
        for left, right in _bins(width, config.grid_size)
    ]
    counts = torch.tensor([len(cell) for cell in cells])
    return PoolMap(torch.cat(cells).to(device), (counts.cumsum(0) - counts).to(device))


def stitch_map(tiling: tuple[int, int], config: VisionConfig) -> Tensor:
    """Compute which patch of which local crop stands where in the stitched grid.

    Returns:
        (height, width) indices into the patches of all local crops, row by row.
    """
    grid, margin = config.grid_size, config.overlap_margin
    rows, columns = tiling
    crop_row, row = _stitch_line(rows, grid, margin)
    crop_column, column = _stitch_line(columns, grid, margin)
    crop = crop_row[:, None] * columns + crop_column[None, :]
    return crop * grid**2 + row[:, None] * grid + column[None, :]


def _stitch_line(crops: int, grid: int, margin: int) -> tuple[Tensor, Tensor]:
    """Return, for each stitched line, the crop it comes from and the line inside that crop."""
    sources = [
        (crop, line)
        for crop in range(crops)
        for line in range(0 if crop == 0 else margin, grid if crop == crops - 1 else grid - margin)
    ]
    crop_index, line_index = torch.tensor(sources).unbind(1)
    return crop_index, line_index


def _bins(lines: int, cells: int) -> list[tuple[int, int]]:
    """Return first and last + 1 line of each cell, as adaptive average pooling has them."""
    return [(cell * lines // cells, -(-(cell + 1) * lines // cells)) for cell in range(cells)]
