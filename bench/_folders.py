"""What watching folders costs: passes over 20,000 files, and frames from a clip."""

import asyncio
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench._clips import make_clip
from service.folders.clips import clip_frames
from service.folders.scan import FolderScan

_FOLDERS, _FILES = 200, 100
_PASSES = 20


def scan(folder: Path) -> None:
    """Print what passes over 20,000 files, made below an empty folder, cost."""
    for number in range(_FOLDERS):
        below = folder / f"camera-{number}"
        below.mkdir()
        for picture in range(_FILES):
            (below / f"{picture:02}[M][0@0][0].jpg").write_bytes(b"x")
    took: list[float] = []

    def monotonic() -> float:
        """Passes after a slow one are put off; 10 s later they are not, nor all is read again."""
        return 10.0 if took else 0.0

    all_are_old = -1.0
    watched = FolderScan(
        folder, lambda _: True, None, max_age=all_are_old, known={}, monotonic=monotonic
    )
    for _ in range(_PASSES):
        started = time.perf_counter()
        watched.pass_over()
        took.append(time.perf_counter() - started)
    first, unchanged = took[0] * 1000, statistics.median(took[1:]) * 1000
    print(f"{_FOLDERS * _FILES} files: first pass {first:.0f} ms, unchanged {unchanged:.2f} ms")


def clip(folder: Path, given: Path | None) -> None:
    """Print what the frames of a clip cost; without one, 30 s in 1080p are made in a folder."""
    path = given or make_clip(folder / "clip.mp4", seconds=30, size=(1920, 1080), rate=25)
    sys.stdout.flush()  # what is printed stays in order
    # In a process of its own: a child's peak begins with that of who has started it.
    subprocess.run([sys.executable, "-m", "bench._folders", str(path)], check=True)


def _measure_clip(path: Path) -> None:
    started = time.perf_counter()
    frames = asyncio.run(clip_frames(path, 3))
    took = time.perf_counter() - started
    peak_mib = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    size = path.stat().st_size / 1e6
    print(f"clip of {size:.1f} MB: {len(frames)} frames in {took:.2f} s, peak {peak_mib:.0f} MiB")


if __name__ == "__main__":
    _measure_clip(Path(sys.argv[1]))
