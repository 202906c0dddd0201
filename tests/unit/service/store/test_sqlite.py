"""Threads and connections to one file: what frames need waits for nobody, none is left behind."""

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


async def test_what_is_looked_up_runs_in_one_piece_in_a_thread_of_its_own(tmp_path: Path) -> None:
    async with Database(tmp_path / "store.db") as database:
        name, all_names = await database.look_up(threads_of)
        assert name.startswith("store-look-up")
        assert {each.rpartition("_")[0] for each in all_names if each.startswith("store")} == {
            "store-look-up",
            "store-write",
        }


def count_long(connection: Connection) -> None:
    """Read for a second or so, as a search in many captions does."""
    connection.exec_driver_sql(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000000) "
        "SELECT max(i) FROM n"
    ).scalar_one()


async def test_what_is_looked_up_does_not_wait_for_what_is_read(tmp_path: Path) -> None:
    async with Database(tmp_path / "store.db") as database:
        reading = [asyncio.create_task(database.read(count_long)) for _ in range(4)]
        await asyncio.sleep(0.05)
        await database.look_up(threads_of)
        assert not any(each.done() for each in reading)
        await asyncio.gather(*reading)


async def test_a_reading_that_is_cancelled_holds_its_caller_until_the_thread_is_free(
    tmp_path: Path,
) -> None:
    has_begun, go_on = threading.Event(), threading.Event()

    def read_slowly(_: Connection) -> None:
        has_begun.set()
        go_on.wait(10)

    async with Database(tmp_path / "store.db") as database:
        reading = asyncio.create_task(database.look_up(read_slowly))
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
        slow = [asyncio.create_task(database.look_up(read_slowly)) for _ in range(2)]
        late = asyncio.create_task(database.look_up(lambda _: has_run.append(1)))
        await asyncio.sleep(0.05)
        late.cancel()
        with pytest.raises(asyncio.CancelledError):
            await late
        go_on.set()
        await asyncio.gather(*slow)
    assert has_run == []
