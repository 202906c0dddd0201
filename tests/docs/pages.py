"""The blocks of a page of the documentation, in order, and the commands in them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w.-]+\.\w+)`:\s*\Z")
_CONTINUES = re.compile(r"(?<=[\\|])\n")


@dataclass(frozen=True, slots=True)
class Block:
    """What a reader copies at once."""

    language: str
    code: str
    #: The file it is put into: the sentence above ends with its name, as in "Into `config.yaml`:".
    file: str | None


def blocks(page: Path) -> Iterator[Block]:
    """Those of a page, from top to bottom."""
    text = page.read_text(encoding="utf-8")
    for found in _BLOCK.finditer(text):
        named = _FILE.search(text[: found.start()])
        yield Block(found[1], found[2], named[1] if named else None)


def commands(code: str) -> Iterator[str]:
    """Of a block for the shell, those on several lines whole, as the shell takes them."""
    for line in _CONTINUES.sub("\0", code).splitlines():
        if line.strip():
            yield line.replace("\0", "\n")
