"""The Pythons of this machine."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path


def find_python(version: str) -> str | None:
    """An interpreter of this version that runs and can make environments, from PATH or pyenv."""
    return next((path for path in _candidates(version) if _runs(path)), None)


def _candidates(version: str) -> Iterator[str]:
    if found := shutil.which(f"python{version}"):
        yield found
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for folder in sorted(pyenv.glob(f"versions/{version}.*")):
        yield str(folder / "bin" / f"python{version}")


def _runs(path: str) -> bool:
    """A shim of pyenv is there for versions that are not switched on, and fails."""
    try:
        ended = subprocess.run([path, "-c", "import venv, ensurepip"], capture_output=True)
    except OSError:
        return False
    return ended.returncode == 0
