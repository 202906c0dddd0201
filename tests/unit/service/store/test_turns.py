"""Who writes next, and together with whom."""

import asyncio
from itertools import count

import pytest
from sqlalchemy import Connection
from sqlalchemy.exc import IntegrityError

from schemas.frame import Priority
from schemas.job import Job, JobStatus
from service.errors import StoreError
from service.store.database import Database
from service.store.store import Ending, Store
from service.store.turns import Turn, Turns, Waiting
from tests.support.factories import NOON, make_job
from tests.support.store_faults import Step, fault, open_faulty
from tests.unit.service.store.test_database import insert_camera, read_cameras

URGENT, OTHER = Turn(is_urgent=True), Turn()
NUMBERS = count()


def nothing(_: Connection) -> None:
    """Some work."""


def waiting(turns: Turns, num: int, turn: Turn = OTHER) -> list[Waiting]:
    added = [Waiting(nothing, turn) for _ in range(num)]
    for each in added:
        turns.add(each)
    return added


async def test_what_is_urgent_goes_first_and_by_itself() -> None:
    turns = Turns()
    others, urgent = waiting(turns, 2), waiting(turns, 2, URGENT)
    assert turns.next_group() == urgent
    assert turns.next_group() == others
    assert not turns


async def test_others_have_a_turn_after_some_urgent_ones() -> None:
    turns = Turns()
    others = waiting(turns, 1)
    for _ in range(4):
        urgent = waiting(turns, 1, URGENT)
        assert turns.next_group() == urgent
    more_urgent = waiting(turns, 1, URGENT)
    assert turns.next_group() == others
    assert turns.next_group() == more_urgent


async def test_urgent_ones_that_nobody_waited_for_do_not_count() -> None:
    turns = Turns()
    for _ in range(100):
        waiting(turns, 1, URGENT)
        turns.next_group()
    others, urgent = waiting(turns, 1), waiting(turns, 1, URGENT)
    assert turns.next_group() == urgent
    assert turns.next_group() == others


async def test_a_group_is_bounded_in_number_and_in_bytes() -> None:
    turns = Turns()
    small = waiting(turns, 5)
    large = waiting(turns, 2, Turn(num_bytes=1 << 20))
    assert turns.next_group() == small[:4]
    assert turns.next_group() == [small[4], large[0]]
    assert turns.next_group() == [large[1]]


async def test_what_is_to_be_alone_is() -> None:
    turns = Turns()
    first, alone, last = (
        *waiting(turns, 1),
        *waiting(turns, 1, Turn(is_alone=True)),
        *waiting(turns, 1),
    )
    assert [turns.next_group() for _ in range(3)] == [[first], [alone], [last]]


async def test_what_was_cancelled_has_no_turn() -> None:
    turns = Turns()
    first, second = waiting(turns, 2)
    first.outcome.cancel()
    assert turns.next_group() == [second]


class Steps:
    """Notes all steps, and fails the second of one kind."""

    def __init__(self, second_fails: Step | None = None) -> None:
        self.seen: list[Step] = []
        self._second_fails = second_fails

    def check(self, step: Step) -> None:
        self.seen.append(step)
        if step == self._second_fails and self.seen.count(step) == 2:
            raise fault(f"injected at {step}")


class Names:
    """Camera names, written to the store's database one by one or at once."""

    def __init__(self, store: Store) -> None:
        self.database: Database = store._database
        self.ran: list[str] = []

    def insert(self, connection: Connection, name: str) -> str:
        self.ran.append(name)
        return insert_camera(connection, name)

    def write(self, name: str, turn: Turn = OTHER) -> "asyncio.Task[str]":
        return asyncio.create_task(self.database.write_in_turn(turn, self.insert, name))

    async def begin(self) -> "asyncio.Task[str]":
        """One that runs, so that others wait."""
        task = self.write(f"a-{next(NUMBERS)}")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return task


@pytest.mark.both_databases
async def test_what_waits_is_written_in_one_transaction(store_url: str) -> None:
    steps = Steps()
    async with open_faulty(store_url, steps) as store:
        names = Names(store)
        first = await names.begin()
        rest = [names.write(name) for name in "bcd"]
        assert await asyncio.gather(*rest) == ["b", "c", "d"]
        assert steps.seen.count("commit") == 2
        assert await store._database.read(read_cameras) == [first.result(), "b", "c", "d"]


