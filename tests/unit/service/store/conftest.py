"""Who asks for `store` or `store_url` has an SQLite file.

Marked `both_databases`, a test runs on a PostgreSQL server as well: where the SQL differs, what a
column keeps, or what a transaction promises.
"""

from collections.abc import AsyncIterator, Iterator
from itertools import count
from pathlib import Path

import pytest

from service.store.store import Store
from tests.support.postgres import Postgres, PostgresUnavailableError, running_postgres

_NUMBERS = count()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    try:
        with running_postgres() as server:
            yield server
    except PostgresUnavailableError as error:
        pytest.skip(str(error))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "store_url" in metafunc.fixturenames:
        on_both = metafunc.definition.get_closest_marker("both_databases")
        names = ["sqlite", "postgres"] if on_both else ["sqlite"]
        metafunc.parametrize("store_url", names, indirect=True)


@pytest.fixture
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'data' / 'store.db'}"
    server: Postgres = request.getfixturevalue("postgres")
    return server.create(f"store_{next(_NUMBERS)}")


@pytest.fixture
async def store(store_url: str) -> AsyncIterator[Store]:
    async with Store.open(store_url) as opened:
        yield opened
