"""A real disk without room: every refusal is `StoreFullError`, and all works again with room."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from schemas.job import Job, JobStatus
from service.errors import StoreFullError
from service.store.database import Database
from service.store.store import Store
from tests.support.factories import NOON, make_job
from tests.support.small_disk import DiskUnavailableError, SmallDisk, a_small_disk

_MIB = 1 << 20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    try:
        with a_small_disk(tmp_path / "disk", 9 * _MIB) as made:
            yield made
    except DiskUnavailableError as error:
        pytest.skip(str(error))


def url_on(disk: SmallDisk) -> str:
    return f"sqlite:///{disk.folder / 'store.db'}"


async def add(store: Store, num_bytes: int = 20_000) -> Job:
    job = make_job()
    await store.accept([job], {job.key: bytes(num_bytes)}, [])
    return job


WRITES: dict[str, Callable[[Store, Database, Job], Awaitable[object]]] = {
    "start": lambda store, _, job: store.start([job.key], NOON),
    "requeue": lambda store, _, job: store.requeue([job.key]),
    "finish": lambda store, _, job: store.finish(job.key, JobStatus.CANCELLED, at=NOON),
    "recover": lambda store, _, job: store.recover(),
    "override": lambda store, _, job: store.set_camera_override("front", {"cooldown": 1}),
    "delete": lambda store, _, job: store.delete_finished(0),
    "drop": lambda store, _, job: store.drop_finished_frames(0),
    "shrink": lambda store, _, job: store.shrink(_MIB),
    "cut": lambda _, database, job: database.cut_file(),
    "log": lambda _, database, job: database.empty_log(),
    "sent": lambda store, _, job: store.outbox.sent([1]),
}


@pytest.mark.parametrize("name", WRITES)
async def test_full_disk_refuses_or_does_it_and_says_so_in_our_words(
    disk: SmallDisk, name: str
) -> None:
    async with Database(url_on(disk)) as database:
        store = Store(database, "")
        running, ended = await add(store), await add(store)
        await store.start([running.key], NOON)
        assert await store.finish(ended.key, JobStatus.CANCELLED, at=NOON)
        disk.fill()
        try:
            await WRITES[name](store, database, running)
        except StoreFullError as error:
            assert "full" in str(error)
        assert await store.image(running.key) is not None  # what is there can be read
        disk.clear()
        await WRITES[name](store, database, running)
        await add(store)
        assert store.refusal is None


async def test_log_that_has_no_room_in_the_file_is_a_full_store(disk: SmallDisk) -> None:
    async with Database(url_on(disk)) as database:
        store = Store(database, "")
        for _ in range(8):
            await add(store, 100_000)  # all of it still in the log
        disk.fill()
        with pytest.raises(StoreFullError):
            await database.empty_log()
        with pytest.raises(StoreFullError):
            await store.shrink(_MIB)
        disk.clear()
        await database.empty_log()


async def test_write_that_is_refused_is_remembered_until_one_succeeds(disk: SmallDisk) -> None:
    async with Store.open(url_on(disk)) as store:
        job = await add(store)
        disk.fill()
        with pytest.raises(StoreFullError):
            for number in range(1000):
                await store.set_camera_override(f"camera-{number}", {"prompt": "x" * 2000})
        assert store.refusal == "database or disk is full"
        disk.clear()
        assert await store.start([job.key], NOON)
        assert store.refusal is None


@pytest.mark.parametrize("left", [0, 4096, 8192, 16384, 32768])
@pytest.mark.parametrize("is_new", [True, False])
async def test_open_on_a_full_disk_says_so_and_leaves_a_file_that_opens(
    disk: SmallDisk, left: int, is_new: bool
) -> None:
    jobs = []
    if not is_new:
        async with Store.open(url_on(disk)) as store:
            jobs.append(await add(store))
    disk.fill(leave=left)
    try:
        async with Store.open(url_on(disk)) as store:
            assert not is_new
            assert [job.key for job in await store.recover()] == [job.key for job in jobs]
    except StoreFullError as error:
        assert "store.db: database or disk is full" in str(error)
    disk.clear()
    async with Store.open(url_on(disk)) as store:
        jobs.append(await add(store))
        assert len(await store.recover()) == len(jobs)


async def test_what_does_not_fit_takes_nobody_along_with_whom_it_was_written(
    disk: SmallDisk,
) -> None:
    async with Database(url_on(disk)) as database:
        store = Store(database, "")
        ending = await add(store)
        await store.start([ending.key], NOON)
        disk.fill(leave=300_000)
        began = asyncio.create_task(store.set_camera_override("front", {"cooldown": 1}))
        await asyncio.sleep(0)  # what comes now waits for it, and is one group
        outcomes = await asyncio.gather(
            store.set_camera_override("large", {"prompt": "x" * 900_000}),
            store.finish(ending.key, JobStatus.CANCELLED, at=NOON),
            return_exceptions=True,
        )
        await began
        assert isinstance(outcomes[0], StoreFullError)
        assert not isinstance(outcomes[1], StoreFullError), "it fits"
