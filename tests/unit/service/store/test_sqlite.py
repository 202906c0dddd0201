"""Threads and connections to one file: what reads waits for nobody, and nobody is left behind."""

import asyncio
import threading
from pathlib import Path

import pytest
from sqlalchemy import Connection

from service.store.database import Database


def threads_of(connection: Connection) -> tuple[str, set[str]]:
    """Who runs this, after some statements."""
    for _ in range(3):
        connection.exec_driver_sql("SELECT 1").scalar_one()
    return threading.current_thread().name, {each.name for each in threading.enumerate()}


async def test_a_reading_runs_in_one_piece_in_a_thread_of_its_own(tmp_path: Path) -> None:
    async with Database(tmp_path / "store.db") as database:
        name, all_names = await database.read(threads_of)
        assert name.startswith("store-read")
        assert {each.rpartition("_")[0] for each in all_names if each.startswith("store")} == {
            "store-read",
            "store-write",
        }


async def test_a_reading_that_is_cancelled_holds_its_caller_until_the_thread_is_free(
    tmp_path: Path,
) -> None:
    has_begun, go_on = threading.Event(), threading.Event()

    def read_slowly(_: Connection) -> None:
        has_begun.set()
        go_on.wait(10)

    async with Database(tmp_path / "store.db") as database:
        reading = asyncio.create_task(database.read(read_slowly))
        await asyncio.to_thread(has_begun.wait, 10)
        reading.cancel()
        await asyncio.sleep(0.05)
        assert not reading.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await reading


async def test_a_reading_that_has_not_begun_is_cancelled(tmp_path: Path) -> None:
    go_on = threading.Event()
    has_run = []

    def read_slowly(_: Connection) -> None:
        go_on.wait(10)

    async with Database(tmp_path / "store.db") as database:
        slow = [asyncio.create_task(database.read(read_slowly)) for _ in range(2)]
        late = asyncio.create_task(database.read(lambda _: has_run.append(1)))
        await asyncio.sleep(0.05)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        go_on.set()
        await asyncio.gather(*slow)
    assert has_run == []
