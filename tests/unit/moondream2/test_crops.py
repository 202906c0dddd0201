import hashlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from moondream2.config import MoondreamConfig, public_config
from moondream2.crops import normalise, prepare, tiling
from tests.support.checkpoints import (
    ODD_SHAPE,
    reference_image,
    reference_model,
    reference_record,
)

PUBLIC = public_config().vision


def _sha256(tensor: Tensor) -> str:
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def test_tiling_of_every_recorded_size_equals_the_reference() -> None:
    cases = reference_record()["tilings"]
    assert len(cases) == 179
    wrong = [
        (width, height)
        for width, height, rows, columns in cases
        if tiling(height, width, PUBLIC) != (rows, columns)
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("limit", "expected"), [(1, (1, 1)), (4, (1, 2)), (6, (1, 3)), (12, (2, 4)), (50, (2, 4))]
)
def test_tiling_with_a_lower_limit_uses_fewer_crops(limit: int, expected: tuple[int, int]) -> None:
    assert tiling(720, 1280, PUBLIC, limit) == expected


@pytest.mark.parametrize("index", range(6))
def test_prepare_recorded_picture_equals_the_reference_byte_for_byte(index: int) -> None:
    record = reference_record()["images"][index]
    crops = prepare(reference_image(index), reference_model().config.vision)
    assert crops.size == (record["width"], record["height"])
    assert list(crops.tiling) == record["tiling"]
    # With tiling (1, 1) the reference holds the global crop twice.
    pixels = crops.pixels if len(crops) > 1 else crops.pixels.repeat(2, 1, 1, 1)
    assert len(pixels) == record["n_crops"]
    assert _sha256(pixels) == record["crops_uint8_sha256"]
    scaled = normalise(pixels, torch.bfloat16, torch.bfloat16)
    assert _sha256(scaled) == record["crops_bf16norm_sha256"]


def test_prepare_small_picture_holds_its_only_crop_once() -> None:
    crops = prepare(Image.new("RGB", (320, 240), (10, 20, 30)), PUBLIC)
    assert len(crops) == 1
    assert crops.pixels.shape == (1, 378, 378, 3)
    assert crops.pixels[0, 0, 0].tolist() == [10, 20, 30]


def test_prepare_with_other_geometry_cuts_overlapping_windows() -> None:
    config = MoondreamConfig.from_json(ODD_SHAPE).vision
    window, margins = 112 - 2 * 14, 2 * 14
    # A picture that is exactly the canvas of its tiling is not resampled.
    rows, columns = 2, 3
    size = (columns * window + margins, rows * window + margins)
    values = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    crops = prepare(Image.fromarray(values), config)
    assert crops.tiling == (rows, columns)
    for index in range(rows * columns):
        top, left = index // columns * window, index % columns * window
        expected = values[top : top + 112, left : left + 112]
        assert np.array_equal(crops.pixels[1 + index].numpy(), expected)


def test_prepare_drops_transparency_without_blending() -> None:
    picture = Image.new("RGBA", (50, 50), (200, 100, 50, 0))
    assert prepare(picture, PUBLIC).pixels[0, 5, 5].tolist() == [200, 100, 50]


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "LA", "I;16", "F"])
def test_prepare_any_mode_yields_rgb_bytes(mode: str) -> None:
    crops = prepare(Image.new(mode, (30, 20)), PUBLIC)
    assert crops.pixels.dtype == torch.uint8
    assert crops.pixels.shape[-1] == 3


@pytest.mark.parametrize("pixel_dtype", [torch.bfloat16, torch.float16])
def test_normalise_rounds_after_every_step(pixel_dtype: torch.dtype) -> None:
    levels = torch.arange(256, dtype=torch.uint8).view(256, 1, 1, 1).expand(256, 1, 1, 3)
    actual = normalise(levels, torch.float32, pixel_dtype)[:, 0, 0, 0]
    expected = torch.arange(256, dtype=torch.float64)
    expected = (expected / 255).to(pixel_dtype).double()
    expected = (expected - 0.5).to(pixel_dtype).double()
    expected = (expected / 0.5).to(pixel_dtype).double()
    assert torch.equal(actual.double(), expected)
    assert not torch.equal(actual, (torch.arange(256) / 255 - 0.5) / 0.5)
