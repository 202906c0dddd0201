"""Run the tests on every Python that the package is for and that is installed.

Run as `python -m tests.pythons [PYTEST_ARGUMENT ...]`. Each has an environment of its own,
`.venv-python3.x`, that `make` sets up as it does the usual one.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.interpreters import find_python

ROOT = Path(__file__).parents[1]
_CLASSIFIER = "Programming Language :: Python :: 3."


def versions() -> list[str]:
    """The Pythons that the package is for, as 3.x, oldest first."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    minors = [each.removeprefix(_CLASSIFIER) for each in project["classifiers"]]
    return [f"3.{minor}" for minor in minors if minor.isdecimal()]


def main(arguments: list[str]) -> int:
    """Run them and print one line each at the end; the exit status is 1 where one failed."""
    outcomes = {version: _run(version, arguments) for version in versions()}
    print("\n".join(f"Python {version}: {outcome}" for version, outcome in outcomes.items()))
    ran = set(outcomes.values()) - {_MISSING}
    return int(ran != {_PASSED})


_MISSING, _PASSED, _FAILED = "not installed", "passed", "failed"


def _run(version: str, arguments: list[str]) -> str:
    python = find_python(version)
    if python is None:
        return _MISSING
    print(f"== Python {version}: {python}", flush=True)
    variables = [f"VENV=.venv-python{version}", f"PYTHON={python}", f"ARGS={' '.join(arguments)}"]
    ended = subprocess.run(["make", "--no-print-directory", "test", *variables], cwd=ROOT)
    return _PASSED if ended.returncode == 0 else _FAILED


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
