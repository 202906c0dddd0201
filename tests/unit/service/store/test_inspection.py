"""A look at a database leaves it, and what is beside it, as it was."""

import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text

from service.errors import ConfigurationError, StoreError
from service.store.database import Database
from service.store.inspection import Found, inspect


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.sqlite3"


def write(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def beside(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir()}


async def test_database_that_is_not_there_is_not_made(path: Path) -> None:
    assert await inspect(path) == Found(None)
    assert beside(path) == {}


async def test_database_of_this_version_needs_no_steps(path: Path) -> None:
    async with Database(path):
        pass
    before = beside(path)
    assert await inspect(path) == Found(0)
    assert beside(path) == before


async def test_database_in_use_is_read_with_its_log_and_said(path: Path) -> None:
    async with Database(path) as database:
        found = await inspect(path)
        assert found.num_steps == 0
        assert found.is_in_use
        await database.write(lambda connection: connection.execute(text("SELECT 1")))
    assert not (await inspect(path)).is_in_use
    async with Database(path):  # the look has not kept the lock
        pass


async def test_older_database_says_how_many_steps_there_are(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('0002')")
    connection.close()
    before = beside(path)
    found = await inspect(path)
    assert found.num_steps is not None
    assert found.num_steps > 1
    assert beside(path) == before


async def test_what_is_no_database_says_what_opening_says(path: Path) -> None:
    write(path, b"no database at all" * 1000)
    said = []
    for look in (inspect(path), Database(path).__aenter__()):
        with pytest.raises(StoreError) as caught:
            await look
        said.append(str(caught.value))
    assert said[0] == said[1]


async def test_empty_file_is_a_database_to_be(path: Path) -> None:
    write(path, b"")
    assert await inspect(path) == Found(None)


@pytest.mark.parametrize("url", ["mysql://a/b", "sqlite:///x?a=b", "nonsense"])
async def test_url_that_is_none_of_ours_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"store\.url"):
        await inspect(url)
