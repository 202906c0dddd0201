"""Transactions, errors and files: what only one of the databases has is tested on that one."""

import asyncio
import os
import sqlite3
import stat
import traceback
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError

from schemas.job import JobStatus
from service.errors import ConfigurationError, StoreError, StoreFullError
from service.store.database import Database, in_groups, translated
from service.store.store import Store
from service.store.tables import cameras
from tests.support.factories import NOON, make_job
from tests.support.postgres import Postgres
from tests.support.store_faults import FailEvery, open_faulty


@dataclass
class SmallDisk:
    free: int
    total: int = 1 << 40


def sqlite_url(folder: Path) -> str:
    return f"sqlite:///{folder / 'store.db'}"


def insert_camera(connection: Connection, camera_id: str) -> str:
    connection.execute(cameras.insert(), {"camera_id": camera_id, "settings": "{}"})
    return camera_id


def read_cameras(connection: Connection) -> list[str]:
    return list(connection.scalars(select(cameras.c.camera_id).order_by(cameras.c.camera_id)))


@pytest.mark.both_databases
async def test_write_commits_and_returns_what_the_work_returns(store_url: str) -> None:
    async with Database(store_url) as database:
        assert await database.write(insert_camera, "front") == "front"
        assert await database.read(read_cameras) == ["front"]


@pytest.mark.both_databases
async def test_write_that_fails_leaves_nothing(store_url: str) -> None:
    def insert_twice(connection: Connection) -> None:
        insert_camera(connection, "garden")
        insert_camera(connection, "garden")

    async with Database(store_url) as database:
        with pytest.raises(StoreError) as caught:
            await database.write(insert_twice)
        assert isinstance(caught.value.__cause__, IntegrityError)
        assert await database.read(read_cameras) == []
        await database.write(insert_camera, "front")  # the connection is still good


