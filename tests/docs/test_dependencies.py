"""What is imported is declared in pyproject.toml, and what is declared is imported.

A package that only another one brings along goes away with that other one's next version.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from typing import Any

from tests.docs.reference import ROOT

_PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_SHIPPED = ("broker", "demo", "engine", "gateway", "moondream2", "schemas", "service")
_NOT_SHIPPED = ("bench", "tests")
#: Needed without an import, and why.
_UNSEEN = {
    "aiosqlite": "the driver in SQLAlchemy's URL",
    "asyncpg": "the driver in SQLAlchemy's URL",
    "amqtt": "run as a program",
    "torchao": "imported by name where weights are quantized",
    "transformers": "declared until the engine that runs its models is here",
}
#: Run in environments of their own, see tests/frigate/requirements.txt.
_RUN_ELSEWHERE = {
    ROOT / "tests" / "frigate" / "application.py",
    *(ROOT / "tests" / "clients").glob("*_provider.py"),
}
#: Run as programs or loaded by pytest and mypy.
_TOOLS = {
    "import-linter",
    "mypy",
    "pytest-timeout",
    "ruff",
    "setuptools",
    "types-psutil",
    "types-pyyaml",
}
#: Stand in environments of their own, see `tests/homeassistant/environments.py`.
_ELSEWHERE = {"homeassistant"}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _names(requirements: list[str]) -> set[str]:
    return {_normal(re.split(r"[^\w.-]", each, maxsplit=1)[0]) for each in requirements}


_EXTRAS = _PROJECT["optional-dependencies"]
_RUNTIME = _names(_PROJECT["dependencies"])
_OPTIONAL = {name for extra in _EXTRAS if extra != "dev" for name in _names(_EXTRAS[extra])}
_DEV = _names(_EXTRAS["dev"])


def _imports(*packages: str) -> Iterator[str]:
    """Top-level names of what is not ours and not Python's own."""
    for package in packages:
        for path in sorted({*(ROOT / package).rglob("*.py")} - _RUN_ELSEWHERE):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                modules = [each.name for each in node.names] if isinstance(node, ast.Import) else []
                if isinstance(node, ast.ImportFrom):
                    modules = [node.module or ""]
                yield from (each.partition(".")[0] for each in modules)


def _distributions(*packages: str) -> set[str]:
    known = packages_distributions()
    foreign = set(_imports(*packages)) - {*_SHIPPED, *_NOT_SHIPPED, *sys.stdlib_module_names}
    return {_normal(name) for each in foreign for name in known.get(each, [each])}


def test_what_the_package_imports_is_declared() -> None:
    assert _distributions(*_SHIPPED) <= _RUNTIME | _OPTIONAL


def test_what_the_tests_import_is_declared() -> None:
    assert _distributions(*_NOT_SHIPPED) <= _RUNTIME | _OPTIONAL | _DEV | _ELSEWHERE


def test_what_is_declared_is_imported() -> None:
    assert (_RUNTIME | _OPTIONAL) - _distributions(*_SHIPPED) == _UNSEEN.keys()
    assert _DEV - _distributions(*_NOT_SHIPPED) - _OPTIONAL == _TOOLS


def test_what_is_declared_has_a_tested_version() -> None:
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    elsewhere = {"torch", "torchao"}  # the first is pinned above, the other never tried
    assert {*map(_normal, pinned)} | elsewhere >= _RUNTIME | _OPTIONAL | _DEV
