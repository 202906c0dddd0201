"""Draws shapes given in fractions of a box, so that one figure serves every size and direction."""

from collections.abc import Sequence

from PIL import ImageDraw

Colour = tuple[int, int, int]
Point = tuple[float, float]

#: Colour names of the captions and what they look like in full daylight.
PALETTE: dict[str, Colour] = {
    "red": (196, 36, 36),
    "blue": (36, 82, 190),
    "green": (40, 138, 62),
    "yellow": (232, 196, 40),
    "black": (30, 30, 34),
    "white": (236, 236, 234),
    "grey": (128, 132, 138),
    "orange": (214, 124, 44),
    "brown": (136, 90, 50),
}


def shade(colour: Colour, factor: float) -> Colour:
    """The colour brighter (above 1) or darker (below 1)."""
    red, green, blue = (max(0, min(255, round(part * factor))) for part in colour)
    return red, green, blue


class Pen:
    """Draws inside a rectangle of an image in coordinates 0..1.

    Args:
        draw: The image.
        left: Left edge of the rectangle in pixels.
        top: Its top edge.
        width: Its width.
        height: Its height.
        is_mirrored: Whether left and right are exchanged.
    """

    def __init__(
        self,
        draw: ImageDraw.ImageDraw,
        left: float,
        top: float,
        width: float,
        height: float,
        *,
        is_mirrored: bool = False,
    ) -> None:
        self._draw = draw
        self._left, self._top = left, top
        self._width, self._height = width, height
        self._is_mirrored = is_mirrored

    def at(self, x: float, y: float) -> Point:
        """Pixel position of a point."""
        across = 1 - x if self._is_mirrored else x
        return self._left + across * self._width, self._top + y * self._height

    def polygon(self, points: Sequence[Point], fill: Colour) -> None:
        """A filled polygon."""
        self._draw.polygon([self.at(*point) for point in points], fill=fill)

    def box(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """A filled rectangle."""
        self._draw.rectangle(self._corners(x0, y0, x1, y1), fill=fill)

    def rounded(
        self, x0: float, y0: float, x1: float, y1: float, fill: Colour, radius: float = 0.3
    ) -> None:
        """A filled rectangle with round corners; the radius is a part of its shorter side."""
        corners = self._corners(x0, y0, x1, y1)
        side = min(corners[2] - corners[0], corners[3] - corners[1])
        self._draw.rounded_rectangle(corners, radius=radius * side, fill=fill)

    def ellipse(self, x0: float, y0: float, x1: float, y1: float, fill: Colour) -> None:
        """A filled ellipse."""
        self._draw.ellipse(self._corners(x0, y0, x1, y1), fill=fill)

    def ring(
        self, x0: float, y0: float, x1: float, y1: float, colour: Colour, width: float
    ) -> None:
        """An ellipse's outline; the width is a part of the rectangle's height."""
        self._draw.ellipse(self._corners(x0, y0, x1, y1), outline=colour, width=self._pixels(width))

    def line(self, points: Sequence[Point], fill: Colour, width: float) -> None:
        """A line; the width is a part of the rectangle's height."""
        self._draw.line(
            [self.at(*point) for point in points],
            fill=fill,
            width=self._pixels(width),
            joint="curve",
        )

    def _pixels(self, width: float) -> int:
        return max(1, round(width * self._height))

    def _corners(self, x0: float, y0: float, x1: float, y1: float) -> list[float]:
        first, second = self.at(x0, y0), self.at(x1, y1)
        left, right = sorted((first[0], second[0]))
        top, bottom = sorted((first[1], second[1]))
        return [left, top, max(right, left + 1), max(bottom, top + 1)]
