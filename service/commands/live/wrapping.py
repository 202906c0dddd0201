"""Text from outside in lines of so many cells.

Measured in cells, not letters: a letter of Chinese takes two, a combining accent none. What a
terminal would obey is taken out here, so nothing that went through can do harm.
"""

from functools import lru_cache

from rich.cells import cell_len, chop_cells, set_cell_size

from service.commands.terminal import one_line

_ELLIPSIS = "…"
_MAX_LETTERS = 2000  # of one text; letters without width would make a line of any length


def harmless(text: str) -> str:
    """The text on one line, without anything that a terminal would obey."""
    return _harmless(text[:_MAX_LETTERS])  # cut first: the cache keeps what it is asked for


def wrap(text: str, width: int) -> tuple[str, ...]:
    """Harmless lines of at most `width` cells, broken between words where there are words."""
    return _wrapped(harmless(text), width)


@lru_cache(maxsize=512)  # the same captions are asked for at every refresh
def _harmless(text: str) -> str:
    return one_line(text).strip()


@lru_cache(maxsize=512)
def _wrapped(text: str, width: int) -> tuple[str, ...]:
    lines: list[str] = []
    line = ""
    for word in _words(text, width):
        longer = f"{line} {word}" if line else word
        if cell_len(longer) <= width:
            line = longer
        else:
            lines.append(line)
            line = word
    return (*lines, line) if line else tuple(lines)


def fit(lines: tuple[str, ...], num_lines: int, width: int) -> list[str]:
    """At most `num_lines` of the lines; an ellipsis ends the last one where some are left out."""
    if len(lines) <= num_lines:
        return list(lines)
    if num_lines < 1:
        return []
    kept = list(lines[:num_lines])
    if cell_len(kept[-1]) >= width and " " in kept[-1]:
        kept[-1] = kept[-1].rpartition(" ")[0]  # a whole word makes room for the ellipsis
    kept[-1] = crop(f"{kept[-1]}{_ELLIPSIS}", width)
    return kept


def crop(text: str, width: int) -> str:
    """The text in at most `width` cells, with an ellipsis where it is cut."""
    if cell_len(text) <= width:
        return text
    if width < 1:
        return ""
    return set_cell_size(text, width - 1).rstrip(f" {_ELLIPSIS}") + _ELLIPSIS


def _words(text: str, width: int) -> list[str]:
    words: list[str] = []
    for word in text.split():
        words += [word] if cell_len(word) <= width else chop_cells(word, max(2, width))
    return words
