"""Connections, transactions and their errors, for both databases.

One transaction writes at a time. Once begun it runs to its end even when its caller is cancelled,
so that nobody is left guessing whether it was committed; on SQLite it holds the write lock from its
first statement, so what it reads cannot change before it writes.
"""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, Literal, ParamSpec, Protocol, Self, TypeVar

import aiosqlite
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.errors import ConfigurationError, StoreError, StoreFullError
from service.store.migrations import upgrade

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Frames of 100 KB are written 1.7 times as fast in pages of 16 KiB as in SQLite's own 4 KiB; the
# small transactions that end jobs cost the same, they wait for the disk.
_PAGE_BYTES = 16384
_BUSY_MS = 10_000
_OLDEST_SQLITE = (3, 35)  # RETURNING
_NO_ROOM = "53100"  # PostgreSQL: disk_full
_MOST_VALUES = 500  # in one IN list; the drivers' own limits are near 32,000

Step = Literal["begin", "statement", "commit", "committed"]


class Faults(Protocol):
    """Lets a test fail the n-th step; production has none."""

    def check(self, step: Step) -> None:
        """Called before a transaction begins, before each statement, before and after a commit."""


class Database:
    """One database: many readers, one writer.

    Args:
        url: `sqlite:///path`, or `postgresql://user:password@host/name`.
        faults: For tests.

    Raises:
        ConfigurationError: The URL is not one of these.
    """

    def __init__(self, url: str, faults: Faults | None = None) -> None:
        self._url = _parse(url)
        self._faults = faults
        self._turn = asyncio.Lock()
        self._closing = AsyncExitStack()
        self._writes: AsyncEngine
        self._reads: AsyncEngine

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        if self._url.get_backend_name() != "sqlite":
            return None
        return Path(self._url.database or "")

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            with translated():
                if self.path is None:
                    self._writes = self._reads = _postgres(self._url)
                else:
                    await asyncio.to_thread(_prepare_file, self.path)
                    self._writes = _sqlite(self._url, "BEGIN IMMEDIATE", num_connections=1)
                    self._reads = _sqlite(self._url, "BEGIN", num_connections=4)
                stack.push_async_callback(self._writes.dispose)
                stack.push_async_callback(self._reads.dispose)
                async with self._writes.begin() as connection:
                    await connection.run_sync(upgrade)
            if self._faults is not None:
                self._listen_for(self._faults)
            self._closing = stack.pop_all()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        async with self._turn:
            await self._closing.aclose()

    async def write(
        self,
        work: Callable[Concatenate[AsyncConnection, _P], Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, …)` in a transaction of its own and commit it.

        Raises:
            StoreError: Nothing was written, or the answer to the commit was lost.
        """
        await self._turn.acquire()
        transaction = asyncio.create_task(self._transact(work, *args, **kwargs), name="transaction")
        transaction.add_done_callback(lambda _: self._turn.release())
        return await asyncio.shield(transaction)

    async def _transact(
        self,
        work: Callable[Concatenate[AsyncConnection, _P], Awaitable[_T]],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        with translated():
            self._check("begin")
            async with self._writes.begin() as connection:
                outcome = await work(connection, *args, **kwargs)
                self._check("commit")
            self._check("committed")
            return outcome

    @asynccontextmanager
    async def read(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one state of the database.

        Raises:
            StoreError: It cannot be read.
        """
        with translated():
            async with self._reads.begin() as connection:
                yield connection

    async def checkpoint(self) -> None:
        """Bring SQLite's log into its file and empty the log; only then does the file shrink."""
        async with self._turn:
            with translated():
                async with self._writes.connect() as connection:
                    driver = (await connection.get_raw_connection()).driver_connection
                    assert isinstance(driver, aiosqlite.Connection)  # noqa: S101
                    await driver.execute_fetchall("PRAGMA wal_checkpoint(TRUNCATE)")

    def _check(self, step: Step) -> None:
        if self._faults is not None:
            self._faults.check(step)

    def _listen_for(self, faults: Faults) -> None:
        def before_statement(*_: Any) -> None:
            faults.check("statement")

        for engine in {self._writes.sync_engine, self._reads.sync_engine}:
            event.listen(engine, "before_cursor_execute", before_statement)


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into the service's, without the data of the statement."""
    try:
        yield
    except (SQLAlchemyError, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        full = getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
        full = full or getattr(cause, "sqlstate", None) == _NO_ROOM
        raise (StoreFullError if full else StoreError)(f"{cause}".splitlines()[0]) from error


def in_groups(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut `values` into pieces that fit an IN list."""
    for start in range(0, len(values), _MOST_VALUES):
        yield values[start : start + _MOST_VALUES]


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
        name = url.get_backend_name()
    except ArgumentError as error:
        raise ConfigurationError(f"store.url: {error}") from error
    if name == "sqlite" and url.database not in {None, "", ":memory:"}:
        return url.set(drivername="sqlite+aiosqlite")
    if name in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+asyncpg")
    raise ConfigurationError(
        "store.url: must be sqlite:///path/of/file or postgresql://user:password@host/name"
    )


def _prepare_file(path: Path) -> None:
    """Frames are private: only the owner reads them. SQLite gives its other files the same mode."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def _sqlite(url: URL, begin: str, num_connections: int) -> AsyncEngine:
    engine = create_async_engine(
        url, pool_size=num_connections, max_overflow=0, hide_parameters=True
    )

    @event.listens_for(engine.sync_engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we begin ourselves: Python's sqlite3 begins too late
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {_BUSY_MS}")
        cursor.execute(f"PRAGMA page_size = {_PAGE_BYTES}")  # these two only before the first table
        cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")
        cursor.execute("PRAGMA foreign_keys = ON")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Any) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _postgres(url: URL) -> AsyncEngine:
    try:
        return create_async_engine(url, pool_size=5, pool_pre_ping=True, hide_parameters=True)
    except ModuleNotFoundError as error:
        raise ConfigurationError(
            "store.url: PostgreSQL needs the extra: pip install 'moondream2mqtt[postgres]'"
        ) from error
