"""What a terminal would obey never reaches it."""

import json

from service.commands.terminal import as_json, one_line


def test_one_line_leaves_nothing_a_terminal_obeys() -> None:
    assert one_line("a\nb\x1b[2J\tc\u202e") == "a b [2J c "


def test_json_escapes_what_a_terminal_obeys_and_says_the_same() -> None:
    content = {"caption": "ä\x1b[2J\x9b\u202e\ud800\U000e0001\n"}
    text = as_json(content)
    assert all(letter.isprintable() or letter == "\n" for letter in text)
    assert "ä" in text
    assert json.loads(text) == content


def test_json_without_indent_is_one_line() -> None:
    content = {"image": "a\nb\x1b]0;x\udcff.jpg", "points": [1, 2]}
    text = as_json(content, indent=None)
    assert text.isprintable()
    assert json.loads(text) == content
