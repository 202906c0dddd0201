"""Text from outside, as a terminal may have it: it obeys control characters wherever they stand."""

import json
from typing import Any


def one_line(text: str) -> str:
    """The text without line ends, nor anything else that a terminal would obey."""
    return "".join(letter if letter.isprintable() else " " for letter in " ".join(text.split()))


def as_json(content: Any, *, indent: int | None = 2) -> str:
    """JSON with escapes for what a terminal would obey or cannot show; no indent: one line."""
    text = json.dumps(content, indent=indent, ensure_ascii=False)
    return "".join(
        letter if letter.isprintable() or letter == "\n" else json.dumps(letter)[1:-1]
        for letter in text
    )
