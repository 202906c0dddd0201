import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from engine.drawing import MAX_JPEG_BYTES, draw, encode
from engine.protocol import (
    Answer,
    Box,
    BoxesAnswer,
    Point,
    PointsAnswer,
    TaskSpec,
    TextAnswer,
)

GREY = Image.new("RGB", (400, 300), (90, 90, 90))
BOX = Box(0.25, 0.2, 0.75, 0.8)


def drawn(tasks: list[TaskSpec], answers: list[Answer], image: Image.Image = GREY) -> Image.Image:
    return Image.open(io.BytesIO(draw(image, tasks, answers)))


def changed(picture: Image.Image) -> NDArray[np.bool_]:
    difference = np.abs(np.asarray(picture, dtype=np.int16) - 90)
    return np.asarray(difference.max(axis=2) > 40)


def test_draw_box_marks_its_edges_and_not_its_inside() -> None:
    marked = changed(drawn([TaskSpec("detect", "person")], [BoxesAnswer((BOX,), 1.0)]))
    assert marked[100:240, 99:103].any(axis=1).all()
    assert not marked[150:230, 150:290].any()


def test_draw_box_outside_of_the_picture_and_turned_does_no_harm() -> None:
    wild = Box(1.4, -3.0, -0.2, 0.5)
    drawn([TaskSpec("detect", "Größe 大きさ")], [BoxesAnswer((wild,), 1.0)])


def test_draw_point_marks_its_place() -> None:
    answer = PointsAnswer((Point(0.5, 0.5),), 1.0)
    marked = changed(drawn([TaskSpec("point", "face")], [answer]))
    assert marked[150, 200]
    assert marked.sum() < 200


def test_draw_caption_leaves_the_picture_alone() -> None:
    marked = changed(drawn([TaskSpec("caption", "short")], [TextAnswer("a", (1,), 1.0)]))
    assert not marked.any()


def test_draw_large_picture_is_reduced() -> None:
    assert drawn([], [], Image.new("RGB", (4000, 3000))).size == (1920, 1440)


def test_draw_picture_that_compresses_badly_fits_into_a_packet_all_the_same() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (1920, 1920, 3), dtype=np.uint8)
    found = draw(Image.fromarray(noise), [], [])
    assert len(found) <= MAX_JPEG_BYTES
    assert Image.open(io.BytesIO(found)).size == (1920, 1920)  # quality goes first


def test_encode_ends_at_any_limit_that_a_picture_can_have() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    sizes = {limit: len(encode(Image.fromarray(noise), limit)) for limit in (50_000, 5_000, 900)}
    assert all(size <= limit for limit, size in sizes.items()), sizes
