"""What stands on the screen at one moment, before any terminal is thought of."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from PIL import Image
from rich.console import Console
from rich.segment import Segment
from rich.text import Text


@dataclass(frozen=True, slots=True)
class Row:
    """One line; the columns left of it belong to a picture."""

    text: Text
    indent: int = 0

    def segments(self, console: Console) -> Iterable[Segment]:
        """The line in pieces of one style each."""
        # Without spans rich leaves the style of the whole to whoever prints it.
        text = self.text.copy()
        text.stylize_before(text.style)
        return text.render(console)


@dataclass(frozen=True, slots=True)
class Place:
    """Cells kept for a picture, counted from 0."""

    camera_id: str
    row: int
    column: int
    width: int
    height: int
    picture: Image.Image | None  #: None: none yet


@dataclass(slots=True)
class Frame:
    """All lines of the screen, and where pictures stand."""

    rows: list[Row] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
