"""What becomes of a file whose frames are stored: it stays, goes, or is moved."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from service.folders.scan import Found

_MOST_NAMES = 1000  # tried where a file of that name is there already


def moved_to(folder: Path, after: str) -> Path | None:
    """Where files go; None where they are not moved."""
    kind, _, target = after.partition(":")
    return folder / target if kind == "move" else None


def clear_away(folder: Path, found: Found, after: str) -> None:
    """Do what `after` says with a file, unless it has changed meanwhile.

    Raises:
        OSError: It cannot be done.
    """
    path = folder / found.relative
    with suppress(FileNotFoundError):
        status = path.lstat()
        if after == "keep" or (status.st_mtime_ns, status.st_size) != found.version:
            return
        if (target := moved_to(folder, after)) is None:
            path.unlink()
        else:
            _move(path, target / found.relative)


def _move(path: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(os.fspath(path), os.fspath(_free(target)))


def _free(target: Path) -> Path:
    """The name, or one like it that nothing has."""
    if not os.path.lexists(target):
        return target
    for number in range(1, _MOST_NAMES):
        other = target.with_name(f"{target.stem}-{number}{target.suffix}")
        if not os.path.lexists(other):
            return other
    raise FileExistsError(f"there are {_MOST_NAMES} files of one name where files are moved to")
