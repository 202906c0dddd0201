"""The child behind `download`: `python -m engine.download NAME REVISION`.

Finds the model's files as the engine would, fetches what is missing, and prints their folder. What
is wrong is one line on stderr, and the exit code is 1.
"""

import argparse
import logging
import sys

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from moondream2.errors import MoondreamError
from moondream2.hub import Hub, resolve


def main() -> int:
    """Fetch the files."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("revision")
    chosen = parser.parse_args()
    # Its warnings of single attempts would stand between the bars; the last error is told below.
    logging.getLogger("huggingface_hub").setLevel(logging.CRITICAL)
    try:
        with _Bars() as bars:
            hub = Hub(download=True, progress=bars.show)
            folder = resolve(chosen.name, chosen.revision, hub=hub).folder
    except MoondreamError as error:
        sys.stderr.write(f"moondream2mqtt: {' '.join(str(error).split())}\n")
        return 1
    except KeyboardInterrupt:  # what has arrived is kept, the next call goes on from there
        return 130
    sys.stdout.write(f"{folder}\n")
    return 0


class _Bars(Progress):
    """One bar per file, on stderr while that is a terminal; none of them stays."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._bars: dict[str, TaskID] = {}
        self._looking = self.add_task("looking for the files", total=None)

    def show(self, name: str, num_bytes: int, total: int) -> None:
        """Move a file's bar; a total of 0 is not known yet."""
        self.update(self._looking, visible=False)
        if name not in self._bars:
            self._bars[name] = self.add_task(name)
        self.update(self._bars[name], completed=num_bytes, total=total or None)


if __name__ == "__main__":
    sys.exit(main())
