"""The wheel holds what runs and nothing else, and runs where there is no source beside it."""

import ast
import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.reference import ROOT

PACKAGES = ("broker", "demo", "engine", "gateway", "moondream2", "schemas", "service")
_BUILD = "import sys, setuptools.build_meta as backend; print(backend.build_wheel(sys.argv[1]))"
_SKIPPED = shutil.ignore_patterns("__pycache__")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, which takes what the builder leaves behind, and unpacked."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "bench", "tests"):
        shutil.copytree(ROOT / name, source / name, ignore=_SKIPPED)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    subprocess.run([sys.executable, "-c", _BUILD, target], cwd=source, check=True)
    [built] = target.glob("*.whl")
    with zipfile.ZipFile(built) as archive:
        archive.extractall(target / "unpacked")
    return target / "unpacked"


def test_wheel_holds_what_runs_and_nothing_else(wheel: Path) -> None:
    expected = {file for package in PACKAGES for file in _files(ROOT, package)}
    expected = {file for file in expected if not file.startswith("demo/training/")}
    there = {file for folder in wheel.iterdir() for file in _files(wheel, folder.name)}
    assert {file for file in there if ".dist-info/" not in file} == expected
    assert f"moondream2mqtt-{_version()}.dist-info/licenses/LICENSE" in there


def test_wheel_imports_nothing_that_it_lacks(wheel: Path) -> None:
    there = {file.removesuffix(".py").removesuffix("/__init__") for file in _files(wheel, "")}
    for name in _imported(wheel):
        if name.split("/")[0] in (*PACKAGES, "bench", "tests"):
            assert name in there or name.rpartition("/")[0] in there, name


@pytest.mark.timeout(150)  # the demo gives itself two minutes
def test_wheel_runs_in_an_empty_folder(wheel: Path, tmp_path: Path) -> None:
    assert _run(wheel, tmp_path, "--version").strip() == f"moondream2mqtt {_version()}"
    assert len(_run(wheel, tmp_path, "demo", "--frames", "3").splitlines()) == 3


def _run(wheel: Path, folder: Path, *words: str) -> str:
    """Run the command from the wheel: its place comes before that of the source."""
    program = (
        f"import service.cli as cli; assert cli.__file__.startswith({str(wheel)!r}); cli.main()"
    )
    variables = {**os.environ, "PYTHONPATH": str(wheel), "PYTHONSAFEPATH": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def _files(folder: Path, package: str) -> set[str]:
    files = [file for file in (folder / package).rglob("*") if file.is_file()]
    return {str(file.relative_to(folder)) for file in files if "__pycache__" not in file.parts}


def _imported(wheel: Path) -> Iterator[str]:
    """Modules, and names taken from modules, as paths."""
    for path in wheel.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                yield from (each.name.replace(".", "/") for each in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [f"{node.module}.{each.name}" for each in node.names]
                yield from (name.replace(".", "/") for name in names)


def _version() -> str:
    version: str = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return version
