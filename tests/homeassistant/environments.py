"""Which Home Assistants are tried, and the environments they run in.

    python -m tests.homeassistant.environments [VERSION]...

makes those that are missing, one after the other; they are not ours to install into `.venv`, where
their pinned packages would meet ours. A version whose Python is not on this machine is left out.
"""

import argparse
import os
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.interpreters import find_python

ROOT = Path(__file__).resolve().parents[2]
#: Names the versions that the tests run against, with blanks between; without it, none.
VARIABLE = "HOMEASSISTANT_VERSIONS"


@dataclass(frozen=True, slots=True)
class Version:
    """A version, with what it needs beside what it declares."""

    number: str
    python: str
    packages: tuple[str, ...]
    discovery: Literal["device", "components"]  #: as in `homeassistant.discovery`
    pip_options: tuple[str, ...] = ()
    takes_entity_ids: bool = False  #: as discovery proposes them; before, they follow the names

    @property
    def environment(self) -> Path:
        return ROOT / f".venv-homeassistant-{self.number}"

    @property
    def interpreter(self) -> Path:
        return self.environment / "bin" / "python"

    @property
    def is_installed(self) -> bool:
        return self._mark.exists() and self._mark.read_text() == self._wanted

    @property
    def _mark(self) -> Path:
        return self.environment / ".ready"

    @property
    def _wanted(self) -> str:
        return "\n".join((f"homeassistant=={self.number}", *self.packages))

    def install(self, base: str) -> None:
        """Make the environment; the mark comes last, so an interrupted one is taken up again.

        Raises:
            subprocess.CalledProcessError: pip has said why.
        """
        subprocess.run([base, "-m", "venv", self.environment], check=True)
        pip = [str(self.interpreter), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, *self.pip_options, *self._wanted.split()], check=True)
        self._mark.write_text(self._wanted)


#: The first is the last for its Python and knows discovery of single components only, the second is
#: among the first that know that of devices, the third is the newest for its Python.
VERSIONS = (
    Version(
        "2024.3.3",
        "3.11",
        ("paho-mqtt==1.6.1", "janus==1.0.0", "numpy==1.26.0", "PyTurboJPEG==1.7.1"),
        "components",
    ),
    Version("2024.12.5", "3.12", ("paho-mqtt==1.6.1",), "device"),
    Version(
        "2026.2.3",
        "3.13",
        (
            "paho-mqtt==2.1.0",
            # Of its integration ollama, and of those that this depends on.
            *("ollama==0.5.1", "hassil==3.5.0", "home-assistant-intents==2026.1.28"),
            "PyTurboJPEG==1.8.0",
        ),
        "device",
        # It asks for 3.13.2 and runs on 3.13.0 as well.
        ("--ignore-requires-python",),
        takes_entity_ids=True,
    ),
)
NEWEST = VERSIONS[-1]


def chosen() -> list[Version]:
    """Those that the environment variable names."""
    names = os.environ.get(VARIABLE, "").split()
    return [version for version in VERSIONS if version.number in names]


def main(words: Sequence[str] | None = None) -> None:
    """Make what is missing, and say what was done."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    numbers = [version.number for version in VERSIONS]
    parser.add_argument("versions", nargs="*", metavar="VERSION", help=", ".join(numbers))
    asked = parser.parse_args(words).versions or numbers
    if unknown := set(asked) - set(numbers):
        parser.error(f"{', '.join(sorted(unknown))}: only {', '.join(numbers)} are tried")
    for version in VERSIONS:
        if version.number in asked:
            print(f"Home Assistant {version.number}: {_make(version)}", flush=True)


def _make(version: Version) -> str:
    if version.is_installed:
        return "is there"
    base = find_python(version.python)
    if base is None:
        return f"left out, there is no Python {version.python}"
    print(f"Home Assistant {version.number}: is installed", flush=True)
    began = time.monotonic()
    version.install(base)
    return f"installed in {time.monotonic() - began:.0f} s"


if __name__ == "__main__":
    main()
