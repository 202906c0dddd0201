"""The migrations describe the schema of the tables and lose nothing; a newer one is refused."""

import sqlite3
import time
from datetime import timedelta
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from schemas.job import ErrorDetail, JobStatus
from schemas.outbox import Channel
from schemas.result import ResultDocument
from service.errors import StoreError
from service.store import migrations
from service.store.database import Database
from service.store.migrations.versions import v0001_jobs_frames_outbox_cameras as v0001
from service.store.outbox import Size
from service.store.store import Known, Store
from service.store.tables import metadata
from tests.support.factories import NOON, make_job
from tests.support.old_store import OldMessage, write_old_store

pytestmark = pytest.mark.both_databases

LATER = NOON + timedelta(seconds=5)
WAITING = make_job(job_id="1", sha256="a" * 64)
RUNNING = make_job(
    job_id="2",
    camera_id="garden",
    status=JobStatus.PROCESSING,
    received_at=LATER,
    started_at=LATER,
    attempts=1,
)
ENDED = make_job(
    job_id="3",
    status=JobStatus.FAILED,
    finished_at=LATER,
    attempts=3,
    error=ErrorDetail(code="engine", message="out of luck"),
)
RESULT = ResultDocument(
    job_id="3",
    camera_id="front",
    status=JobStatus.FAILED,
    result=None,
    error_message="out of luck",
    timestamp=LATER,
    location=None,
    metadata={},
)
OLD_JOBS = (WAITING, RUNNING, ENDED)
OLD_IMAGES = {job.job_id: job.key.encode() for job in OLD_JOBS}
#: Each with the key it gets.
OLD_MESSAGES = [
    (OldMessage("3", Channel.MQTT, "base/front/status", b"\xff\xd8\xff"), "front/3"),
    (OldMessage("3", Channel.WEBHOOK, "http://a/", b"{}", {"trusted": True}), "front/3"),
    # Its job has been deleted, but its payload still names the camera.
    (OldMessage("gone", Channel.WEBHOOK, "http://a/", b'{"camera_id": "street"}'), "street/gone"),
    (OldMessage("gone", Channel.MQTT, "base/front/image", b"\xff\xd8\xff"), None),
    (OldMessage("bad", Channel.MQTT, "base/bridge/dead_letter", b'{"camera_id": null}'), None),
    (OldMessage(None, Channel.MQTT, "base/front/status", b"{}"), None),
]


def differences(connection: Connection) -> list[object]:
    def is_ours(name: str | None, kind: str, _: object) -> bool:
        of_one_database = ("caption_words", "captions_by_")  # see tables.py
        return name is None or not name.startswith(of_one_database)

    context = MigrationContext.configure(
        connection, opts={"compare_type": True, "include_name": is_ours}
    )
    return list(compare_metadata(context, metadata))


def revision(connection: Connection) -> object:
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()