@pytest.mark.both_databases
async def test_write_goes_on_when_its_caller_is_cancelled(store_url: str) -> None:
    async with Database(store_url) as database:
        writing = asyncio.create_task(database.write(insert_camera, "front"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # it has begun
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        await database.write(insert_camera, "garden")
        assert await database.read(read_cameras) == ["front", "garden"]


@pytest.mark.both_databases
async def test_write_that_has_not_begun_is_cancelled(store_url: str) -> None:
    async with Database(store_url) as database:
        first = asyncio.create_task(database.write(insert_camera, "front"))
        second = asyncio.create_task(database.write(insert_camera, "garden"))
        await asyncio.sleep(0)
        second.cancel()
        await first
        with pytest.raises(asyncio.CancelledError):
            await second
        assert await database.read(read_cameras) == ["front"]


@pytest.mark.both_databases
async def test_close_waits_for_the_write_under_way(store_url: str) -> None:
    async with Database(store_url) as database:
        writing = asyncio.create_task(database.write(insert_camera, "front"))
        await asyncio.sleep(0)
    await writing
    async with Database(store_url) as database:
        assert await database.read(read_cameras) == ["front"]


@pytest.mark.both_databases
async def test_many_writers_take_turns(store_url: str) -> None:
    names = [f"camera-{i:02d}" for i in range(50)]
    async with Database(store_url) as database:
        await asyncio.gather(*(database.write(insert_camera, name) for name in names))
        assert await database.read(read_cameras) == names


@pytest.mark.both_databases
async def test_an_error_does_not_carry_the_data_of_the_statement(store_url: str) -> None:
    async with Database(store_url) as database:
        await database.write(insert_camera, "secret-name")
        with pytest.raises(StoreError) as caught:
            await database.write(insert_camera, "secret-name")
        assert "secret-name" not in str(caught.value.__cause__)


def test_files_are_the_owners_alone(tmp_path: Path) -> None:
    async def modes() -> dict[str, int]:
        async with Store.open(sqlite_url(tmp_path / "new" / "folder")) as store:
            await store.accept([make_job()], {}, [])
            files = (tmp_path / "new" / "folder").iterdir()
            return {each.name: stat.S_IMODE(each.stat().st_mode) for each in files}

    before = os.umask(0)
    try:
        found = asyncio.run(modes())
    finally:
        os.umask(before)
    names = ["store.db", "store.db-lock", "store.db-shm", "store.db-wal"]
    assert found == dict.fromkeys(names, 0o600)


async def test_a_file_open_to_others_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.touch(0o644)
    async with Store.open(sqlite_url(tmp_path)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_sqlite_is_durable_at_commit(tmp_path: Path) -> None:
    def pragmas(connection: Connection) -> dict[str, object]:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout", "auto_vacuum")
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in names}

    async with Database(sqlite_url(tmp_path)) as database:
        found = await database.write(pragmas)
    assert found == {
        "journal_mode": "wal",
        "synchronous": 2,  # FULL
        "foreign_keys": 1,
        "busy_timeout": 10_000,
        "auto_vacuum": 2,  # INCREMENTAL
    }


async def test_another_process_may_read_meanwhile(tmp_path: Path) -> None:
    async with Store.open(sqlite_url(tmp_path)) as store:
        await store.accept([make_job(), make_job()], {}, [])
        with sqlite3.connect(tmp_path / "store.db") as reader:
            assert reader.execute("SELECT count(*) FROM jobs").fetchone() == (2,)
        reader.close()


async def test_full_database_says_so_and_works_again_with_room(tmp_path: Path) -> None:
    def limit(connection: Connection, num_pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {num_pages}")

    async with Database(sqlite_url(tmp_path)) as database:
        store = Store(database, "")
        jobs = [make_job() for _ in range(5)]
        images = {job.key: bytes(100_000) for job in jobs}
        await database.write(limit, 40)  # 655 KB
        with pytest.raises(StoreFullError):
            for _ in range(4):
                await store.accept(jobs, images, [])
                jobs = [make_job() for _ in range(5)]
                images = {job.key: bytes(100_000) for job in jobs}
        assert await store.existing([job.key for job in jobs]) == {}
        await database.write(limit, 1_000_000)
        await store.accept(jobs, images, [])
        assert len(await store.existing([job.key for job in jobs])) == 5


async def test_frames_can_be_dropped_while_the_database_is_full(tmp_path: Path) -> None:
    def limit(connection: Connection, num_pages: int) -> None:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {num_pages}")

    async with Database(sqlite_url(tmp_path)) as database:
        store = Store(database, "")
        await database.write(limit, 60)
        kept = []
        with pytest.raises(StoreFullError):
            while True:
                job = make_job()
                await store.accept([job], {job.key: bytes(100_000)}, [])
                kept.append(job)
        for job in kept:
            assert await store.finish(job.key, JobStatus.CANCELLED, at=NOON) is not None
        assert await store.drop_finished_frames(0) == len(kept)
        job = make_job()
        await store.accept([job], {job.key: bytes(100_000)}, [])
        assert await store.image(job.key) is not None


async def test_frames_leave_a_reserve_in_which_jobs_can_end(tmp_path: Path) -> None:
    disk = SmallDisk(free=49 << 20)
    async with Store.open(sqlite_url(tmp_path), disk_usage=lambda _: disk) as store:
        jobs = [make_job() for _ in range(3)]
        await store.accept(jobs[:1], {jobs[0].key: bytes(1 << 20)}, [])
        disk.free -= 1 << 20
        with pytest.raises(StoreFullError, match="the last 48 MiB are kept"):
            await store.accept(jobs[1:2], {jobs[1].key: bytes(1)}, [])
        dropped = jobs[2].model_copy(update={"status": JobStatus.DROPPED})
        await store.accept([dropped], {}, [])
        assert await store.finish(jobs[0].key, JobStatus.CANCELLED, at=NOON) is not None
        assert set(await store.existing([job.key for job in jobs])) == {
            jobs[0].key,
            jobs[2].key,
        }


async def test_shrink_gives_the_space_back_to_the_file_system(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Store.open(sqlite_url(tmp_path)) as store:
        jobs = [make_job(status=JobStatus.QUEUED) for _ in range(100)]
        await store.accept(jobs, {job.key: bytes(100_000) for job in jobs}, [])
        for job in jobs:
            await store.finish(job.key, JobStatus.CANCELLED, at=NOON)
        await store.drop_finished_frames(0)
        assert await store.shrink(1 << 40) > 9_000_000
        assert path.stat().st_size < 1_000_000
        assert path.with_name("store.db-wal").stat().st_size == 0
        assert await store.shrink(1 << 40) == 0


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://host/name", "store.db"],
)
async def test_open_refuses_urls_it_does_not_know(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        async with Store.open(url):
            pass


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@host:port/name",
        "postgresql://me:hunter2@[::1/name",
        "sqlite:///store.db?hunter2=1",
        "oracle://me:hunter2@host/name",
    ],
)
async def test_open_refuses_a_malformed_url_without_repeating_it(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.url") as caught:
        async with Store.open(url):
            pass
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("option", ["sslmode=on", "command_timeout=soon"])
async def test_open_refuses_an_option_the_driver_does_not_know(
    request: pytest.FixtureRequest, option: str
) -> None:
    server: Postgres = request.getfixturevalue("postgres")
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        async with Store.open(f"{server.url('postgres')}?{option}"):
            pass


async def test_path_with_characters_of_urls_is_the_file(tmp_path: Path) -> None:
    path = tmp_path / "what? #1 %2e" / "store.db"
    async with Store.open(path) as store:
        assert store.folder == path.parent
    assert path.is_file()


async def test_open_refuses_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"no database at all" * 1000)
    with pytest.raises(StoreError, match=r"store\.db: file is not a database; move it .*data_dir"):
        async with Store.open(sqlite_url(tmp_path)):
            pass


async def test_open_refuses_a_file_another_service_uses(tmp_path: Path) -> None:
    async with Store.open(sqlite_url(tmp_path)):
        with pytest.raises(StoreError, match=r"another service uses .*data_dir"):
            async with Store.open(sqlite_url(tmp_path)):
                pass
    async with Store.open(sqlite_url(tmp_path)):
        pass  # it let go


async def test_open_refuses_a_folder_it_cannot_make(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="a file is in its way"):
        async with Store.open(sqlite_url(tmp_path / "file" / "folder")):
            pass


async def test_damaged_pages_are_refused_not_returned(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    async with Store.open(sqlite_url(tmp_path)) as store:
        jobs = [make_job() for _ in range(50)]
        await store.accept(jobs, {job.key: bytes(20_000) for job in jobs}, [])
    damaged = bytearray(path.read_bytes())
    damaged[16384 : len(damaged)] = b"\xff" * (len(damaged) - 16384)
    path.write_bytes(damaged)
    with pytest.raises(StoreError):
        async with Store.open(sqlite_url(tmp_path)) as store:
            await store.recover()


async def test_a_locked_file_is_waited_for(tmp_path: Path) -> None:
    async with Store.open(sqlite_url(tmp_path)) as store:
        other = sqlite3.connect(tmp_path / "store.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        writing = asyncio.create_task(store.accept([make_job()], {}, []))
        await asyncio.sleep(0.2)
        assert not writing.done()
        other.execute("COMMIT")
        other.close()
        await writing


@pytest.mark.both_databases
async def test_fault_after_the_commit_is_an_error_though_all_is_written(store_url: str) -> None:
    faults = FailEvery(1, "committed")
    async with open_faulty(store_url, faults) as store:
        job = make_job()
        with pytest.raises(StoreError):
            await store.accept([job], {job.key: b"x"}, [])
        assert faults.failed == ["committed"]
        assert await store.image(job.key) == b"x"


def test_translated_keeps_other_errors() -> None:
    with pytest.raises(ZeroDivisionError), translated():
        raise ZeroDivisionError


def test_in_groups_covers_everything_once() -> None:
    values = list(range(1234))
    groups = list(in_groups(values))
    assert list(dict.fromkeys(value for group in groups for value in group)) == values
    assert {len(group) for group in groups} == {128}
    assert list(in_groups([])) == []


@pytest.mark.parametrize(("count", "length"), [(1, 1), (2, 2), (3, 4), (65, 128), (128, 128)])
def test_in_groups_gives_lists_of_few_lengths(count: int, length: int) -> None:
    [group] = in_groups(list(range(count)))
    assert len(group) == length
    assert set(group) == set(range(count))
