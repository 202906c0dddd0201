"""Recovery goes on where a part of it fails; what it does to real stores is tested with them."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from service.errors import StoreError
from service.recovery import Recovery
from service.store.unreadable import UnreadableRow
from tests.support.checker import until
from tests.support.factories import NOON
from tests.support.fakes import FakeClock


class Rows:
    """Of which some cannot be read."""

    def __init__(self, *keys: str) -> None:
        self._left = list(keys)
        self.settled: list[object] = []

    async def next(self) -> UnreadableRow:
        if not self._left:
            await asyncio.Event().wait()
        return UnreadableRow("jobs", (self._left.pop(0),), "damaged")

    def settle(self, row: UnreadableRow) -> None:
        self.settled.append(row.key[0])


class Instances:
    """The others in the database, who are seen at every second look."""

    def __init__(self, *, is_alone: bool) -> None:
        self.is_alone = is_alone
        self.num_looks = 0

    async def silent(self, now: float) -> list[Any]:
        self.num_looks += 1
        if self.num_looks % 2:
            raise StoreError("locked")
        return []


class Store:
    def __init__(self, *keys: str, is_alone: bool = True) -> None:
        self.unreadable = Rows(*keys)
        self.instances = Instances(is_alone=is_alone)


class Ends:
    """Sets rows aside, and fails at some."""

    def __init__(self, **failures: list[Exception]) -> None:
        self._failures = failures

    async def set_aside(self, row: UnreadableRow) -> None:
        if failures := self._failures.get(str(row.key[0])):
            raise failures.pop(0)


@asynccontextmanager
async def recovering(store: Any, ends: Any) -> AsyncIterator[None]:
    nobody: Any = None
    recovery = Recovery(store, ends, nobody, nobody, nobody, FakeClock(NOON), beat_s=0.001)
    task = asyncio.create_task(recovery.run())
    try:
        async with asyncio.timeout(10.0):
            yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_row_that_cannot_be_set_aside_is_left_and_the_next_is_taken(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store("one", "two", "three")
    async with recovering(store, Ends(two=[ValueError("a mistake")])):
        await until(lambda: len(store.unreadable.settled) == 2)
    assert store.unreadable.settled == ["one", "three"]
    assert "a row of jobs cannot be set aside" in caplog.text


async def test_row_is_tried_until_the_store_takes_its_end() -> None:
    store = Store("one")
    async with recovering(store, Ends(one=[StoreError("locked"), StoreError("locked")])):
        await until(lambda: store.unreadable.settled == ["one"])


async def test_others_are_looked_for_again_after_the_store_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = Store(is_alone=False)
    with caplog.at_level(logging.WARNING):
        async with recovering(store, Ends()):
            await until(lambda: store.instances.num_looks >= 4)
    assert caplog.text.count("other instances cannot be seen: locked") >= 2


async def test_nobody_is_looked_for_in_a_database_of_its_own() -> None:
    store = Store("one")
    async with recovering(store, Ends()):
        await until(lambda: store.unreadable.settled == ["one"])
        await asyncio.sleep(0.02)
    assert store.instances.num_looks == 0
