"""A look at a database that changes nothing: would the service open it, and what would it do then?

A file is read without its log where that is empty: else SQLite would make files beside it, which
belong to whoever looks, and the service could not write them.
"""

import fcntl
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, create_engine

from service.data_dir import usable
from service.errors import ConfigurationError, StoreError
from service.store.database import translated, url_of
from service.store.migrations import missing_steps
from service.store.postgres import PostgresConnections
from service.store.sqlite import lock


@dataclass(frozen=True, slots=True)
class Found:
    """What a database is like."""

    num_steps: int | None  #: until its schema is the newest; None: there is none yet
    is_in_use: bool = False  #: a second service would be refused


async def inspect(where: str | Path) -> Found:
    """Look at a database as `Database` would open it.

    Raises:
        ConfigurationError, StoreError: As there, but for another service that uses it.
    """
    url = url_of(where)
    if url.get_backend_name() == "sqlite":
        return _inspect_file(Path(url.database or ""))
    with translated():
        connections = PostgresConnections(url)
        try:
            return Found(await connections.transact(missing_steps, writes=False))
        except (TypeError, ValueError) as error:  # asyncpg's, for an option of the URL
            raise ConfigurationError(f"store.url: {error}") from error
        finally:
            await connections.close()


def _inspect_file(path: Path) -> Found:
    if not os.path.lexists(path):
        return Found(None)
    with usable(f"store {path}"):
        os.close(os.open(path, os.O_RDWR))
    log = Path(f"{path}-wal")
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    engine = create_engine(
        "sqlite://",
        creator=lambda: sqlite3.connect(f"file:{quote(str(path))}?{mode}", uri=True),
        hide_parameters=True,
    )
    with translated(path):
        try:
            with engine.connect() as connection:
                num_steps = _steps_of(connection)
        finally:
            engine.dispose()
    return Found(num_steps, _is_in_use(path))


def _steps_of(connection: Connection) -> int | None:
    is_empty = connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar_one() == 0
    return None if is_empty else missing_steps(connection)


def _is_in_use(path: Path) -> bool:
    if not os.path.exists(f"{path}-lock"):
        return False
    try:
        descriptor = lock(path)
    except StoreError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    os.close(descriptor)
    return False
