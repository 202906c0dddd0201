"""Pictures of coloured half blocks: two pixels a cell, on any terminal with 256 colours."""

from collections.abc import Iterator

import numpy as np
from PIL import Image
from rich.color import Color
from rich.segment import Segment
from rich.style import Style

_UPPER_HALF = "▀"
Pixel = tuple[int, int, int]


def fitted(
    size: tuple[int, int], width: int, height: int, cell: tuple[int, int]
) -> tuple[int, int]:
    """Cells across and down that a picture fills of `width` × `height`, with its shape kept.

    Args:
        size: Of the picture in pixels.
        width: Columns there are.
        height: Rows there are.
        cell: Width and height of a cell in pixels.
    """
    scale = min(width * cell[0] / size[0], height * cell[1] / size[1])
    across, down = (round(side * scale / each) for side, each in zip(size, cell, strict=True))
    return max(1, min(width, across)), max(1, min(height, down))


def cells(picture: Image.Image, width: int, height: int) -> list[list[tuple[Pixel, Pixel]]]:
    """Upper and lower colour of each cell, row by row."""
    small = picture.resize((width, 2 * height), Image.Resampling.BOX)
    pixels = np.asarray(small).tolist()  # (2 height, width, 3)
    return [
        [(tuple(upper), tuple(lower)) for upper, lower in zip(top, bottom, strict=True)]
        for top, bottom in zip(pixels[::2], pixels[1::2], strict=True)
    ]


def segments(picture: Image.Image, width: int, height: int) -> Iterator[list[Segment]]:
    """The picture as rich text, a list for each row."""
    for row in cells(picture, width, height):
        yield [
            Segment(
                _UPPER_HALF, Style(color=Color.from_rgb(*upper), bgcolor=Color.from_rgb(*lower))
            )
            for upper, lower in row
        ]


def escapes(picture: Image.Image, width: int, height: int, has_true_color: bool) -> list[str]:
    """The picture as a terminal takes it, a text for each row."""
    paint = _true_color if has_true_color else _color_of_256
    return [
        "".join(f"\x1b[38;{paint(upper)};48;{paint(lower)}m{_UPPER_HALF}" for upper, lower in row)
        + "\x1b[0m"
        for row in cells(picture, width, height)
    ]


def _true_color(pixel: Pixel) -> str:
    return "2;{};{};{}".format(*pixel)


def _color_of_256(pixel: Pixel) -> str:
    """The nearest of the cube of 6 × 6 × 6 colours."""
    red, green, blue = (0 if level < 48 else min(5, (level - 35) // 40) for level in pixel)
    return f"5;{16 + 36 * red + 6 * green + blue}"
