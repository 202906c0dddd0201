"""Tasks that live as long as a block: named, and cancelled when it ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager

from service.boundary import keep_running


class Tasks:
    """The tasks of one block; see `running`.

    Args:
        group: Of the block.
    """

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._started: list[asyncio.Task[None]] = []

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Run something; after an unexpected error it is started again."""
        self.watch(name, lambda: keep_running(run, name))

    def watch(self, name: str, run: Callable[[], Coroutine[None, None, None]]) -> None:
        """Run something whose error ends the block, and with it the service."""
        self._started.append(self._group.create_task(run(), name=name))

    def cancel(self) -> None:
        """Let all end."""
        for task in self._started:
            task.cancel()


@asynccontextmanager
async def running() -> AsyncIterator[Tasks]:
    """Run tasks beside a block and wait for their end at its own.

    Raises:
        ExceptionGroup: One of them, or the block, has failed.
    """
    async with asyncio.TaskGroup() as group:
        tasks = Tasks(group)
        yield tasks
        tasks.cancel()
