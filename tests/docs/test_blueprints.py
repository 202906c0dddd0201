"""The blueprints as files; `make test-homeassistant` runs them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from schemas.frame import Priority
from tests.docs.reference import ROOT

_FILES = sorted((ROOT / "homeassistant" / "blueprints" / "automation").glob("*/*.yaml"))
_PAGE = ROOT / "docs" / "how-to" / "home-assistant.md"


class _Input(str):
    """The name that stands behind `!input`."""

    __slots__ = ()


class _Loader(yaml.SafeLoader):
    """Knows Home Assistant's tag."""


_Loader.add_constructor("!input", lambda loader, node: _Input(node.value))


def _load(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(path.read_text(), _Loader)  # noqa: S506 - a safe one
    return document


def _used(part: object) -> Iterator[str]:
    if isinstance(part, _Input):
        yield str(part)
    elif isinstance(part, dict):
        for each in part.values():
            yield from _used(each)
    elif isinstance(part, list):
        for each in part:
            yield from _used(each)


def _inputs(inputs: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Those of sections, too."""
    for name, about in inputs.items():
        if "input" in about:
            yield from _inputs(about["input"])
        else:
            yield name, about


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_every_input_is_described_and_used(path: Path) -> None:
    document = _load(path)
    about = document.pop("blueprint")
    inputs = dict(_inputs(about["input"]))
    assert set(_used(document)) == set(inputs)
    assert all(each["name"] and each["selector"] for each in inputs.values())
    assert about["domain"] == "automation"
    oldest = about["homeassistant"]["min_version"].removesuffix(".0")
    assert f"Home Assistant {oldest}" in _PAGE.read_text()


@pytest.mark.parametrize("path", _FILES, ids=lambda path: path.stem)
def test_the_page_names_it(path: Path) -> None:
    assert path.name in _PAGE.read_text()


def test_priorities_are_those_of_frames() -> None:
    [notify] = [path for path in _FILES if path.stem == "notify_caption"]
    inputs = dict(_inputs(_load(notify)["blueprint"]["input"]))
    options = inputs["min_priority"]["selector"]["select"]["options"]
    assert options == [each.wire for each in sorted(Priority)]
