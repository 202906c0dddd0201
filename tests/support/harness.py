"""A service under test: started, killed, started again, and looked at from outside."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.support.checker import PATIENCE_S, until
from tests.support.faulty_service import NO_FAULTS, Orders, Plan, State


@dataclass(slots=True)
class Service:
    """A service in a process of its own; at most one life at a time.

    Args:
        folder: For its data, log and state; empty at first.
        port: Of the broker.
        base: Its base topic, and its client id.
        settings: Sections beside those of the broker and the data.
        plan: Faults of the next life; `folder` is filled in.
    """

    folder: Path
    port: int
    base: str
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)
    plan: Plan = NO_FAULTS
    num_starts: int = 0
    _process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        (self.folder / "scratch").mkdir(parents=True)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.is_running:
            await self.kill()

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def state(self) -> State:
        """As the present life says; empty until it says anything."""
        state = State.read(self.folder)
        return state if state.pid == self.pid else State()

    @property
    def log(self) -> str:
        """What all lives have written to stderr."""
        return (self.folder / "service.log").read_text(encoding="utf-8", errors="replace")

    def order(self, **orders: int) -> None:
        """See `Orders`; without any, all is allowed."""
        Orders(**orders).write(self.folder)

    async def start(self, *, is_awaited: bool = True, **faults: Any) -> None:
        """Begin a life, with these fields of the plan replaced.

        Args:
            is_awaited: Return only when it receives frames and an engine takes jobs.
        """
        assert not self.is_running
        plan = replace(self.plan, folder=str(self.folder), **faults)
        engine = (*plan.engine, "--scratch", str(self.folder / "scratch"))
        plan = replace(plan, engine=engine)
        with (self.folder / "service.log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.support.faulty_process",
                json.dumps(self._all_settings()),
                plan.to_json(),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("MOONDREAM2MQTT__")},
            )
        self.num_starts += 1
        if is_awaited:
            await self.until(lambda state: state.is_ready and state.is_connected)

    async def until(self, is_so: Callable[[State], bool]) -> State:
        """Wait for a state.

        Raises:
            AssertionError: The service ended instead.
        """

        def is_over() -> bool:
            return not self.is_running or is_so(self.state)

        await until(is_over)
        assert self.is_running, f"the service ended: {self.log[-3000:]}"
        return self.state

    async def kill(self) -> None:
        """`kill -9`; its engine ends with it."""
        assert self._process is not None
        if self.is_running:
            self._process.kill()
        await self._process.wait()

    def signal(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> int:
        """Wait for the end of this life, and return its exit code."""
        assert self._process is not None
        async with asyncio.timeout(PATIENCE_S):
            return await self._process.wait()

    def _all_settings(self) -> dict[str, Any]:
        settings: dict[str, Any] = {
            "mqtt": {
                "port": self.port,
                "base_topic": self.base,
                "client_id": client_id(self.base),
            },
            "data_dir": str(self.folder / "data"),
            "queue": {"capacity": 100_000, "retry_delay": 0.05, "max_age": 3600},
            "stats_interval": 0.5,
            "homeassistant": {"enabled": False},  # faults are counted without its messages
            "logging": {"level": "warning"},
        }
        for name, section in self.settings.items():
            settings[name] = {**settings.get(name, {}), **section}
        return settings


def client_id(base: str) -> str:
    return base.replace("/", "-")
