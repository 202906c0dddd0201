from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from demo.scenes.render import render
from demo.scenes.scene import draw_scene
from demo.training.pool import Cut, Geometry, ScenePool

SIDE = 32


def cut(image: Image.Image) -> Cut:
    """Quarters of a small copy, and the copy's reduction: tiling 2 x 2 without overlap."""
    small = np.array(image.resize((2 * SIDE, 2 * SIDE)))
    local = [small[y : y + SIDE, x : x + SIDE] for y in (0, SIDE) for x in (0, SIDE)]
    return Cut(np.stack([np.array(image.resize((SIDE, SIDE))), *local]), (2, 2))


def test_fill_draws_what_is_missing_and_keeps_it(tmp_path: Path) -> None:
    pool = ScenePool(tmp_path, 3, Geometry(5, SIDE))
    assert pool.missing() == [0, 1, 2]
    assert list(pool.fill(cut, processes=1)) == [3]
    again = ScenePool(tmp_path, 3, Geometry(5, SIDE))
    assert again.missing() == []
    assert again.read(1).tiling == (2, 2)
    assert again.read(1).pixels.any()


def test_read_mirrored_equals_the_crops_of_the_mirrored_picture(tmp_path: Path) -> None:
    pool = ScenePool(tmp_path, 1, Geometry(5, SIDE))
    image = render(draw_scene(0, (640, 480)))
    pool.write(0, cut(image))
    mirrored = cut(ImageOps.mirror(image)).pixels.astype(np.int16)
    difference = np.abs(pool.read(0, is_mirrored=True).pixels - mirrored)
    assert difference.max() <= 1  # rounding of the resampling
