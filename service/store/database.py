"""Transactions and their errors, the same for both databases.

What runs in a transaction is an ordinary function of a connection. SQLite runs it in a thread of
its own, in one piece; for PostgreSQL it waits on the event loop at each statement.

One transaction writes at a time, for all who waited for it; `turns` says who that is. Nobody is
answered before the commit. Once begun it runs to its end even when its callers are cancelled, so
that nobody is left guessing whether it was committed.
"""

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Protocol, Self, TypeVar

from sqlalchemy import URL, Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError

from service.data_dir import NO_ROOM
from service.errors import ConfigurationError, StoreError, StoreFullError
from service.store.migrations import upgrade
from service.store.postgres import PostgresConnections
from service.store.sqlite import DiskUsage, SqliteConnections
from service.store.turns import Turn, Turns, Waiting

_P = ParamSpec("_P")
_T = TypeVar("_T")

# The second: no room for the index of the log, which every connection needs, also to read.
_NO_ROOM_SQLITE = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
_NO_ROOM_POSTGRES = "53100"  # disk_full
_UNREADABLE_FILE = {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}
_MALFORMED = (
    "store.url: must be sqlite:///path/of/file or postgresql://user:password@host:port/name"
)
_MOST_VALUES = 128  # in one IN list: such a statement takes 28 KB in SQLite, one of 512 100 KB


class Connections(Protocol):
    """How one kind of database is reached."""

    async def transact(self, work: Callable[[Connection], _T], *, writes: bool) -> _T:
        """Run `work` in a transaction and commit it, or roll back when it raises."""

    async def look_up(self, work: Callable[[Connection], _T]) -> _T:
        """Run `work`, which reads little and which frames wait for."""

    @property
    def reserve_bytes(self) -> int:
        """Free bytes that new frames do not get."""

    def check_room(self, num_bytes: int) -> None:
        """Raise StoreFullError when so much more would not leave enough to go on with."""

    async def cut_file(self) -> int:
        """Give some unused space at the end of the file back; returns its bytes."""

    async def empty_log(self) -> None:
        """Bring what is in the log into the file, where there are such things."""

    async def close(self) -> None:
        """Give up all connections."""


