"""Which files of a folder are new and complete.

A file is taken when it has not changed for two seconds. What was last changed before `max_age` is
no motion: neither what was there already, nor what could not be taken in time. So only files of
that time are remembered. All of it is bounded, however many files there are: the newest count.

`pass_over` runs in a thread; the rest is called from elsewhere between its steps.
"""

import hashlib
import heapq
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from service.folders.tree import Tree

SETTLED_S = 2.0  # unchanged for so long: complete
GIVEN_UP_S = 60.0  # unchanged for so long: it will not become complete
MOST_KNOWN = 20_000  # files of a folder that are remembered
_MOST_WAITING = 1_000  # files that are watched or being taken at once

#: Modification time in nanoseconds, and size.
Version = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Found:
    """A file as it was found."""

    relative: str  #: path in the folder; may hold surrogates
    size: int
    modified_ns: int
    changed_ns: int  #: of its inode: a copy that keeps its old time is new all the same

    @property
    def version(self) -> Version:
        """What tells it from another file of the same name."""
        return self.modified_ns, self.size

    @property
    def key(self) -> str:
        """Names its path where it is remembered."""
        return hashlib.sha256(os.fsencode(self.relative)).hexdigest()[:32]


@dataclass(slots=True)
class _Waiting:
    found: Found
    since: float  # unchanged, on the monotonic clock
    until_s: float = SETTLED_S  # unchanged for so long, it is handed on
    is_handed: bool = False  # to whoever takes it


@dataclass(slots=True)
class FolderScan:
    """One folder.

    Args:
        path: Which.
        is_meant: Whether a relative path can be a frame.
        skipped: A folder inside that is passed over.
        max_age: Seconds.
        known: Files that were taken: their version and the time of their inode, by key.
        wall: Seconds since 1970.
        monotonic: Seconds.
    """

    path: Path
    is_meant: Callable[[str], bool]
    skipped: Path | None
    max_age: float
    known: dict[str, tuple[Version, int]]
    wall: Callable[[], float] = time.time
    monotonic: Callable[[], float] = time.monotonic
    _tree: Tree = field(init=False)
    _waiting: dict[str, _Waiting] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tree = Tree(self.path, self.is_meant, self.skipped, self.monotonic)

    @property
    def problem(self) -> str | None:
        """Why not all of it is seen."""
        return self._tree.problem

    def pass_over(self) -> list[Found]:
        """One pass: the files that are complete since the last one, the oldest first.

        Raises:
            OSError: The folder cannot be read.
        """
        now = self.monotonic()
        self._look(now)
        return self._settled(now)

    def taken(self, found: Found) -> None:
        """A file has been dealt with; it is not found again as it is."""
        self.known[found.key] = (found.version, found.changed_ns)
        self._waiting.pop(found.relative, None)
        if len(self.known) > MOST_KNOWN:
            del self.known[min(self.known, key=lambda key: self.known[key][1])]

    def returned(self, found: Found) -> bool:
        """A file does not look complete.

        Returns:
            Whether it is found once more, when it has changed or a minute is over.
        """
        waiting = self._waiting.get(found.relative)
        if waiting is None or waiting.until_s == GIVEN_UP_S:
            return False
        waiting.until_s, waiting.is_handed = GIVEN_UP_S, False
        return True

    @property
    def floor_ns(self) -> int:
        """What was last changed before is not taken: too old, or perhaps taken and forgotten."""
        by_age = int((self.wall() - self.max_age) * 1e9)
        if len(self.known) < MOST_KNOWN:
            return by_age
        return max(by_age, min(changed_ns for _, changed_ns in list(self.known.values())))

    def _look(self, now: float) -> None:
        """Watch the newest files that are neither known nor watched yet."""
        floor, room = self.floor_ns, _MOST_WAITING - len(self._waiting)
        newest: list[tuple[int, str, Found]] = []
        is_cut = False
        for relative, status in self._tree.changed_files():
            if not stat.S_ISREG(status.st_mode) or status.st_ctime_ns < floor:
                continue
            found = _found(relative, status)
            if relative in self._waiting or self._is_known(found):
                continue
            heapq.heappush(newest, (found.changed_ns, relative, found))
            if len(newest) > room:
                heapq.heappop(newest)
                is_cut = True
        for _, relative, found in newest:
            self._waiting[relative] = _Waiting(found, now)
        if is_cut:
            self._tree.read_all_soon()  # the others are still to be found

    def _is_known(self, found: Found) -> bool:
        known = self.known.get(found.key)
        return known is not None and known[0] == found.version

    def _settled(self, now: float) -> list[Found]:
        """Look again at what waits; what has gone waits no more."""
        settled = []
        for relative, waiting in list(self._waiting.items()):
            if waiting.is_handed:
                continue
            try:
                current = _found(relative, os.lstat(self.path / relative))
            except (OSError, ValueError):
                self._waiting.pop(relative, None)
                continue
            if current.version != waiting.found.version:
                waiting.found, waiting.since, waiting.until_s = current, now, SETTLED_S
            elif now - waiting.since >= waiting.until_s:
                waiting.is_handed = True
                settled.append(waiting.found)
        return sorted(settled, key=lambda found: found.modified_ns)


def _found(relative: str, status: os.stat_result) -> Found:
    return Found(relative, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
