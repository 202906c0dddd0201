"""Frames on a terminal: only what changed is written, and no text ever goes over a picture.

Rich's own live display repaints all cells at each refresh, which wipes away pictures of pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from rich.color import ColorSystem
from rich.console import Console
from rich.segment import Segment
from rich.text import Text

from service.commands.live.frame import Frame, Place, Row
from service.commands.live.graphics import Graphics

# The alternate screen, without a cursor and without breaking lines that are too long.
ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
# What stands between is shown at once, by terminals that know how.
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
_EMPTY = Row(Text())
_COLOR_SYSTEMS = {
    "standard": ColorSystem.STANDARD,
    "256": ColorSystem.EIGHT_BIT,
    "truecolor": ColorSystem.TRUECOLOR,
}


@dataclass(frozen=True, slots=True)
class _Drawn:
    place: Place
    number: int


class Screen:
    """What a terminal shows, and what to write so that it shows something else.

    Args:
        console: Says which colours there are.
        graphics: Says how pictures are drawn.
    """

    def __init__(self, console: Console, graphics: Graphics) -> None:
        self._console = console
        self._graphics = graphics
        self._color_system = _COLOR_SYSTEMS.get(console.color_system or "")
        self._size = (0, 0)
        self._rows: list[Row] = []
        self._drawn: dict[str, _Drawn] = {}
        # Numbers of pictures are the terminal's, and other programs draw on it too.
        self._numbers = count((os.getpid() & 0x3FFFFF) << 8)

    def paint(self, frame: Frame, width: int, height: int) -> str:
        """What to write so that the terminal shows the frame; empty where it does already."""
        parts: list[str] = []
        if (width, height) != self._size:
            parts.append(self._clear(width, height))
        wanted = self._wanted(frame, height)
        dirty = self._remove_pictures(wanted, parts)
        rows = [*frame.rows[:height], *[_EMPTY] * (height - len(frame.rows))]
        self._write_rows(rows, dirty, parts)
        for place in wanted.values():
            self._draw(place, dirty, parts)
        return f"{_BEGIN}{''.join(parts)}{_END}" if parts else ""

    def removal(self) -> str:
        """What to write so that no picture stays behind."""
        return "".join(self._graphics.remove(drawn.number) for drawn in self._drawn.values())

    def _clear(self, width: int, height: int) -> str:
        text = self.removal() + "\x1b[2J"
        self._size = (width, height)
        self._rows = [_EMPTY] * height
        self._drawn.clear()
        return text

    def _wanted(self, frame: Frame, height: int) -> dict[str, Place]:
        if not self._graphics.can_draw:
            return {}
        # One that ends in the last row would make some terminals scroll.
        return {
            place.camera_id: place
            for place in frame.places
            if place.picture is not None and place.row + place.height < height
        }

    def _remove_pictures(self, wanted: dict[str, Place], parts: list[str]) -> set[int]:
        """Take away what stands elsewhere now; returns the rows that have to be written anew."""
        dirty: set[int] = set()
        for camera_id, drawn in list(self._drawn.items()):
            if _covers(wanted.get(camera_id)) != _covers(drawn.place):
                parts.append(self._graphics.remove(drawn.number))
                dirty.update(_rows(drawn.place))
                del self._drawn[camera_id]
        return dirty

    def _write_rows(self, rows: Sequence[Row], dirty: set[int], parts: list[str]) -> None:
        for i, (row, before) in enumerate(zip(rows, self._rows, strict=True)):
            if row.indent != before.indent:
                dirty.add(i)
            if i in dirty:
                parts.append(f"\x1b[{i + 1};1H\x1b[2K")
            elif _is_same(row.text, before.text):
                continue
            # Erased before it is written: behind a full line the cursor stands on its last letter.
            parts.append(f"\x1b[{i + 1};{row.indent + 1}H\x1b[0m\x1b[K{self._escaped(row)}\x1b[0m")
        self._rows = list(rows)

    def _draw(self, place: Place, dirty: set[int], parts: list[str]) -> None:
        drawn = self._drawn.get(place.camera_id)
        is_there = drawn is not None and drawn.place.picture is place.picture
        if place.picture is None or (is_there and dirty.isdisjoint(_rows(place))):
            return
        number = drawn.number if drawn else next(self._numbers)
        texts = self._graphics.draw(place.picture, number, place.width, place.height)
        for i, text in enumerate(texts):
            parts.append(f"\x1b[{place.row + i + 1};{place.column + 1}H{text}")
        self._drawn[place.camera_id] = _Drawn(place, number)

    def _escaped(self, row: Row) -> str:
        segments = row.segments(self._console)
        if self._console.no_color:
            segments = Segment.remove_color(segments)
        return "".join(
            segment.style.render(segment.text, color_system=self._color_system)
            if segment.style
            else segment.text
            for segment in segments
        )


def _covers(place: Place | None) -> tuple[object, ...]:
    if place is None or place.picture is None:
        return ()
    return (place.row, place.column, place.width, place.height, place.picture.size)


def _rows(place: Place) -> range:
    return range(place.row, place.row + place.height)


def _is_same(one: Text, other: Text) -> bool:
    # rich compares letters and spans, not the style of the whole.
    return one == other and one.style == other.style
