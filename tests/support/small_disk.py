"""A real file system of a few MiB, to be filled up and freed again."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


class DiskUnavailableError(Exception):
    """It cannot be mounted here; the message is the reason to skip."""


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """What is mounted at `folder`."""

    folder: Path

    @property
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder).free

    def fill(self, *, leave: int = 0) -> None:
        """Write until nothing more goes in, then take `leave` bytes back."""
        path = self.folder / "somebody-elses"
        descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        try:
            while os.write(descriptor, bytes(1 << 16)):
                pass
        except OSError:  # no room: what was asked for
            os.ftruncate(descriptor, max(0, os.fstat(descriptor).st_size - leave))
        finally:
            os.close(descriptor)

    def clear(self) -> None:
        """Remove what `fill` has written."""
        (self.folder / "somebody-elses").unlink(missing_ok=True)

    def set_writable(self, *, is_writable: bool) -> None:
        """Mount it again, for reading only or not."""
        _run("mount", "-o", f"remount,{'rw' if is_writable else 'ro'}", str(self.folder))


@contextmanager
def a_small_disk(folder: Path, num_bytes: int) -> Iterator[SmallDisk]:
    """Mount one at `folder`, which is made.

    Raises:
        DiskUnavailableError: Only root may, and not in every container.
    """
    if os.geteuid() != 0:
        raise DiskUnavailableError("only root may mount a file system")
    folder.mkdir(parents=True)
    _run("mount", "-t", "tmpfs", "-o", f"size={num_bytes},mode=700", "tmpfs", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, check=False)
    if ended.returncode:
        raise DiskUnavailableError(f"{command[0]}: {ended.stderr.decode().strip()}")