@pytest.mark.both_databases
async def test_urgent_work_is_committed_before_what_waited(store_url: str) -> None:
    async with open_faulty(store_url, Steps()) as store:
        names = Names(store)
        running = await names.begin()
        late = [names.write(name) for name in "bc"]
        urgent = names.write("d", URGENT)
        assert await urgent == "d"
        assert running.done()
        assert not any(each.done() for each in late)
        await asyncio.gather(*late)
        assert names.ran[1:] == ["d", "b", "c"]


@pytest.mark.both_databases
async def test_who_is_never_urgent_is_not_starved(store_url: str) -> None:
    async with open_faulty(store_url, Steps()) as store:
        names = Names(store)

        async def hurry(letter: str) -> None:
            for number in range(12):
                await names.write(f"{letter}-{number}", URGENT)

        hurrying = [asyncio.create_task(hurry(letter)) for letter in "uv"]
        await asyncio.sleep(0)
        await names.write("patient")
        assert not any(each.done() for each in hurrying)
        await asyncio.gather(*hurrying)


@pytest.mark.both_databases
async def test_one_that_fails_takes_nobody_along(store_url: str) -> None:
    async with open_faulty(store_url, Steps()) as store:
        names = Names(store)
        first = await names.begin()
        b, again, c = names.write("b"), names.write("b"), names.write("c")
        with pytest.raises(StoreError) as caught:
            await again
        assert isinstance(caught.value.__cause__, IntegrityError)
        assert [await b, await c] == ["b", "c"]
        assert await store._database.read(read_cameras) == [first.result(), "b", "c"]
        assert store.refusal is None


@pytest.mark.both_databases
async def test_an_error_that_is_no_databases_ends_one_alone(store_url: str) -> None:
    def fail(_: Connection) -> None:
        raise ZeroDivisionError

    async with open_faulty(store_url, Steps()) as store:
        names = Names(store)
        await names.begin()
        b, bad = names.write("b"), asyncio.create_task(store._database.write(fail))
        c = names.write("c")
        with pytest.raises(ZeroDivisionError):
            await bad
        assert [await b, await c] == ["b", "c"]


@pytest.mark.both_databases
@pytest.mark.parametrize(("step", "num_written"), [("begin", 0), ("commit", 0), ("committed", 2)])
async def test_all_hear_of_a_commit_that_failed_and_none_is_done_twice(
    store_url: str, step: Step, num_written: int
) -> None:
    async with open_faulty(store_url, Steps(second_fails=step)) as store:
        names = Names(store)
        await names.begin()
        both = [names.write(name) for name in "bc"]
        outcomes = await asyncio.gather(*both, return_exceptions=True)
        assert [type(each) for each in outcomes] == [StoreError, StoreError]
        assert max(names.ran.count(name) for name in "bc") <= 1
        assert len(await store._database.read(read_cameras)) == 1 + num_written


@pytest.mark.both_databases
async def test_one_of_a_group_whose_caller_goes_is_written_with_the_others(store_url: str) -> None:
    async with open_faulty(store_url, Steps()) as store:
        names = Names(store)
        first = await names.begin()
        b, c, never = (names.write(name) for name in "bcd")
        await asyncio.sleep(0)
        never.cancel()  # before its turn
        await first
        b.cancel()  # in it
        assert await c == "c"
        assert b.cancelled()
        assert await store._database.read(read_cameras) == [first.result(), "b", "c"]


class Noting(Database):
    """Notes who is in a hurry."""

    turns: list[Turn]

    async def write_in_turn(self, turn: Turn, work, *args, **kwargs):  # type: ignore[no-untyped-def]
        self.turns.append(turn)
        return await super().write_in_turn(turn, work, *args, **kwargs)


@pytest.mark.parametrize("priority", list(Priority))
async def test_only_critical_jobs_are_urgent(store_url: str, priority: Priority) -> None:
    async def live(store: Store, job: Job) -> None:
        other = make_job(priority=Priority.LOW)
        await store.accept([other, job], {job.key: b"image"}, [])
        await store.start([job.key], NOON, is_urgent=priority is Priority.CRITICAL)
        ending = Ending(job.key, JobStatus.COMPLETED, NOON, priority=priority)
        await store.finish_many([Ending(other.key, JobStatus.CANCELLED, NOON), ending])

    database = Noting(store_url)
    async with database:
        database.turns = []
        await live(Store(database, ""), make_job(priority=priority))
    is_critical = priority is Priority.CRITICAL
    assert [each.is_urgent for each in database.turns] == [is_critical] * 3
    assert database.turns[0].num_bytes == len(b"image")
