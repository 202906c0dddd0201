"""What is followed: once each, bounded, and the same after a restart. On a real store."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from schemas.frigate import Severity, Subject
from service.sources.frigate import events as module
from service.sources.frigate.events import Events
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.fakes import FakeClock


def subject(number: int = 1, **said: Any) -> Subject:
    return Subject(id=f"1700000000.{number}-abc", camera="yard", **said)


@asynccontextmanager
async def opened(folder: Path, clock: FakeClock) -> AsyncIterator[Events]:
    async with Store.open(folder / "jobs.sqlite3", clock=clock) as store:
        events = Events(store.frigate, clock)
        await events.load()
        yield events


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


async def test_what_is_open_is_known_after_a_restart(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as events:
        each = events.hear(subject(zones=("porch",)))
        assert each is not None
        each.num_described = 1
        clock.advance(30)
        events.hear(subject(severity=Severity.ALERT, is_ended=True))
        await events.flush()
        clock.advance(10)
        await events.flush()
    clock.advance(5)
    async with opened(tmp_path, clock) as events:
        [kept] = events.open
        assert kept.subject == subject(severity=Severity.ALERT, is_ended=True, zones=("porch",))
        now = clock.monotonic()
        assert kept.num_described == 1
        assert kept.ended == pytest.approx(now - 15)
        assert kept.first_heard == pytest.approx(now - 45)


async def test_what_is_done_is_not_heard_again(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as events:
        each = events.hear(subject())
        assert each is not None
        events.finish(each)
        assert events.hear(subject(is_ended=True)) is None
        await events.flush()
    async with opened(tmp_path, clock) as events:
        assert events.is_over(subject())
        assert events.hear(subject(is_ended=True)) is None
        clock.advance(100)
        events.forget_done(older_s=99)
        await events.flush()
    async with opened(tmp_path, clock) as events:
        assert not events.is_over(subject())


async def test_an_event_and_a_review_of_one_id_are_two(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as events:
        events.hear(subject())
        events.hear(subject(kind="review"))
        await events.flush()
    async with opened(tmp_path, clock) as events:
        assert {each.subject.kind for each in events.open} == {"event", "review"}


async def test_more_than_can_be_followed_forgets_those_that_go_on(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has ended is due within a second; of the others the end will be heard."""
    monkeypatch.setattr(module, "MOST_OPEN", 4)
    async with opened(tmp_path, clock) as events:
        for number in range(1, 7):
            clock.advance(1)
            events.hear(subject(number, is_ended=number == 2))
            await events.flush()
        assert [each.subject.id[11] for each in events.open] == ["2", "4", "5", "6"]
        assert events.hear(subject(1, is_ended=True)) is not None
        assert [each.subject.id[11] for each in events.open] == ["2", "5", "6", "1"]
        await events.flush()
    async with opened(tmp_path, clock) as events:
        assert {each.subject.id[11] for each in events.open} == {"1", "2", "5", "6"}


async def test_those_that_wait_for_pictures_leave_room_for_half(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 4)
    async with opened(tmp_path, clock) as events:
        for number in range(6):
            clock.advance(1)
            events.hear(subject(number, is_ended=number < 4))
        assert [each.subject.id[11] for each in events.open] == ["2", "3", "4", "5"]
        assert events.is_over(subject(0))


async def test_a_flood_of_made_up_events_is_named_once(
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(module, "MOST_OPEN", 5)
    monkeypatch.setattr(module, "MOST_DONE", 10)
    async with opened(tmp_path, clock) as events:
        for number in range(100):
            events.hear(subject(number, is_ended=number % 2 == 0))
        await events.flush()
        assert len(events.open) == 5
        assert len(caplog.records) == 1
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock) as store:
        assert len(await store.frigate.load()) == 15


async def test_a_thousand_updates_are_one_row_each(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as events:
        for update in range(20):
            for number in range(50):
                events.hear(subject(number, frame_time=float(update)))
        assert len(events.open) == 50
        await events.flush()
    async with opened(tmp_path, clock) as events:
        assert {each.subject.frame_time for each in events.open} == {19.0}


async def test_who_waits_is_told_once_it_is_stored(tmp_path: Path, clock: FakeClock) -> None:
    async with opened(tmp_path, clock) as events:
        running = asyncio.create_task(events.run())
        events.hear(subject())
        committed = events.committed(subject())
        assert committed is not None
        assert events.committed(subject()) is committed
        async with asyncio.timeout(5):
            await committed
        running.cancel()
    async with opened(tmp_path, clock) as events:
        assert len(events.open) == 1


@pytest.mark.parametrize(
    ("said", "must_be_stored"),
    [
        ({"frame_time": 5.0, "score": 0.9}, False),
        ({"severity": Severity.ALERT}, True),
        ({"zones": ("porch",)}, True),
        ({"is_ended": True}, True),
    ],
)
async def test_only_what_must_not_be_lost_is_waited_for(
    tmp_path: Path, clock: FakeClock, said: dict[str, Any], must_be_stored: bool
) -> None:
    async with opened(tmp_path, clock) as events:
        events.hear(subject())
        await events.flush()
        events.hear(subject(**said))
        assert (events.committed(subject()) is not None) is must_be_stored
        await events.flush()
        events.hear(subject(**said))
        assert events.committed(subject()) is None


async def test_what_nobody_waits_for_is_written_soon(tmp_path: Path, clock: FakeClock) -> None:
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock) as store:
        events = Events(store.frigate, clock)
        running = asyncio.create_task(events.run())
        events.hear(subject())
        async with asyncio.timeout(5):
            while not await store.frigate.load():  # noqa: ASYNC110 - the store has no event
                await asyncio.sleep(0.05)
        running.cancel()


@pytest.mark.parametrize(
    "column",
    ["document = '{'", "document = '{}'", "heard = 'x'", "ended = x'ff'", "is_done = 'y'"],
)
async def test_a_row_that_cannot_be_read_is_forgotten_and_named(
    tmp_path: Path, clock: FakeClock, column: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, clock) as events:
        events.hear(subject(1))
        events.hear(subject(2))
        await events.flush()
    with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as connection, connection:
        where = "event_key LIKE '%.1-%'"
        connection.execute(f"UPDATE frigate_events SET {column} WHERE {where}")  # noqa: S608
    async with opened(tmp_path, clock) as events:
        assert [each.subject.id[11] for each in events.open] == ["2"]
        assert "event/1700000000.1-abc" in caplog.text
        caplog.clear()
    async with opened(tmp_path, clock) as events:
        assert len(events.open) == 1
        assert not caplog.records


@pytest.mark.parametrize(("days", "num_left"), [(29, 1), (31, 0)])
async def test_rows_of_an_instance_that_is_no_more_are_deleted(
    tmp_path: Path, clock: FakeClock, days: float, num_left: int
) -> None:
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock, instance="old") as store:
        events = Events(store.frigate, clock)
        events.hear(subject())
        await events.flush()
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock, instance="new") as store:
        clock.advance(days * 86_400)
        assert await store.frigate.load() == []
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock, instance="old") as store:
        assert len(await store.frigate.load()) == num_left
