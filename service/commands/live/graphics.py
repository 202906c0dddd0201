"""How a terminal is made to show a picture, and which way this one knows.

Told by the environment where a terminal names itself there, by asking it where it does not. Inside
a multiplexer pictures are half blocks: tmux and screen draw text, and would lose any other.
"""

import base64
import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum

from PIL import Image

from service.commands.live import half_blocks, sixel

_CHUNK = 4096  # bytes of base64 in one escape sequence of kitty's
_ITERM2 = frozenset({"iTerm.app", "iTerm2", "WezTerm", "mintty"})
_KITTY = frozenset({"kitty", "ghostty"})
_ATTRIBUTES = re.compile(r"\x1b\[\?([\d;]+)c")
_CELL_SIZE = re.compile(r"\x1b\[6;(\d{1,3});(\d{1,3})t")
#: Asks for a cell's size in pixels, then for the terminal's attributes, which every one answers.
QUESTION = "\x1b[16t\x1b[c"
_SIXEL = "4"  # among the attributes
_USUAL_CELL = (10, 20)  # pixels; only its shape counts where pictures are fitted into cells


class Protocol(Enum):
    """A way to show pictures."""

    NONE = "none"
    HALF_BLOCKS = "half blocks"
    KITTY = "kitty"
    ITERM2 = "iterm2"
    SIXEL = "sixel"


@dataclass(frozen=True, slots=True)
class Graphics:
    """What this terminal can do."""

    protocol: Protocol = Protocol.NONE
    has_true_color: bool = False
    cell: tuple[int, int] = _USUAL_CELL  #: width and height in pixels

    @property
    def can_draw(self) -> bool:
        """Whether there is any way."""
        return self.protocol is not Protocol.NONE

    def draw(self, picture: Image.Image, number: int, width: int, height: int) -> list[str]:
        """What to write for a picture; each text at the start of the next row.

        Args:
            picture: In RGB.
            number: Tells it from the others on the screen, from 1 on.
            width: Columns at most.
            height: Rows at most.
        """
        across, down = half_blocks.fitted(picture.size, width, height, self.cell)
        match self.protocol:
            case Protocol.HALF_BLOCKS:
                return half_blocks.escapes(picture, across, down, self.has_true_color)
            case Protocol.KITTY:
                return [_kitty(picture, number, across, down)]
            case Protocol.ITERM2:
                return [_iterm2(picture, across, down)]
            case Protocol.SIXEL:
                return [sixel.encode(picture, across * self.cell[0], down * self.cell[1])]
            case Protocol.NONE:
                return []

    def remove(self, number: int) -> str:
        """What to write so that a picture goes; empty where text over it is enough."""
        return f"\x1b_Ga=d,d=I,i={number},q=2\x1b\\" if self.protocol is Protocol.KITTY else ""


def detect(
    environment: Mapping[str, str],
    color_system: str | None,
    cell: tuple[int, int] | None,
    ask: Callable[[str], str],
) -> Graphics:
    """Find out what the terminal can show.

    Args:
        environment: Of the process.
        color_system: As rich names it; None: no colours.
        cell: Width and height of a cell in pixels, where the terminal says them unasked.
        ask: Writes to the terminal and returns its answer; empty where none comes.
    """
    has_true_color = color_system == "truecolor"
    blocks = Protocol.HALF_BLOCKS if color_system in {"truecolor", "256"} else Protocol.NONE
    named = _named(environment)
    if named is None and environment.get("TERM", "") not in {"", "dumb", "linux"}:
        answer = ask(QUESTION)
        cell = cell or _cell_of(answer)
        attributes = _ATTRIBUTES.search(answer)
        # Without the size of a cell a picture of pixels would run over the text.
        if cell and attributes and _SIXEL in attributes[1].split(";")[1:]:
            named = Protocol.SIXEL
    if named is None or named is Protocol.HALF_BLOCKS:
        named = blocks
    return Graphics(named, has_true_color, cell or _USUAL_CELL)


def _named(environment: Mapping[str, str]) -> Protocol | None:
    """The way that the environment names; None where the terminal has to be asked."""
    term = environment.get("TERM", "")
    if {"TMUX", "STY", "ZELLIJ"} & environment.keys() or term.startswith(("tmux", "screen")):
        return Protocol.HALF_BLOCKS
    programs = {environment.get(name, "") for name in ("TERM_PROGRAM", "LC_TERMINAL")}
    if "KITTY_WINDOW_ID" in environment or term in {"xterm-kitty", "xterm-ghostty"}:
        return Protocol.KITTY
    if programs & _KITTY:
        return Protocol.KITTY
    return Protocol.ITERM2 if programs & _ITERM2 else None


def _cell_of(answer: str) -> tuple[int, int] | None:
    found = _CELL_SIZE.search(answer)
    if found is None or not (int(found[1]) and int(found[2])):
        return None
    return int(found[2]), int(found[1])


def _kitty(picture: Image.Image, number: int, width: int, height: int) -> str:
    """The picture as PNG in kitty's graphics protocol; the terminal scales it, and stays silent."""
    data = base64.b64encode(_encoded(picture, "PNG")).decode("ascii")
    chunks = [data[i : i + _CHUNK] for i in range(0, len(data), _CHUNK)]
    keys = f"a=T,f=100,i={number},p=1,c={width},r={height},C=1,q=2,"
    return "".join(
        f"\x1b_G{'' if i else keys}m={int(i < len(chunks) - 1)};{chunk}\x1b\\"
        for i, chunk in enumerate(chunks)
    )


def _iterm2(picture: Image.Image, width: int, height: int) -> str:
    data = _encoded(picture, "JPEG")
    keys = f"inline=1;size={len(data)};width={width};height={height};preserveAspectRatio=0"
    return f"\x1b]1337;File={keys};doNotMoveCursor=1:{base64.b64encode(data).decode()}\x07"


def _encoded(picture: Image.Image, form: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, form)
    return file.getvalue()
