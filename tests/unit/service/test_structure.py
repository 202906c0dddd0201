"""The shape of the code: short functions, few arguments, a typed composition, closed mouths."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted((ROOT / "service").rglob("*.py"))
MOST_LINES = 60
MOST_ARGUMENTS = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def functions(path: Path) -> Iterator[Function]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, Function):
            yield node


def length(function: Function) -> int:
    """Lines of what it does: a command's options and a docstring are no work."""
    has_docstring = ast.get_docstring(function) is not None
    body = function.body[1:] if has_docstring else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_functions_are_short(path: Path) -> None:
    long = {each.name: length(each) for each in functions(path) if length(each) > MOST_LINES}
    assert long == {}


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_constructors_have_few_arguments(path: Path) -> None:
    """Who needs more does two jobs, or should be handed one part that exists already."""
    numbers = [
        len(each.args.posonlyargs) + len(each.args.args) + len(each.args.kwonlyargs) - 1
        for each in functions(path)
        if each.name == "__init__"
    ]
    assert all(number <= MOST_ARGUMENTS for number in numbers), numbers


@pytest.mark.parametrize("name", ["app", "stages", "parts", "tasks", "monitor"])
def test_composition_is_typed(name: str) -> None:
    tree = ast.parse((ROOT / "service" / f"{name}.py").read_text(encoding="utf-8"))
    names = [node.id for node in ast.walk(tree) if isinstance(node, ast.Name)]
    assert "Any" not in names


def quoted(handler: ast.ExceptHandler) -> Iterator[str]:
    """Where the text of a caught error is put into words."""
    raised = {
        id(each)
        for node in ast.walk(handler)
        if isinstance(node, ast.Raise)
        for each in ast.walk(node)
    }
    for node in ast.walk(handler):
        is_text = isinstance(node, ast.FormattedValue) or (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in {"str", "repr", "format"}
        )
        if not is_text or id(node) in raised:
            continue
        words = ast.unparse(node)
        if f"type({handler.name})" not in words and re.search(rf"\b{handler.name}\b", words):
            yield words


@pytest.mark.parametrize("package", ["broker", "engine", "service"])
def test_text_of_an_error_nobody_foresaw_goes_nowhere_but_into_its_traceback(package: str) -> None:
    """It may hold a secret, and documents and `bridge/log` are published."""
    found = [
        f"{name_of(path)}:{handler.lineno} {words}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for handler in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(handler, ast.ExceptHandler)
        and handler.name is not None
        and isinstance(handler.type, ast.Name)
        and handler.type.id in {"Exception", "BaseException"}
        for words in quoted(handler)
    ]
    assert found == []
