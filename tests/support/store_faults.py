"""Faults that a test orders, between the store and a database that works."""

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, cast

from sqlalchemy import Connection, event
from sqlalchemy.exc import OperationalError

from service.store.store import Store

_T = TypeVar("_T")

Step = Literal["begin", "statement", "commit", "committed"]


class Faults(Protocol):
    """Fails a step by raising what a database does."""

    def check(self, step: Step) -> None:
        """Called before a transaction begins, before each statement, before and after a commit."""


@asynccontextmanager
async def open_faulty(
    where: str | Path, faults: Faults, kind: type[Store] = Store, **options: Any
) -> AsyncIterator[Store]:
    """Like `Store.open`; what opening itself does goes well."""
    async with kind.open(where, **options) as store:
        database = store._database
        database._connections = cast(Any, _FaultyConnections(database._connections, faults))
        yield store


class _FaultyConnections:
    """Asks before each step whether it shall fail."""

    def __init__(self, connections: Any, faults: Faults) -> None:
        self._connections = connections
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connections, name)

    async def transact(self, work: Callable[[Connection], _T], *, writes: bool) -> _T:
        check = self._faults.check

        def run(connection: Connection) -> _T:
            event.listen(connection, "before_cursor_execute", lambda *_: check("statement"))
            outcome = work(connection)
            if writes:
                check("commit")
            return outcome

        if writes:
            check("begin")
        outcome: _T = await self._connections.transact(run, writes=writes)
        if writes:
            check("committed")
        return outcome


def fault(text: str = "disk I/O error") -> OperationalError:
    """What the database layer raises when the database refuses."""
    return OperationalError(None, None, sqlite3.OperationalError(text))


class FailEvery:
    """Fails every `n`-th step of the kinds given, of all kinds when none is, for ever."""

    def __init__(self, n: int, *kinds: Step) -> None:
        self._n = n
        self._kinds = kinds
        self._num_steps = 0
        self.failed: list[Step] = []

    def fail_in(self, n: int) -> None:
        """Start counting again."""
        self._n = n
        self._num_steps = 0

    def check(self, step: Step) -> None:
        if self._kinds and step not in self._kinds:
            return
        self._num_steps += 1
        if self._num_steps % self._n == 0:
            self.failed.append(step)
            raise fault(f"injected at {step}")


NO_FAULTS = FailEvery(1 << 62)
