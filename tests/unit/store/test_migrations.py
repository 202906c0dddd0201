"""The migrations and the tables describe one schema, and a newer one is refused."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, text

from service.errors import StoreError
from service.store.database import Database
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
