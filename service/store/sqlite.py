"""SQLite: one file, one thread that writes, two that look up what frames need, and two that read.

What frames wait for crosses to its thread once, whatever the number of its statements. aiosqlite,
which all other readers go through, crosses several times for each of them: for 16 frames in a group
that took 15 to 20 % more CPU, and on a busy machine each crossing waits for the interpreter's lock.
What people list and search takes longer than that, and keeps no frame from its connection.
"""

import asyncio
import fcntl
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.asyncio import create_async_engine

from service.data_dir import usable
from service.errors import StoreError, StoreFullError

_T = TypeVar("_T")

#: In a connection's `info`: told of an error that ends the transaction, its commit included.
ON_FAILURE = "on_failure"

# Frames of 100 KB are written clearly faster in pages of 16 KiB than in SQLite's own 4 KiB; the
# small transactions that end jobs cost the same, they wait for the disk.
_PAGE_BYTES = 16384
# The log is brought into the file each 16 MiB: sooner is slower, later needs a larger reserve.
_PAGES_PER_CHECKPOINT = 1000
# What the log needs to be brought into the file when both are at their largest (a group is at most
# 16 MiB), and then some for ending the jobs that wait. Without it a full disk would stay full: no
# job can end, so no frame can go.
_RESERVE_BYTES = 48 << 20
_RESERVE_SHARE = 0.625  # of a disk that is smaller than that
_PAGES_PER_CUT = 256
_NUM_READERS = 2
_BUSY_MS = 10_000
_OLDEST = (3, 35)  # RETURNING


class Disk(Protocol):
    """The answer of `shutil.disk_usage`; bytes."""

    @property
    def total(self) -> int:
        """Size of the disk."""

    @property
    def free(self) -> int:
        """What is left for us."""


DiskUsage = Callable[[Path], Disk]


class SqliteConnections:
    """The threads and connections to one file.

    Args:
        url: With SQLAlchemy's synchronous driver.
        path: Of the file; it and its folder are made.
        disk_usage: Reads the disk the file is on.

    Raises:
        ConfigurationError: The file cannot be made or written.
        StoreError: This SQLite is too old, another service uses the file, or the disk is full.
    """

    def __init__(self, url: URL, path: Path, disk_usage: DiskUsage) -> None:
        with usable(f"store {path}"):
            _prepare_file(path)
            self._lock = lock(path)
        self._folder = path.parent
        self._disk_usage = disk_usage
        # BEGIN IMMEDIATE: a writer holds the lock from the start, so what it reads stays true.
        self._writes = create_engine(url, **_pool_of(1))
        _prepare_connections(self._writes, "BEGIN IMMEDIATE")
        self._writer = ThreadPoolExecutor(1, "store-write")
        # Each statement of a reader stands for itself: a transaction around one is two more.
        autocommit = {
            "isolation_level": "AUTOCOMMIT",
            "skip_autocommit_rollback": True,
            **_pool_of(_NUM_READERS),
        }
        self._lookups = create_engine(url, **autocommit)
        _prepare_connections(self._lookups)
        self._looking_up = ThreadPoolExecutor(_NUM_READERS, "store-look-up")
        self._reads = create_async_engine(url.set(drivername="sqlite+aiosqlite"), **autocommit)
        _prepare_connections(self._reads.sync_engine)

    async def transact(self, work: Callable[[Connection], _T], *, writes: bool) -> _T:
        """Run `work`, in a transaction if it writes."""
        if writes:
            return await _finished(self._writer.submit(self._write, work))
        async with self._reads.connect() as reader:
            return await reader.run_sync(work)

    async def look_up(self, work: Callable[[Connection], _T]) -> _T:
        """Run `work`, which reads little, without waiting for what reads much."""
        return await _finished(self._looking_up.submit(self._look_up, work))

    def _look_up(self, work: Callable[[Connection], _T]) -> _T:
        with self._lookups.connect() as reader:
            return work(reader)

    def _write(self, work: Callable[[Connection], _T]) -> _T:
        with self._writes.connect() as writer:
            try:
                with writer.begin():
                    return work(writer)
            except DatabaseError as error:
                if (tell := writer.info.get(ON_FAILURE)) is not None:
                    tell(writer, error)
                raise
            finally:
                writer.info.pop(ON_FAILURE, None)

    @property
    def reserve_bytes(self) -> int:
        """Free bytes that new frames do not get."""
        return self._reserve(self._disk_usage(self._folder))

    def check_room(self, num_bytes: int) -> None:
        """Keep the reserve out of reach of new frames."""
        disk = self._disk_usage(self._folder)
        reserve = self._reserve(disk)
        if disk.free - num_bytes < reserve:
            raise StoreFullError(
                f"{disk.free >> 20} MiB free on the disk of {self._folder}; the last "
                f"{reserve >> 20} MiB are kept for ending the jobs that wait"
            )

    @staticmethod
    def _reserve(disk: Disk) -> int:
        return int(min(_RESERVE_BYTES, disk.total * _RESERVE_SHARE))

    async def cut_file(self) -> int:
        """Move unused pages to the end of the file, a few MiB at most, and cut them off."""
        return await self.transact(_cut_file, writes=True)

    async def empty_log(self) -> None:
        """Waits for readers; none takes long."""

        def run() -> None:
            connection = self._writes.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
            finally:
                connection.close()

        await asyncio.get_running_loop().run_in_executor(self._writer, run)

    async def close(self) -> None:
        """Wait for what is running, then close the file; the last to close empties the log."""

        def run() -> None:
            self._looking_up.shutdown()
            self._lookups.dispose()
            self._writer.shutdown()
            self._writes.dispose()
            os.close(self._lock)

        await self._reads.dispose()
        await asyncio.to_thread(run)