class Database:
    """One database: many readers, one writer.

    Args:
        where: Path of an SQLite file, or a URL: `sqlite:///path`, or
            `postgresql://user:password@host/name`.
        disk_usage: Reads the disk of the SQLite file.

    Raises:
        ConfigurationError: The URL is not one of these.
    """

    def __init__(
        self,
        where: str | Path,
        disk_usage: DiskUsage = shutil.disk_usage,
    ) -> None:
        self._url = url_of(where)
        self._disk_usage = disk_usage
        self._turns = Turns()
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None  # while somebody waits
        self._refusal: str | None = None
        self._connections: Connections

    @property
    def path(self) -> Path | None:
        """The SQLite file; None for PostgreSQL."""
        if self._url.get_backend_name() != "sqlite":
            return None
        return Path(self._url.database or "")

    async def __aenter__(self) -> Self:
        with translated(self.path):
            self._connections = (
                PostgresConnections(self._url)
                if self.path is None
                else SqliteConnections(self._url, self.path, self._disk_usage)
            )
            try:
                await self._connections.transact(upgrade, writes=True)
            except BaseException as error:
                await self._connections.close()
                if self.path is None and isinstance(error, TypeError | ValueError):
                    # asyncpg's, for an option of the URL that it does not know or understand.
                    raise ConfigurationError(f"store.url: {error}") from error
                raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        while self._writer is not None:
            await asyncio.wait([self._writer])
        async with self._writing:
            await self._connections.close()

    async def write(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, …)` in a transaction and commit it; see `write_in_turn`."""
        return await self.write_in_turn(Turn(), work, *args, **kwargs)

    async def write_in_turn(
        self,
        turn: Turn,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, …)` in a transaction and commit it.

        Args:
            turn: How urgent it is, and how large.
            work: Changes nothing but the database: where it, or what shares its transaction, fails,
                it is rolled back and runs again, alone.
            args: For `work`.
            kwargs: For `work`.

        Raises:
            StoreError: Nothing was written, or the answer to the commit was lost.
        """
        waiting = Waiting(lambda connection: work(connection, *args, **kwargs), turn)
        self._turns.add(waiting)
        if self._writer is None:
            self._writer = asyncio.create_task(self._take_turns(), name="transactions")
        outcome: _T = await waiting.outcome
        return outcome

    async def _take_turns(self) -> None:
        """Write what waits, until nothing does."""
        try:
            while self._turns:
                async with self._writing:
                    await self._write_group(self._turns.next_group())
        finally:
            self._writer = None

    async def _write_group(self, group: Sequence[Waiting]) -> None:
        """Commit all in one transaction; where one of them fails each in its own."""
        if not group:
            return
        is_in_work = False

        def run(connection: Connection) -> list[Any]:
            nonlocal is_in_work
            is_in_work = True
            outcomes = [each.work(connection) for each in group]
            is_in_work = False
            return outcomes

        try:
            outcomes = await self._transact(run)
        except Exception as error:  # noqa: BLE001 - whoever asked for the transaction hears of it
            # An error of the commit itself may be an answer that was lost: not done twice. That
            # there is no room is an answer, and SQLite finds out when it commits.
            if len(group) > 1 and (is_in_work or isinstance(error, StoreFullError)):
                for each in group:
                    await self._write_group([each])
                return
            for each in group:
                if not each.outcome.done():  # its caller may have gone
                    each.outcome.set_exception(error)
        else:
            for each, outcome in zip(group, outcomes, strict=True):
                if not each.outcome.done():
                    each.outcome.set_result(outcome)

    async def _transact(self, run: Callable[[Connection], _T]) -> _T:
        try:
            with translated():
                outcome = await self._connections.transact(run, writes=True)
        except StoreError as error:
            self._refusal = str(error)
            raise
        self._refusal = None
        return outcome

    @property
    def refusal(self) -> str | None:
        """Why the last write failed; None when it did not."""
        return self._refusal

    async def read(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, …)` on one state of the database.

        Raises:
            StoreError: It cannot be read.
        """
        with translated():
            return await self._connections.transact(
                lambda connection: work(connection, *args, **kwargs), writes=False
            )

    async def look_up(
        self,
        work: Callable[Concatenate[Connection, _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """The same for what frames wait for on their way: it waits for no list and no search.

        Raises:
            StoreError: It cannot be read.
        """
        with translated():
            return await self._connections.look_up(
                lambda connection: work(connection, *args, **kwargs)
            )

    @property
    def reserve_bytes(self) -> int:
        """Free bytes on the disk that new frames do not get; 0 on a server.

        Raises:
            StoreError: The disk cannot be read.
        """
        with translated():
            return self._connections.reserve_bytes

    def check_room(self, num_bytes: int) -> None:
        """Look whether the disk takes so much more and still leaves room to end jobs.

        Raises:
            StoreFullError: It does not.
        """
        with translated():
            self._connections.check_room(num_bytes)

    async def cut_file(self) -> int:
        """Give a few MiB of unused space back to the file system.

        Returns:
            How many bytes; 0 when there are none, or on a server.

        Raises:
            StoreError: It cannot be written.
        """
        async with self._writing:
            with translated():
                return await self._connections.cut_file()

    async def empty_log(self) -> None:
        """Bring SQLite's log into its file; only then does a file that was cut get smaller.

        Raises:
            StoreError: It cannot be written.
        """
        async with self._writing:
            with translated():
                await self._connections.empty_log()


@contextmanager
def translated(path: Path | None = None) -> Iterator[None]:
    """Turn the driver's errors into the service's, without the data of the statement.

    Args:
        path: Of the SQLite file that is being opened, for the message.
    """
    try:
        yield
    # sqlite3.Error: from a cursor that is not SQLAlchemy's.
    except (SQLAlchemyError, sqlite3.Error, OSError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if _is_full(cause):
            raise StoreFullError(_at(path, "database or disk is full")) from error
        message = (str(cause).splitlines() or [type(cause).__name__])[0]
        if getattr(cause, "sqlite_errorcode", None) in _UNREADABLE_FILE and path is not None:
            message += (
                "; move it and its -wal and -shm away, or set data_dir (or store.url) to another "
                "place"
            )
        raise StoreError(_at(path, message)) from error


def _at(path: Path | None, message: str) -> str:
    return message if path is None else f"{path}: {message}"


def _is_full(cause: BaseException | None) -> bool:
    return (
        getattr(cause, "sqlite_errorcode", None) in _NO_ROOM_SQLITE
        or getattr(cause, "sqlstate", None) == _NO_ROOM_POSTGRES
        or (isinstance(cause, OSError) and cause.errno in NO_ROOM)
    )


def in_groups(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """Cut `values` into pieces for an IN list, each filled up with its last value.

    A list of another length is another statement, and each connection keeps the last hundred or so
    prepared. Lengths of powers of two make a handful of statements instead of hundreds, which took
    hours to come and whose bytes nothing bounds.
    """
    for start in range(0, len(values), _MOST_VALUES):
        group = values[start : start + _MOST_VALUES]
        length = 1 << (len(group) - 1).bit_length()
        yield [*group, *[group[-1]] * (length - len(group))]


def url_of(where: str | Path) -> URL:
    """A database's path or URL, with the driver.

    Raises:
        ConfigurationError: It is none of ours. The parser's own messages are not passed on: they
            repeat what may be a password.
    """
    if isinstance(where, Path):
        return URL.create("sqlite+pysqlite", database=str(where))
    try:
        url = make_url(where)
    except (ArgumentError, ValueError):  # ValueError: of a port
        raise ConfigurationError(_MALFORMED) from None
    name = url.get_backend_name()
    if name == "sqlite" and url.query:
        raise ConfigurationError("store.url: SQLite takes no options, remove what is behind the ?")
    if name == "sqlite" and url.database not in {None, "", ":memory:"}:
        return url.set(drivername="sqlite+pysqlite")
    if name in {"postgresql", "postgres"}:
        return url.set(drivername="postgresql+asyncpg")
    raise ConfigurationError(_MALFORMED)