def set_revision(connection: Connection, number: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :n"), {"n": number})


async def test_the_migrated_schema_is_the_one_in_tables(store_url: str) -> None:
    async with Database(store_url) as database:
        assert await database.read(differences) == []


async def test_a_database_of_the_first_schema_keeps_everything(store_url: str) -> None:
    await write_old_store(
        store_url, OLD_JOBS, OLD_IMAGES, [old for old, _ in OLD_MESSAGES], {"3": RESULT}
    )
    async with Database(store_url) as database:
        assert await database.read(differences) == []
        store = Store(database, "")
        assert await store.existing([job.key for job in OLD_JOBS]) == {
            job.key: job for job in OLD_JOBS
        }
        for job in OLD_JOBS:
            assert await store.image(job.key) == job.key.encode()
        assert await store.result(ENDED.key) == RESULT
        assert [job.key for job in await store.recover()] == [WAITING.key, RUNNING.key]
        for channel in Channel:
            waiting = await store.outbox.oldest(channel, None, 10)
            rows = await store.outbox.get([message_id for message_id, _ in waiting])
            assert [
                (row.job_key, row.destination, row.payload, row.options, row.attempts)
                for row in rows
            ] == [
                (key, old.destination, old.payload, old.options, 2)
                for old, key in OLD_MESSAGES
                if old.channel is channel
            ]


async def test_a_database_of_the_first_schema_goes_on_as_a_new_one(store_url: str) -> None:
    await write_old_store(store_url, OLD_JOBS, OLD_IMAGES, [old for old, _ in OLD_MESSAGES])
    async with Store.open(store_url) as store:
        assert await store.known(["front/1", "street/1"]) == Known(
            keys=frozenset({"front/1"}), elsewhere=frozenset({"street/1"})
        )
        same_id = make_job(job_id="1", camera_id="street")
        await store.accept([WAITING, same_id], {WAITING.key: b"other", same_id.key: b"x"})
        assert await store.image(WAITING.key) == WAITING.key.encode()
        assert await store.image(same_id.key) == b"x"
        assert await store.delete_finished(0) == 1
        assert await store.image(ENDED.key) is None  # it went with its job
        assert await store.frame_bytes() == sum(map(len, (WAITING.key, RUNNING.key, "x")))


async def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    await write_old_store(
        f"sqlite:///{path}", OLD_JOBS, OLD_IMAGES, [old for old, _ in OLD_MESSAGES]
    )
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE old_frames (is_in_the_way INTEGER)")
    with pytest.raises(StoreError, match="old_frames"):
        async with Store.open(f"sqlite:///{path}"):
            pass
    other.execute("DROP TABLE old_frames")
    other.close()
    async with Store.open(f"sqlite:///{path}") as store:
        assert await store.image(WAITING.key) == WAITING.key.encode()
        assert await store.outbox.pending_count(Channel.MQTT) == 4


async def test_comparison_sees_a_difference(store_url: str) -> None:
    def drop_index(connection: Connection) -> None:
        connection.execute(text("DROP INDEX jobs_by_end"))

    async with Database(store_url) as database:
        await database.write(drop_index)
        assert len(await database.read(differences)) == 1


async def test_open_again_changes_nothing(store_url: str) -> None:
    async with Store.open(store_url) as store:
        job = make_job()
        await store.accept([job], {job.key: b"x"}, [])
    async with Database(store_url) as database:
        assert await database.read(revision) == "0015"
        assert await Store(database, "").get(job.key) == job


def go_back_to_first_schema(connection: Connection) -> None:
    """As the first version left it: a job that waits, one that ended, and what was to go out."""
    metadata.drop_all(connection)
    connection.execute(text("DROP TABLE alembic_version"))
    context = MigrationContext.configure(connection)
    with Operations.context(context):
        v0001.upgrade()
    context.stamp(ScriptDirectory(str(Path(migrations.__file__).parent)), "0001")
    for job_id, received_at, finished_at in (("waits", 7_000_000, None), ("ended", 1, 9_000_000)):
        job = make_job(job_id=job_id)
        values = {
            "job_id": job_id,
            "received_at": received_at,
            "finished_at": finished_at,
            "status": "queued" if finished_at is None else "cancelled",
            "document": job.model_dump_json(),
        }
        connection.execute(
            text(
                "INSERT INTO jobs (job_id, instance, camera_id, status, priority, sha256, "
                "received_at, finished_at, attempts, engine_losses, document) VALUES "
                "(:job_id, '', 'front', :status, 1, 'x', :received_at, :finished_at, 0, 0, "
                ":document)"
            ),
            values,
        )
    for channel, destination in (
        ("mqtt", "base/front/status"),
        ("webhook", "https://bob:pw@Hooks.Example:8443/T0K3N"),
        ("webhook", "https://hooks.example:8443/other"),
        ("webhook", "https://hooks.example:8443/other"),
        ("webhook", "http://[::1"),
    ):
        connection.execute(
            text(
                "INSERT INTO outbox (instance, channel, destination, payload, options, attempts, "
                "created_at, next_attempt_at) VALUES ('', :channel, :destination, :payload, '{}', "
                "2, 0, 99999999999999999)"
            ),
            {"channel": channel, "destination": destination, "payload": b"payload"},
        )


async def test_rows_of_the_first_schema_are_taken_over(store_url: str) -> None:
    async with Database(store_url) as database:
        await database.write(go_back_to_first_schema)
    async with Store.open(store_url) as store:
        [message] = await store.outbox.for_broker(10)
        assert (message.payload, message.attempts) == (b"payload", 2)
        hooks = "https://hooks.example:8443"
        assert await store.outbox.receivers(None, 10) == ["(unreadable URL)", hooks]
        batches = await store.outbox.batches(hooks, None, (), 10, Size(10, 1000))
        assert sorted(len(batch.messages) for batch in batches) == [1, 2]
        written = message.model_copy(
            update={
                "channel": Channel.WEBHOOK,
                "destination": "https://hooks.example:8443/other",
                "receiver": hooks,
            }
        )
        await store.accept([], {}, [written])  # behind those of before
        batches = await store.outbox.batches(hooks, None, (), 10, Size(10, 1000))
        assert sorted(len(batch.messages) for batch in batches) == [1, 3]
        size = await store.outbox.size(Channel.MQTT)
        assert size == Size(1, len(b"payload") + len("base/front/status") + len("{}"))
        [job] = await store.recover()
        assert job.job_id == "waits"
        assert job.arrived_monotonic is not None
        assert time.monotonic() - job.arrived_monotonic == pytest.approx(2, abs=1)
        assert await store.delete_finished(3600) == 0
        assert await store.delete_finished(0) == 1


async def test_a_newer_schema_is_refused_and_left_alone(store_url: str) -> None:
    async with Database(store_url) as database:
        await database.write(set_revision, "9999")
    with pytest.raises(StoreError, match="schema 9999, written by a newer version"):
        async with Store.open(store_url):
            pass


async def test_tables_of_unknown_origin_are_refused(store_url: str) -> None:
    def forget_revision(connection: Connection) -> None:
        connection.execute(text("DROP TABLE alembic_version"))

    async with Database(store_url) as database:
        await database.write(forget_revision)
    with pytest.raises(StoreError, match="already exists"):
        async with Store.open(store_url):
            pass
