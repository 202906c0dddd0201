"""The numbered steps from an empty database to the newest schema, run when the store opens.

A step that has been released is never changed; the next one gets the next number.
"""

from pathlib import Path
from typing import Any

from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext, RevisionStep, StampStep
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from service.errors import StoreError

_LOCK = 0x6D326D71  # any number, the same for all instances


def upgrade(connection: Connection) -> None:
    """Bring the database of `connection` to the newest schema, inside its transaction.

    Raises:
        StoreError: A newer version of the service has written it.
    """
    if connection.dialect.name == "postgresql":
        # Two instances that start together must not both create the tables.
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    config, script = _steps()
    _refuse_newer(connection, script)

    def steps(revision: Any, _: MigrationContext) -> list[StampStep | RevisionStep]:
        return list(script._upgrade_revs("head", revision))

    with EnvironmentContext(config, script, fn=steps) as environment:
        environment.configure(connection=connection)
        environment.run_migrations()


def missing_steps(connection: Connection) -> int:
    """How many steps `upgrade` would take, without taking any.

    Raises:
        StoreError: As there.
    """
    _, script = _steps()
    _refuse_newer(connection, script)
    present = MigrationContext.configure(connection).get_current_revision()
    return sum(1 for _ in script.iterate_revisions("head", present or "base"))


def _steps() -> tuple[Config, ScriptDirectory]:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    return config, ScriptDirectory.from_config(config)


def _refuse_newer(connection: Connection, script: ScriptDirectory) -> None:
    known = {revision.revision for revision in script.walk_revisions()}
    for revision in MigrationContext.configure(connection).get_current_heads():
        if revision not in known:
            raise StoreError(
                f"the store has schema {revision}, written by a newer version of the service; "
                f"this one knows up to {script.get_current_head()}: install that version again, or "
                "set data_dir (or store.url) to another place"
            )
