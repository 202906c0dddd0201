"""The service as people run it: `moondream2mqtt serve` with a file, in a process of its own."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from copy import deepcopy
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

_END_S = 60.0


class Program:
    """At most one life at a time, all with the same data.

    Args:
        folder: For its file, its data and its log; empty at first.
        settings: What stands in the file; may be changed between two lives.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        self.settings = deepcopy(settings)
        self._folder = folder
        self._process: Process | None = None

    async def __aenter__(self) -> Self:
        self._folder.mkdir(parents=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop(signal.SIGKILL)

    @property
    def log(self) -> str:
        """What all lives have said."""
        return (self._folder / "service.log").read_text(encoding="utf-8", errors="replace")

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Begin a life."""
        assert not self.is_running
        file = self._folder / "config.yaml"
        settings = {"data_dir": str(self._folder / "data"), **self.settings}
        file.write_text(yaml.safe_dump(settings), encoding="utf-8")
        with (self._folder / "service.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "service", "serve", "--config", str(file)),
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("MOONDREAM2MQTT__")},
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it; with SIGKILL it says nothing before."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        process.send_signal(number)
        async with asyncio.timeout(_END_S):
            await process.wait()
