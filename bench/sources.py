"""What sources cost: folders of 20,000 files, clips, Frigate's events.

python -m bench.sources [--clip FILE] [--only followed|storm|scan|clip]
"""

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench._folders import clip, scan
from bench._frigate import beside_storm, followed
from bench._machine import describe

_PARTS = ("followed", "storm", "scan", "clip")


def main(arguments: list[str] | None = None) -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=_PARTS, action="append", help="one of them; can repeat")
    parser.add_argument("--clip", type=Path, help="in place of one that is made")
    parser.add_argument("--events", type=int, default=300, help="of Frigate's that end at once")
    parser.add_argument("--frames", type=int, default=100, help="of another camera, for a storm")
    wanted = parser.parse_args(arguments)
    parts = wanted.only or _PARTS
    print(describe())
    # First: the peak of a child begins with that of this process.
    if "followed" in parts:
        asyncio.run(followed(wanted.events))
    if "storm" in parts:
        asyncio.run(beside_storm(wanted.frames))
    with tempfile.TemporaryDirectory() as folder:
        if "scan" in parts:
            watched = Path(folder, "ftp")
            watched.mkdir()
            scan(watched)
        if "clip" in parts:
            clip(Path(folder), wanted.clip)


if __name__ == "__main__":
    main()
