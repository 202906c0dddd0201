"""What is written from the code, and what lists things of the code by hand, is complete."""

import re
from collections.abc import Callable

import pytest
from pydantic import BaseModel

from schemas.frame import MotionFrame
from schemas.result import Result
from schemas.status import Stats, StatusDocument
from service.configuration import load_settings
from service.settings import Settings
from tests.docs.reference import PARTS, ROOT, files, generated, part_of
from tests.support.setting_bounds import numerics


@pytest.mark.parametrize(("file", "name", "render"), PARTS, ids=[part[1] for part in PARTS])
def test_generated_part_is_what_the_code_says(
    file: str, name: str, render: Callable[[], str]
) -> None:
    assert part_of((ROOT / file).read_text(), name) == render(), "renew it with `make docs`"


def test_generated_files_are_what_the_code_says() -> None:
    expected = files()
    there = {file: (ROOT / file).read_text() for file in generated() if (ROOT / file).exists()}
    assert there.keys() == expected.keys(), "renew them with `make docs`"
    old = [file for file, text in expected.items() if there[file] != text]
    assert not old, "renew them with `make docs`"


def test_example_configuration_changes_nothing() -> None:
    assert load_settings(ROOT / "config.example.yaml") == Settings()


def test_every_range_has_its_reason() -> None:
    section = (ROOT / "docs/settings.md").read_text().split("\n## Ranges\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    listed = [path for cell in cells for path in re.findall(r"`([^`]+)`", cell)]
    assert sorted(listed) == sorted(each.path for each in numerics())


@pytest.mark.parametrize(
    ("heading", "model"),
    [
        ("Frames in", MotionFrame),
        ("`status`", StatusDocument),
        ("`caption`", Result),
        ("`bridge`", Stats),
    ],
)
def test_table_of_fields_lists_every_field_and_no_other(
    heading: str, model: type[BaseModel]
) -> None:
    section = _section(heading)
    cells = re.findall(r"^\| (`[^|]*) \|", section, re.MULTILINE)
    listed = {name for cell in cells for name in re.findall(r"`(\w+)`", cell)}
    assert listed == set(model.model_fields)


def _section(heading: str) -> str:
    text = (ROOT / "docs/topics.md").read_text()
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
