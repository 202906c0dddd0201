"""Which way to show pictures is chosen, and what is written then."""

import base64
import io
import re

import pytest
from PIL import Image

from service.commands.live.graphics import Graphics, Protocol, detect
from tests.support.factories import make_picture

SIXEL_TERMINAL = "\x1b[6;20;10t\x1b[?62;4;22c"


def never_asked(question: str) -> str:
    raise AssertionError(question)


@pytest.mark.parametrize(
    ("environment", "protocol"),
    [
        ({"TERM": "xterm-kitty"}, Protocol.KITTY),
        ({"TERM": "xterm-256color", "KITTY_WINDOW_ID": "1"}, Protocol.KITTY),
        ({"TERM": "xterm-ghostty"}, Protocol.KITTY),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "iTerm.app"}, Protocol.ITERM2),
        ({"TERM": "xterm-256color", "LC_TERMINAL": "iTerm2"}, Protocol.ITERM2),
        ({"TERM": "xterm-256color", "TERM_PROGRAM": "WezTerm"}, Protocol.ITERM2),
        ({"TERM": "tmux-256color", "TMUX": "x", "KITTY_WINDOW_ID": "1"}, Protocol.HALF_BLOCKS),
        ({"TERM": "screen-256color", "TERM_PROGRAM": "iTerm.app"}, Protocol.HALF_BLOCKS),
        ({"TERM": "linux"}, Protocol.HALF_BLOCKS),
    ],
)
def test_environment_names_the_protocol(environment: dict[str, str], protocol: Protocol) -> None:
    assert detect(environment, "256", None, never_asked).protocol is protocol


def test_terminal_that_says_so_gets_sixels_of_its_cells() -> None:
    graphics = detect({"TERM": "foot"}, "truecolor", None, lambda _: SIXEL_TERMINAL)
    assert (graphics.protocol, graphics.cell) == (Protocol.SIXEL, (10, 20))


@pytest.mark.parametrize("answer", ["", "\x1b[?62;22c", "\x1b[?62;4c", "\x1b[6;0;0t\x1b[?62;4c"])
def test_terminal_that_cannot_or_does_not_say_gets_half_blocks(answer: str) -> None:
    graphics = detect({"TERM": "xterm-256color"}, "256", None, lambda _: answer)
    assert graphics.protocol is Protocol.HALF_BLOCKS


@pytest.mark.parametrize("color_system", [None, "standard"])
def test_terminal_with_few_colours_gets_no_blocks(color_system: str | None) -> None:
    assert not detect({"TERM": "xterm"}, color_system, None, lambda _: "").can_draw


def test_half_blocks_fill_the_cells_in_the_shape_of_the_picture() -> None:
    rows = Graphics(Protocol.HALF_BLOCKS, has_true_color=True).draw(make_picture(), 1, 14, 4)
    assert [row.count("▀") for row in rows] == [11] * 4
    rows = Graphics(Protocol.HALF_BLOCKS).draw(make_picture(size=(1280, 720)), 1, 14, 4)
    assert [row.count("▀") for row in rows] == [14] * 4
    assert "38;5;" in rows[0]


def test_kitty_gets_a_png_in_pieces() -> None:
    picture = make_picture()
    (text,) = Graphics(Protocol.KITTY).draw(picture, 7, 14, 4)
    pieces = re.findall(r"\x1b_G([^;]*);([^\x1b]*)\x1b\\", text)
    assert "i=7" in pieces[0][0]
    assert "c=11,r=4" in pieces[0][0]
    assert "q=2" in pieces[0][0]
    assert [keys[-3:] for keys, _ in pieces] == ["m=1"] * (len(pieces) - 1) + ["m=0"]
    assert all(len(data) <= 4096 for _, data in pieces)
    data = base64.b64decode("".join(data for _, data in pieces))
    assert Image.open(io.BytesIO(data)).size == picture.size


def test_iterm2_gets_a_jpeg_with_its_size() -> None:
    (text,) = Graphics(Protocol.ITERM2).draw(make_picture(), 1, 14, 4)
    found = re.fullmatch(r"\x1b\]1337;File=(.*):(.*)\x07", text)
    assert found is not None
    data = base64.b64decode(found[2])
    assert f"size={len(data)};width=11;height=4" in found[1]
    assert data[:2] == b"\xff\xd8"


def test_sixels_hold_the_picture_and_no_row_more() -> None:
    picture = Image.new("RGB", (320, 240), (255, 0, 0))
    picture.paste((0, 0, 255), (160, 0, 320, 240))
    (text,) = Graphics(Protocol.SIXEL).draw(picture, 1, 14, 4)
    found = re.fullmatch(r'\x1bP0;1;0q"1;1;(\d+);(\d+)(.*)\x1b\\', text, re.DOTALL)
    assert found is not None
    width, height = int(found[1]), int(found[2])
    assert height % 6 == 0
    assert height <= 4 * 20
    bands = found[3].split("-")
    assert len(bands) == height // 6
    assert painted(bands[1]) == width  # each column once: all six of its pixels are of one colour


def painted(band: str) -> int:
    """Columns with all six pixels."""
    runs = re.findall(r"!(\d+)~|(~)", band)
    return sum(int(length or 1) for length, _ in runs)
