"""What goes, in which order, and what the service says meanwhile; on a real SQLite store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from schemas.frame import Priority
from schemas.job import Job, JobStatus
from service.errors import StoreError
from service.settings import StoreSettings
from service.store.retention import DiskState, Retention
from service.store.store import Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.store_faults import FailEvery, open_faulty

MIB = 1 << 20


@dataclass
class FakeDisk:
    """A disk whose free space a test sets; what the store gives back is added to it."""

    free: int
    total: int = 1 << 40

    def __call__(self, folder: Path) -> "FakeDisk":
        assert folder.is_dir()
        return self


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}", clock=clock) as opened:
        yield opened


def make_settings(**fields: float) -> StoreSettings:
    values: dict[str, float] = {"min_free_bytes": 100 * MIB, "max_bytes": 16 * MIB, **fields}
    return StoreSettings.model_validate(values)


async def add(store: Store, num_bytes: int = 1000, *, is_ended: bool = False) -> Job:
    """One job that waits, or has ended now."""
    job = make_job()
    await store.accept([job], {job.key: bytes(num_bytes)}, [])
    if is_ended:
        assert await store.finish(job.key, JobStatus.CANCELLED, at=NOON)
    return job


async def state_after_sweep(sweeper: Retention) -> DiskState:
    await sweeper.sweep()
    return sweeper.state


async def kept(store: Store, *jobs: Job) -> list[bool]:
    return [await store.image(job.key) is not None for job in jobs]


async def test_sweep_deletes_finished_jobs_that_are_old_enough(
    store: Store, clock: FakeClock
) -> None:
    old = [await add(store, is_ended=True) for _ in range(250)]
    clock.advance(60)
    young, waiting = await add(store, is_ended=True), await add(store)
    clock.advance(3600 - 30)
    await Retention(store, make_settings(keep_finished=3600), clock, FakeDisk(1 << 40)).sweep()
    assert await store.existing([job.key for job in old]) == {}
    assert set(await store.existing([young.key, waiting.key])) == {
        young.key,
        waiting.key,
    }


async def test_sweep_bounds_the_number_of_finished_jobs(store: Store, clock: FakeClock) -> None:
    jobs = []
    for _ in range(130):
        jobs.append(await add(store, is_ended=True))
        clock.advance(1)
    waiting = await add(store)
    disk = FakeDisk(1 << 40)
    await Retention(store, make_settings(), clock, disk, most_finished=10).sweep()
    assert set(await store.existing([job.key for job in jobs])) == {job.key for job in jobs[-10:]}
    assert await store.get(waiting.key) is not None


async def test_sweep_drops_the_oldest_finished_frames_above_max_bytes(
    store: Store, clock: FakeClock
) -> None:
    older = await add(store, 6 * MIB, is_ended=True)
    clock.advance(1)
    newer = await add(store, 6 * MIB, is_ended=True)
    waiting = await add(store, 6 * MIB)
    sweeper = Retention(store, make_settings(), clock, FakeDisk(1 << 40))
    await sweeper.sweep()
    assert await kept(store, older, newer, waiting) == [False, True, True]
    assert await store.get(older.key) is not None
    assert sweeper.state == "ok"


async def test_waiting_frames_above_max_bytes_refuse_low_ones(
    store: Store, clock: FakeClock
) -> None:
    waiting = [await add(store, 6 * MIB) for _ in range(3)]
    sweeper = Retention(store, make_settings(), clock, FakeDisk(1 << 40))
    assert await state_after_sweep(sweeper) == "full"
    assert await kept(store, *waiting) == [True] * 3
    assert [sweeper.accepts(priority) for priority in Priority] == [False, True, True, True]
    await store.finish(waiting[0].key, JobStatus.CANCELLED, at=NOON)
    assert await state_after_sweep(sweeper) == "ok"


async def test_enough_disk_keeps_frames_and_says_ok(store: Store, clock: FakeClock) -> None:
    finished = await add(store, is_ended=True)
    sweeper = Retention(store, make_settings(), clock, FakeDisk(100 * MIB))
    await sweeper.sweep()
    assert await kept(store, finished) == [True]
    assert (sweeper.state, sweeper.health().status) == ("ok", "healthy")
    assert store.keep_finished_frames


async def test_low_disk_drops_finished_frames_first_and_only_as_many_as_needed(
    store: Store, clock: FakeClock
) -> None:
    settings = make_settings(min_free_bytes=64 * MIB, max_bytes=1 << 30)
    older = await add(store, 20 * MIB, is_ended=True)
    clock.advance(1)
    newer = await add(store, 20 * MIB, is_ended=True)
    waiting = await add(store, 20 * MIB)
    sweeper = Retention(store, settings, clock, FakeDisk(63 * MIB))
    await sweeper.sweep()  # 17 MiB are missing to 1.25 times the minimum
    assert await kept(store, older, newer, waiting) == [False, True, True]


async def test_low_disk_keeps_no_frame_after_its_jobs_end(store: Store, clock: FakeClock) -> None:
    sweeper = Retention(store, make_settings(), clock, FakeDisk(99 * MIB))
    await sweeper.sweep()
    assert (sweeper.state, sweeper.health().status) == ("low", "degraded")
    assert all(sweeper.accepts(priority) for priority in Priority)
    ended, waiting = await add(store, is_ended=True), await add(store)
    assert await kept(store, ended, waiting) == [False, True]


async def test_full_disk_refuses_low_frames(store: Store, clock: FakeClock) -> None:
    disk = FakeDisk(49 * MIB)
    sweeper = Retention(store, make_settings(), clock, disk)
    await sweeper.sweep()
    assert (sweeper.state, sweeper.health().status) == ("full", "degraded")
    assert [sweeper.accepts(priority) for priority in Priority] == [False, True, True, True]
    assert "49 MiB free" in sweeper.health().message


async def test_states_are_left_above_where_they_are_entered(store: Store, clock: FakeClock) -> None:
    disk = FakeDisk(0)
    sweeper = Retention(store, make_settings(), clock, disk)
    seen = []
    for free in (100, 99, 124, 49, 74, 75, 49, 124, 125, 100):
        disk.free = free * MIB
        seen.append(await state_after_sweep(sweeper))
    assert seen == ["ok", "low", "low", "full", "full", "low", "full", "low", "ok", "ok"]
    assert store.keep_finished_frames


async def test_room_is_made_before_the_store_takes_no_frame(store: Store, clock: FakeClock) -> None:
    disk = FakeDisk(store.reserve_bytes)
    sweeper = Retention(store, make_settings(min_free_bytes=0), clock, disk)
    assert await state_after_sweep(sweeper) == "ok"
    disk.free -= 1
    assert await state_after_sweep(sweeper) == "low"


async def test_real_disk_is_read_by_default(store: Store, clock: FakeClock) -> None:
    sweeper = Retention(store, make_settings(min_free_bytes=64 << 40), clock)
    await sweeper.sweep()
    assert sweeper.state == "full"


async def test_disk_below_the_reserve_is_unhealthy(store: Store, clock: FakeClock) -> None:
    sweeper = Retention(store, make_settings(), clock, FakeDisk(store.reserve_bytes - 1))
    await sweeper.sweep()
    assert (sweeper.state, sweeper.health().status) == ("full", "unhealthy")
    assert "stay with the broker" in sweeper.health().message


async def test_state_is_taken_though_nothing_can_be_deleted(
    tmp_path: Path, clock: FakeClock
) -> None:
    faults = FailEvery(1, "begin")
    async with open_faulty(f"sqlite:///{tmp_path / 'refusing.db'}", faults) as store:
        sweeper = Retention(store, make_settings(), clock, FakeDisk(0))
        with pytest.raises(StoreError):
            await sweeper.sweep()
        assert (sweeper.state, sweeper.health().status) == ("full", "unhealthy")
        assert not store.keep_finished_frames


async def test_run_notices_soon_that_the_disk_has_changed(store: Store, clock: FakeClock) -> None:
    disk = FakeDisk(1 << 40)
    sweeper = Retention(store, make_settings(), clock, disk)
    running = asyncio.create_task(sweeper.run())
    states = [sweeper.state]
    async with asyncio.timeout(10):
        for disk.free, state in ((0, "full"), (1 << 40, "ok")):
            while sweeper.state != state:  # noqa: ASYNC110 - no event tells of it
                await asyncio.sleep(0.05)  # the clock stands still, so no sweep is due
            states.append(sweeper.state)
    assert states == ["ok", "full", "ok"]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_run_sweeps_early_when_much_has_come_in(store: Store, clock: FakeClock) -> None:
    sweeper = Retention(store, make_settings(), clock, FakeDisk(1 << 40))
    running = asyncio.create_task(sweeper.run())
    await asyncio.sleep(0.1)  # the first sweep is over; the clock stands still, so none is due
    frames = [await add(store, 12 * MIB, is_ended=True) for _ in range(6)]
    async with asyncio.timeout(5):
        while await store.frame_bytes() > 16 * MIB:  # noqa: ASYNC110 - no event tells of it
            await asyncio.sleep(0.05)
    assert (await kept(store, *frames))[-1]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def test_run_survives_a_disk_that_cannot_be_read(store: Store, clock: FakeClock) -> None:
    loop, asked = asyncio.get_running_loop(), asyncio.Event()

    def broken_disk(_: Path) -> FakeDisk:
        loop.call_soon_threadsafe(asked.set)
        raise OSError("gone")

    running = asyncio.create_task(Retention(store, make_settings(), clock, broken_disk).run())
    async with asyncio.timeout(5):
        await asked.wait()
    await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
