"""How much more memory this process may take, and what it can give back.

A container has less than its machine: its control groups limit it, and none of the usual readings
of free memory knows of them. The least of all limits counts.
"""

import ctypes
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

#: Above it a limit of version 1 means that there is none.
_UNLIMITED = 1 << 60


def available_bytes(root: Path = Path("/")) -> int:
    """Bytes that can be taken without swapping, and without being killed for them.

    Args:
        root: Where `proc` and `sys` are.
    """
    return max(0, min([psutil.virtual_memory().available, *_left_in_groups(root)]))


def give_back() -> None:
    """Return to the system what was freed, where the allocator would keep it (glibc)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _left_in_groups(root: Path) -> Iterator[int]:
    """What is left in every control group that this process is in."""
    lines: list[str] = []
    with suppress(OSError, ValueError):
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    for line in lines:
        _number, _, rest = line.partition(":")
        controllers, is_group, group = rest.partition(":")
        if is_group and not controllers:
            yield from _left(root / "sys/fs/cgroup", group, *_VERSION_2)
        elif "memory" in controllers.split(","):
            yield from _left(root / "sys/fs/cgroup/memory", group, *_VERSION_1)


#: Files of a group: limit, use, and what of the use are files that can be read again.
_VERSION_2 = ("memory.max", "memory.current", ("inactive_file", "active_file"))
_VERSION_1 = (
    "memory.limit_in_bytes",
    "memory.usage_in_bytes",
    ("total_inactive_file", "total_active_file"),
)


def _left(top: Path, group: str, limit: str, use: str, files: tuple[str, ...]) -> Iterator[int]:
    """From a group up to the top: the limit of a parent holds for all below it.

    Inside a container the path is that of the host at times, and not there; then the top, which is
    the container's own group, is what counts.
    """
    folder = top / group.lstrip("/")
    for each in (folder, *folder.parents):
        with suppress(OSError, ValueError):
            most = (each / limit).read_text().strip()
            if most != "max" and int(most) < _UNLIMITED:
                used = int((each / use).read_text())
                yield int(most) - used + _sum_of(each / "memory.stat", files)
        if each == top:
            return


def _sum_of(path: Path, names: tuple[str, ...]) -> int:
    """What is listed under some names; 0 where it cannot be read, as if all were needed."""
    with suppress(OSError, ValueError):
        stat = dict(line.split() for line in path.read_text().splitlines())
        return sum(int(stat.get(name, 0)) for name in names)
    return 0
