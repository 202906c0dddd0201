"""The migrations and the tables describe one schema, and a newer one is refused."""

import time
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from schemas.outbox import Channel
from service.errors import StoreError
from service.store import migrations
from service.store.database import Database
from service.store.migrations.versions import v0001_jobs_frames_outbox_cameras as v0001
from service.store.outbox import Size
from service.store.store import Store
from service.store.tables import metadata
from tests.factories import make_job


def differences(connection: Connection) -> list[object]:
    context = MigrationContext.configure(connection, opts={"compare_type": True})
    return list(compare_metadata(context, metadata))


def revision(connection: Connection) -> object:
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one()


def set_revision(connection: Connection, number: str) -> None:
    connection.execute(text("UPDATE alembic_version SET version_num = :n"), {"n": number})


async def test_the_migrated_schema_is_the_one_in_tables(store_url: str) -> None:
    async with Database(store_url) as database:
        assert await database.read(differences) == []


async def test_comparison_sees_a_difference(store_url: str) -> None:
    def drop_index(connection: Connection) -> None:
        connection.execute(text("DROP INDEX jobs_by_end"))

    async with Database(store_url) as database:
        await database.write(drop_index)
        assert len(await database.read(differences)) == 1


async def test_open_again_changes_nothing(store_url: str) -> None:
    async with Store.open(store_url) as store:
        job = make_job()
        await store.accept([job], {job.job_id: b"x"}, [])
    async with Database(store_url) as database:
        assert await database.read(revision) == "0002"
        assert await Store(database, "").get(job.job_id) == job


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
