"""What is written from the code, and what lists things of the code by hand, is complete."""

import ast
import re
from collections.abc import Callable, Iterator

import pytest
from pydantic import BaseModel

from schemas.frame import MotionFrame
from schemas.result import Result
from schemas.status import Stats, StatusDocument
from service.configuration import load_settings
from service.settings import Settings
from tests.docs.reference import PARTS, ROOT, example, part_of
from tests.support.setting_bounds import numerics

#: Calls that give a code to the sender of a frame, beside every `…Error` with one.
_CALLS = {"ErrorDetail", "_ended", "drop"}
_CODE = re.compile(r"[a-z]+(_[a-z0-9]+)*")
#: Raised towards the operator or inside the service, never seen in a status.
_INTERNAL = {
    "bad_frame",
    "broker",
    "configuration",
    "delivery",
    "device_unavailable",
    "engine_full",
    "engine_unavailable",
    "instance_in_use",
    "model_download",
    "model_file",
    "model_quantize",
    "model_replaced",
    "receiver_gone",
    "refused",
    "store",
    "store_full",
    "too_large",
}


@pytest.mark.parametrize(("file", "name", "render"), PARTS, ids=[part[1] for part in PARTS])
def test_generated_part_is_what_the_code_says(
    file: str, name: str, render: Callable[[], str]
) -> None:
    assert part_of((ROOT / file).read_text(), name) == render(), "renew it with `make docs`"


def test_example_configuration_is_what_the_code_says() -> None:
    assert (ROOT / "config.example.yaml").read_text() == example(), "renew it with `make docs`"


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


def test_error_codes_are_those_of_the_code() -> None:
    cells = re.findall(r"^\| (`[^|]*) \|", _section("Error codes"), re.MULTILINE)
    listed = {code for cell in cells for code in re.findall(r"`(\w+)`", cell)}
    assert listed == set(_codes()) - _INTERNAL


def _section(heading: str) -> str:
    text = (ROOT / "docs/topics.md").read_text()
    return text.split(f"\n## {heading}\n")[1].split("\n## ")[0]


def _codes() -> Iterator[str]:
    for folder in ("broker", "service"):
        for path in (ROOT / folder).rglob("*.py"):
            if "commands" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                yield from _codes_of(node)


def _codes_of(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
        called = node.func.id if isinstance(node.func, ast.Name) else called
        if called in _CALLS or called.endswith("Error"):
            named = [each.value for each in node.keywords if each.arg == "code"]
            yield from filter(_CODE.fullmatch, map(_text, (*node.args, *named)))
    if isinstance(node, ast.Assign) and [_name(each) for each in node.targets] == ["code"]:
        yield from filter(None, [_text(node.value)])


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else ""
