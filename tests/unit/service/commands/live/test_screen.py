"""What is written to a terminal, read back by a small terminal of the test's own."""

import re

import pytest
from PIL import Image
from rich.console import Console
from rich.text import Text

from service.commands.live.frame import Frame, Place, Row
from service.commands.live.graphics import Graphics, Protocol
from service.commands.live.screen import Screen
from tests.support.factories import make_picture

_TOKEN = re.compile(
    r"\x1b\[(\d+);(\d+)H|(\x1b\[2J)|(\x1b\[2K)|(\x1b\[K)|(\x1b_G.*?\x1b\\)|\x1b\[[?\d;]*[a-zA-Z]|(.)",
    re.DOTALL,
)


class LittleTerminal:
    """Cells, and what became of pictures; a picture is P in the cell where it begins."""

    def __init__(self, width: int, height: int) -> None:
        self.cells = [[" "] * width for _ in range(height)]
        self.num_written = 0
        self.num_pictures = 0

    def write(self, text: str) -> None:
        row = column = 0
        for found in _TOKEN.finditer(text):
            if found[1]:
                row, column = int(found[1]) - 1, int(found[2]) - 1
            elif found[3]:
                self.cells = [[" "] * len(line) for line in self.cells]
            elif found[4]:
                self.cells[row] = [" "] * len(self.cells[row])
            elif found[5]:
                self.cells[row][column:] = " " * len(self.cells[row][column:])
            elif found[6]:
                if "a=T" in found[6]:
                    self.num_pictures += 1
                    self.cells[row][column] = "P"
                elif "a=d" in found[6]:
                    self.num_pictures -= 1
            elif found[7]:
                self.num_written += 1
                # Behind the last cell the cursor stays on it, where erasing would take the letter.
                self.cells[row][min(column, len(self.cells[row]) - 1)] = found[7]
                column = min(column + 1, len(self.cells[row]) - 1)

    @property
    def lines(self) -> list[str]:
        return ["".join(row).rstrip() for row in self.cells]


def make_screen(protocol: Protocol = Protocol.NONE, color_system: str | None = None) -> Screen:
    console = Console(force_terminal=color_system is not None, color_system=color_system)  # type: ignore[arg-type]
    return Screen(console, Graphics(protocol, has_true_color=True))


def frame_of(*lines: str) -> Frame:
    return Frame([Row(Text(line)) for line in lines])


def pictured(text: str, picture: Image.Image, row: int = 0) -> Frame:
    rows = [Row(Text("head"))] * row + [Row(Text(text), 5), Row(Text("below"), 5)]
    return Frame(rows, [Place("front", row, 0, 4, 2, picture)])


def test_only_lines_that_changed_are_written() -> None:
    screen, terminal = make_screen(), LittleTerminal(10, 3)
    terminal.write(screen.paint(frame_of("one", "two"), 10, 3))
    assert terminal.lines == ["one", "two", ""]
    terminal.num_written = 0
    terminal.write(screen.paint(frame_of("one", "four"), 10, 3))
    assert terminal.lines == ["one", "four", ""]
    assert terminal.num_written == 4
    assert screen.paint(frame_of("one", "four"), 10, 3) == ""


def test_change_of_colour_alone_is_written() -> None:
    screen = make_screen(color_system="256")
    assert "\x1b[31mone" in screen.paint(Frame([Row(Text("one", "red"))]), 10, 1)
    assert "\x1b[32mone" in screen.paint(Frame([Row(Text("one", "green"))]), 10, 1)


def test_full_line_keeps_its_last_letter() -> None:
    screen, terminal = make_screen(), LittleTerminal(5, 1)
    terminal.write(screen.paint(frame_of("12345"), 5, 1))
    assert terminal.lines == ["12345"]
    terminal.write(screen.paint(frame_of("1"), 5, 1))
    assert terminal.lines == ["1"]


def test_other_size_is_painted_anew() -> None:
    screen, terminal = make_screen(), LittleTerminal(10, 3)
    terminal.write(screen.paint(frame_of("one", "two", "three"), 10, 3))
    smaller = LittleTerminal(4, 2)
    smaller.write(screen.paint(frame_of("one", "four"), 4, 2))
    assert smaller.lines == ["one", "four"]


def test_without_colours_none_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    screen = make_screen(color_system="truecolor")
    written = screen.paint(Frame([Row(Text("one", "bold red"))]), 10, 1)
    assert "one" in written
    assert "31m" not in written
    assert "\x1b[1m" in written


def test_text_beside_a_picture_changes_without_the_picture() -> None:
    screen, terminal = make_screen(Protocol.KITTY), LittleTerminal(20, 5)
    picture = make_picture()
    terminal.write(screen.paint(pictured("1 s ago", picture), 20, 5))
    assert terminal.lines[0] == "P    1 s ago"
    written = screen.paint(pictured("2 s ago", picture), 20, 5)
    terminal.write(written)
    assert terminal.lines[0] == "P    2 s ago"
    assert "\x1b_G" not in written


def test_new_picture_is_drawn_in_the_place_of_the_old_one() -> None:
    screen, terminal = make_screen(Protocol.KITTY), LittleTerminal(20, 5)
    terminal.write(screen.paint(pictured("text", make_picture(1)), 20, 5))
    written = screen.paint(pictured("text", make_picture(2)), 20, 5)
    assert "a=T" in written
    assert "a=d" not in written


def test_picture_that_moves_is_removed_where_it_was() -> None:
    screen, terminal = make_screen(Protocol.KITTY), LittleTerminal(20, 6)
    picture = make_picture()
    terminal.write(screen.paint(pictured("text", picture), 20, 6))
    terminal.write(screen.paint(pictured("text", picture, row=2), 20, 6))
    assert terminal.lines == ["head", "head", "P    text", "     below", "", ""]
    assert terminal.num_pictures == 1
    terminal.write(screen.paint(frame_of("no picture"), 20, 6))
    assert terminal.lines[0] == "no picture"
    assert terminal.num_pictures == 0


def test_no_picture_stays_behind() -> None:
    screen, terminal = make_screen(Protocol.KITTY), LittleTerminal(20, 5)
    terminal.write(screen.paint(pictured("text", make_picture()), 20, 5))
    terminal.write(screen.removal())
    assert terminal.num_pictures == 0


def test_half_blocks_stand_in_their_cells() -> None:
    screen, terminal = make_screen(Protocol.HALF_BLOCKS, "truecolor"), LittleTerminal(20, 5)
    terminal.write(screen.paint(pictured("text", make_picture(size=(320, 320))), 20, 5))
    assert terminal.lines[:2] == ["▀▀▀▀ text", "▀▀▀▀ below"]