async def _finished(job: Future[_T]) -> _T:
    """What a thread's job returns; a caller that is cancelled waits until its thread is free.

    Otherwise who asks and goes away again could occupy the threads that frames need.
    """
    future = asyncio.wrap_future(job)
    try:
        return await asyncio.shield(future)
    except asyncio.CancelledError:
        if not job.cancel():
            await asyncio.wait([future])
        raise


def _cut_file(connection: Connection) -> int:
    before = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    # Each row of the answer frees one page, and SQLAlchemy reads no rows without columns.
    cursor = connection.connection.cursor()
    cursor.execute(f"PRAGMA incremental_vacuum({_PAGES_PER_CUT})")
    cursor.fetchall()
    cursor.close()
    after = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return int(before - after) * _PAGE_BYTES


def _prepare_file(path: Path) -> None:
    """Frames are private: only the owner reads them. SQLite gives its other files the same mode."""
    if sqlite3.sqlite_version_info < _OLDEST:
        raise StoreError(f"SQLite {sqlite3.sqlite_version} is too old, 3.35 or newer is needed")
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    path.chmod(0o600)


def lock(path: Path) -> int:
    """Keep other services from the file for as long as the descriptor is open.

    Two of them would recover and send each other's jobs. The system lets go of the lock when the
    process ends, however it ends. A file of its own, because closing a descriptor of the database
    would drop SQLite's locks.
    """
    lock = os.open(f"{path}-lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if not isinstance(error, BlockingIOError):
            raise
        raise StoreError(f"another service uses {path}; give each a data_dir of its own") from error
    return lock


def _read_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _pool_of(num_connections: int) -> dict[str, Any]:
    return {"pool_size": num_connections, "max_overflow": 0, "hide_parameters": True}


def _prepare_connections(engine: Engine, begin: str | None = None) -> None:
    """Set what a connection needs once, and how its transactions begin if it has any."""

    @event.listens_for(engine, "connect")
    def configure(connection: Any, _: object) -> None:
        connection.isolation_level = None  # we begin ourselves: Python's sqlite3 begins too late
        cursor = connection.cursor()
        for pragma in (f"busy_timeout = {_BUSY_MS}", "page_count"):
            cursor.execute(f"PRAGMA {pragma}")
        if cursor.fetchone() == (0,):
            # Only before the first table: each later time would be a write, for which a full disk
            # has no room.
            cursor.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
            cursor.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            f"wal_autocheckpoint = {_PAGES_PER_CHECKPOINT}",
            "foreign_keys = ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()
        # Damaged text is left to who reads it: by default one such value would spoil a whole page
        # of rows. Both drivers' connections have the attribute.
        getattr(connection, "driver_connection", connection).text_factory = _read_text

    if begin is None:
        return

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
