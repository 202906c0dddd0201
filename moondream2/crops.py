"""From a picture to the square crops that the image encoder reads.

One global crop shows the whole picture, the local crops are windows of an enlarged or reduced copy
that overlap by a fixed margin. The resampling is part of the model: another filter, order of passes
or rounding changes captions, so all three are pinned here.
"""

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from moondream2.config import VisionConfig


@dataclass(frozen=True, slots=True)
class Crops:
    """The crops of one picture."""

    #: (n, S, S, 3) uint8. Crop 0 is the global one, the local ones follow row by row. With tiling
    #: (1, 1) the one local crop equals the global one bit for bit, so only that one is held.
    pixels: Tensor
    #: Rows and columns of local crops.
    tiling: tuple[int, int]
    #: Width and height of the picture in pixels.
    size: tuple[int, int]

    def __len__(self) -> int:
        return self.pixels.shape[0]


def tiling(
    height: int, width: int, config: VisionConfig, max_crops: int | None = None
) -> tuple[int, int]:
    """Choose how many rows and columns of local crops cover a picture.

    Args:
        height: Of the picture, in pixels.
        width: Of the picture, in pixels.
        config: Geometry of the crops.
        max_crops: Most local crops, if fewer than the model's own limit. As in the reference, a
            picture more than about six times as long as wide can exceed it.

    Returns:
        (rows, columns), each at least 1.
    """
    limit = min(config.max_crops, max_crops or config.max_crops)
    window = _window(config)
    h, w = height - 2 * _margin(config), width - 2 * _margin(config)
    if h <= window or w <= window:
        return 1, 1
    rows, columns = math.ceil(h / window), math.ceil(w / window)
    if rows * columns > limit:
        shrink = math.sqrt(limit / (rows * columns))
        return max(1, math.floor(rows * shrink)), max(1, math.floor(columns * shrink))
    rows = max(math.floor(math.sqrt(limit * h / w)), rows)
    columns = max(math.floor(math.sqrt(limit * w / h)), columns)
    if rows * columns > limit:
        if columns > rows:
            columns = math.floor(limit / rows)
        else:
            rows = math.floor(limit / columns)
    return max(1, rows), max(1, columns)


def prepare(image: Image.Image, config: VisionConfig, max_crops: int | None = None) -> Crops:
    """Cut a picture into the crops of the model.

    Transparency is dropped, and neither orientation tags nor colour profiles are applied: the
    caller does what it wants to the picture first.

    Args:
        image: A decoded picture of any mode and size.
        config: Geometry of the crops.
        max_crops: As for `tiling`.
    """
    rgb = image.convert("RGB")
    grid = rows, columns = tiling(rgb.height, rgb.width, config, max_crops)
    side, window = config.crop_size, _window(config)
    overall = _resize(rgb, side, side)
    if grid == (1, 1):
        return Crops(overall[None], grid, rgb.size)
    margins = 2 * _margin(config)
    canvas = _resize(rgb, columns * window + margins, rows * window + margins)
    pixels = torch.empty((1 + rows * columns, side, side, 3), dtype=torch.uint8)
    pixels[0] = overall
    for index in range(rows * columns):
        top, left = index // columns * window, index % columns * window
        pixels[1 + index] = canvas[top : top + side, left : left + side]
    return Crops(pixels, grid, rgb.size)


def normalise(pixels: Tensor, dtype: torch.dtype, pixel_dtype: torch.dtype) -> Tensor:
    """Scale bytes to about -1..1, on the device of `pixels`.

    Every step is rounded to `pixel_dtype`, as the model was trained: exact arithmetic would move
    the image embeddings by up to a fifth of their range.

    Args:
        pixels: (N, S, S, 3) uint8.
        dtype: Of the result.
        pixel_dtype: Of the arithmetic, `Release.pixel_dtype`.

    Returns:
        (N, 3, S, S), not contiguous.
    """
    scaled = pixels.to(pixel_dtype).div(255).sub(0.5).div(0.5)
    return scaled.to(dtype).permute(0, 3, 1, 2)


def _margin(config: VisionConfig) -> int:
    """Pixels that a crop shares with its neighbour on one side."""
    return config.overlap_margin * config.patch_size


def _window(config: VisionConfig) -> int:
    """Pixels from one local crop to the next."""
    return config.crop_size - 2 * _margin(config)


def _resize(image: Image.Image, width: int, height: int) -> Tensor:
    """Resample with Lanczos, width first; (height, width, 3) uint8.

    Pillow 13 chooses the order of the passes by the shape of the image; two calls keep the order
    of the releases that the model was made with.
    """
    lanczos = Image.Resampling.LANCZOS
    wide = image.resize((width, image.height), lanczos)
    return torch.from_numpy(np.array(wide.resize((width, height), lanczos)))
