"""The blueprints as files; `make test-homeassistant` runs them."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.frame import Priority, Task
from service.homeassistant.camera import camera_device
from service.homeassistant.words import Language, Words
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


def test_the_page_has_the_names_of_both_languages() -> None:
    """Names of a camera's entities, in the order of the page's table."""
    rows = re.findall(r"^\| ([^|]+) \| ([^|]+) \| [^|]+ \|$", _PAGE.read_text(), re.MULTILINE)
    said = [
        pair
        for english, german in rows
        for pair in zip(english.split(", "), german.split(", "), strict=True)
        if pair != ("Of a camera", "In German")
    ]
    english, german = (_names(each) for each in ("en", "de"))
    assert len(said) == len(english)
    assert set(said) == set(zip(english, german, strict=True))


def _names(language: Language) -> list[object]:
    tasks = tuple(Task.model_validate(each) for each in ("caption", {"detect": "person"}))
    settings = CameraSettings(
        publish_image=True, tasks=tasks, snapshot_url="http://camera.local/picture.jpg"
    )
    topics = Topics("moondream2mqtt")
    words = Words(language)
    device = camera_device(topics, words, "front_door", settings, version="1", is_in_file=False)
    return [each["name"] for each in device.components.values()]
