"""Which files of a folder may have changed, read from as few folders as possible.

An own pass, because it sees what other hosts write on network file systems, and misses nothing in a
folder that was made a moment ago. Only folders whose own time has changed are read; now and then
all are, since a file that is written anew in its place changes no folder. The pauses grow with what
a pass takes: one folder with a million files is read less often. Links are not followed.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MOST_FOLDERS = 20_000
_MOST_ENTRIES = 2_000_000  # of one pass
_MOST_DEPTH = 16
_FULL_S = 30.0  # at least, between two passes over all folders
_SHARE = 20.0  # passes that take long take at most one part in so many of the time
_LONG_S = 0.1

PHOTOS = frozenset({".jpg", ".jpeg", ".png", ".webp"})
CLIPS = frozenset({".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".ts", ".dav"})


@dataclass(slots=True)
class _Folder:
    modified_ns: int  # when it was read
    below: list[str]  # folders in it, relative


@dataclass(slots=True)
class Tree:
    """A folder and those in it.

    Args:
        path: The folder.
        is_meant: Whether a relative path can be a frame.
        skipped: A folder inside that is passed over.
        monotonic: Seconds.
    """

    path: Path
    is_meant: Callable[[str], bool]
    skipped: Path | None
    monotonic: Callable[[], float]
    problem: str | None = None  #: why not all of it is seen
    _folders: dict[str, _Folder] = field(default_factory=dict)
    _next_full: float = 0.0
    _earliest: float = 0.0  # of any pass
    _num_left: int = 0

    def read_all_soon(self) -> None:
        """Read all folders again, as soon as their share of the time allows."""
        self._next_full = self._earliest

    def changed_files(self) -> Iterator[tuple[str, os.stat_result]]:
        """Pictures and clips in folders that have changed, with what the system says of them.

        Raises:
            OSError: The folder itself cannot be read.
        """
        now, started = self.monotonic(), time.perf_counter()
        if now < self._earliest:
            return
        is_full = now >= self._next_full
        if is_full:
            self._folders.clear()
        self.problem, self._num_left = None, _MOST_ENTRIES
        with os.scandir(self.path):
            pass  # a folder below may go or be closed to us, this one is to be named
        yield from self._walk()
        took = time.perf_counter() - started
        self._earliest = now + (_SHARE * took if took > _LONG_S else 0.0)
        if is_full:
            self._next_full = max(self._earliest, now + _FULL_S)

    def _walk(self) -> Iterator[tuple[str, os.stat_result]]:
        seen: set[str] = set()
        ahead = [("", 0)]
        while ahead:
            relative, depth = ahead.pop()
            if len(seen) >= _MOST_FOLDERS or self._num_left <= 0:
                self.problem = "there are too many files or folders, and not all of them are seen"
                break
            try:  # only the folder itself may be a link
                status = os.stat(self.path / relative, follow_symlinks=not relative)
            except (OSError, ValueError):
                continue
            seen.add(relative)
            folder = self._folders.get(relative)
            if folder is None or folder.modified_ns != status.st_mtime_ns:
                folder = _Folder(status.st_mtime_ns, [])
                yield from self._read(relative, folder)
                self._folders[relative] = folder
            if depth < _MOST_DEPTH:
                ahead += [(each, depth + 1) for each in folder.below]
        for gone in self._folders.keys() - seen:
            del self._folders[gone]

    def _read(self, relative: str, folder: _Folder) -> Iterator[tuple[str, os.stat_result]]:
        try:
            with os.scandir(self.path / relative) as entries:
                for entry in entries:
                    self._num_left -= 1
                    if self._num_left <= 0:
                        return
                    inside = f"{relative}/{entry.name}" if relative else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if self.path / inside != self.skipped:
                            folder.below.append(inside)
                    elif is_picture(entry.name) and self.is_meant(inside):
                        yield inside, entry.stat(follow_symlinks=False)
        except OSError:
            folder.modified_ns = -1  # gone, or not for us: tried again


def is_picture(name: str) -> bool:
    """Whether a file's name is that of a picture or a clip that is no longer written to.

    Cameras and FTP servers mark what is under way: `.mp4_`, `.part`, a dot in front.
    """
    return not name.startswith(".") and _suffix(name) in PHOTOS | CLIPS


def is_clip(relative: str) -> bool:
    """Whether a file that is one of both is a clip."""
    return _suffix(relative) in CLIPS


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()
