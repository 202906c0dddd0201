"""Whether a watched folder can be read, and what is in the way of taking or clearing its files."""

import os
from collections.abc import Iterator
from pathlib import Path

from service.folder_settings import FolderSettings
from service.folders.clips import can_read_clips
from service.folders.tree import PHOTOS


def unreadable(error: OSError) -> str:
    """In words, for the log, `bridge/health` and `doctor`."""
    return f"cannot be read: {error.strerror or type(error).__name__}"


def reading_problem(path: Path) -> str | None:
    """Why nothing of a folder would be read; None: it can be."""
    try:
        with os.scandir(path) as entries:
            next(entries, None)
    except OSError as error:
        return unreadable(error)
    return None


def doubts(settings: FolderSettings) -> Iterator[str]:
    """What would not be done with files that can be read."""
    if settings.after != "keep" and not os.access(settings.path, os.W_OK | os.X_OK):
        yield f"after is {settings.after}, and the folder cannot be written: allow it, or set keep"
    if not can_read_clips() and not _means_photos_only(settings.pattern or ""):
        yield (
            "its clips will be refused: install the extra `video` (moondream2mqtt[video]), or let "
            "the pattern end with .jpg"
        )


def _means_photos_only(pattern: str) -> bool:
    return pattern.endswith(tuple(PHOTOS))
