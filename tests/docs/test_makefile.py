"""`make setup` with programs that only note their calls: what it installs on which machine."""

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.reference import ROOT
from tests.pythons import versions
from tests.support.mosquitto import MISSING

# In the place of Python: makes environments of itself, and "installs" a uv that succeeds or fails.
_PYTHON = """#!/bin/bash
echo "python $*" >> {log}
case "$*" in
    *ensurepip*) ;;
    "-m venv "*) mkdir -p "$3/bin"; cp {folder}/python "$3/bin/python" ;;
    *" uv") echo '{uv}' > "${{0%python}}uv"; chmod +x "${{0%python}}uv" ;;
esac
"""
_UV = '#!/bin/bash\necho "uv $*" >> {log}; {ending}'


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a set-up said and called."""

    text: str
    calls: list[str]

    def installs(self) -> list[str]:
        """What is installed by what, in order."""
        found = re.findall(r"^(python|uv) .*install .*?(\S+)$", "\n".join(self.calls), re.MULTILINE)
        return [f"{program} {package}" for program, package in found]


def set_up(folder: Path, *variables: str, uv: str = "true") -> Outcome:
    """Run it where there is neither Mosquitto nor apt-get."""
    log = folder / "log"
    stub = _PYTHON.format(log=log, folder=folder, uv=_UV.format(log=log, ending=uv))
    (folder / "python").write_text(stub)
    (folder / "python").chmod(0o755)
    for name in ("bash", "chmod", "cp", "mkdir", "touch", "uname", "id"):
        (folder / name).symlink_to(shutil.which(name) or pytest.fail(name))
    make = shutil.which("make") or pytest.skip("make is not installed")
    fixed = (f"VENV={folder / 'venv'}", f"PYTHON={folder / 'python'}", f"PATH={folder}")
    ended = subprocess.run(
        [make, "-C", ROOT, "setup", "IS_APT_ROOT=false", *fixed, *variables],
        capture_output=True,
        text=True,
        env={"PATH": str(folder)},
    )
    assert ended.returncode == 0, ended.stderr
    return Outcome(ended.stdout + ended.stderr, log.read_text().splitlines())


def test_setup_without_mosquitto_says_how_to_get_it_and_goes_on(tmp_path: Path) -> None:
    assert MISSING in set_up(tmp_path).text


def test_setup_without_a_driver_takes_the_build_for_cpus(tmp_path: Path) -> None:
    outcome = set_up(tmp_path, "HAS_DRIVER=false")
    assert outcome.installs() == [
        "python uv",
        "uv torch==2.13.0",
        "python torch==2.13.0",
        "python .[dev]",
        "python moondream==2.6.1",
    ]
    [call] = [each for each in outcome.calls if each.startswith("uv ")]
    assert "--torch-backend=cpu" in call
    assert "PyTorch's build" not in outcome.text


def test_setup_that_cannot_have_the_build_for_cpus_says_so_and_goes_on(tmp_path: Path) -> None:
    outcome = set_up(tmp_path, "HAS_DRIVER=false", uv="exit 2")
    assert "PyTorch's build for cpu could not be had" in outcome.text
    assert outcome.installs()[-3:] == [
        "python torch==2.13.0",
        "python .[dev]",
        "python moondream==2.6.1",
    ]


@pytest.mark.parametrize(
    "variables", [["HAS_DRIVER=true"], ["HAS_DRIVER=false", "TORCH_ARGS=--pre"], ["TORCH=cuda"]]
)
def test_setup_takes_what_pip_finds(tmp_path: Path, variables: list[str]) -> None:
    outcome = set_up(tmp_path, *variables)
    assert outcome.installs() == [
        "python torch==2.13.0",
        "python .[dev]",
        "python moondream==2.6.1",
    ]


def test_makefile_looks_for_the_pythons_of_the_package() -> None:
    text = (ROOT / "Makefile").read_text()
    [names] = re.findall(r"for name in python3 (.*); do", text)
    assert sorted(names.split()) == sorted(f"python{version}" for version in versions())
    first, last = versions()[0], versions()[-1]
    assert f"Python {first} to {last} is needed" in text
    after = f"3.{int(last.removeprefix('3.')) + 1}"
    required = f">={first},<{after}"
    assert f'requires-python = "{required}"' in (ROOT / "pyproject.toml").read_text()
