"""A database as an earlier version left it: schema 0001, in which a job's id was its name."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, column, make_url, table, text

from schemas.job import Job
from schemas.outbox import Channel
from schemas.result import ResultDocument
from service.store.migrations.versions import v0001_jobs_frames_outbox_cameras as v0001
from service.store.postgres import PostgresConnections
from service.store.rows import to_microseconds
from service.store.sqlite import SqliteConnections
from tests.support.factories import NOON


@dataclass(frozen=True, slots=True)
class OldMessage:
    """A row of the outbox."""

    job_id: str | None
    channel: Channel
    destination: str
    payload: bytes
    options: dict[str, Any] = field(default_factory=dict)
    written_at: datetime = NOON


async def write_old_store(
    url: str,
    jobs: Sequence[Job],
    images: Mapping[str, bytes],
    messages: Sequence[OldMessage] = (),
    results: Mapping[str, ResultDocument] | None = None,
    *,
    instance: str = "",
) -> None:
    """Make a database and fill it.

    Args:
        url: As for `Store.open`.
        jobs: In any status.
        images: By job id.
        messages: Due since they were written.
        results: By job id.
        instance: Whose they are.
    """
    parsed = make_url(url)
    connections = (
        SqliteConnections(
            parsed.set(drivername="sqlite+pysqlite"), Path(parsed.database or ""), shutil.disk_usage
        )
        if parsed.get_backend_name() == "sqlite"
        else PostgresConnections(parsed.set(drivername="postgresql+asyncpg"))
    )

    def write(connection: Connection) -> None:
        with Operations.context(MigrationContext.configure(connection)):
            v0001.upgrade()
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        _insert(connection, "alembic_version", [{"version_num": "0001"}])
        documents = results or {}
        _insert(connection, "jobs", [_job_row(each, instance, documents) for each in jobs])
        frames = [(job_id, len(image), image) for job_id, image in images.items()]
        names = ("job_id", "num_bytes", "image")
        _insert(connection, "frames", [dict(zip(names, each, strict=True)) for each in frames])
        _insert(connection, "outbox", [_message_row(each, instance) for each in messages])

    try:
        await connections.transact(write, writes=True)
    finally:
        await connections.close()


def _insert(connection: Connection, name: str, rows: Sequence[dict[str, Any]]) -> None:
    if rows:
        connection.execute(table(name, *map(column, rows[0])).insert(), list(rows))


def _job_row(job: Job, instance: str, results: Mapping[str, ResultDocument]) -> dict[str, Any]:
    result = results.get(job.job_id)
    return {
        "job_id": job.job_id,
        "instance": instance,
        "camera_id": job.camera_id,
        "status": job.status.value,
        "priority": int(job.priority),
        "sha256": job.sha256,
        "received_at": to_microseconds(job.received_at),
        "started_at": to_microseconds(job.started_at) if job.started_at else None,
        "finished_at": to_microseconds(job.finished_at) if job.finished_at else None,
        "attempts": job.attempts,
        "engine_losses": job.engine_losses,
        "error": job.error.model_dump_json() if job.error else None,
        "document": job.model_dump_json(exclude={"webhook_id"}),
        "result": result.model_dump_json() if result else None,
    }


def _message_row(message: OldMessage, instance: str) -> dict[str, Any]:
    return {
        "instance": instance,
        "job_id": message.job_id,
        "channel": message.channel.value,
        "destination": message.destination,
        "payload": message.payload,
        "options": json.dumps(message.options),
        "attempts": 2,
        "created_at": to_microseconds(message.written_at),
        "next_attempt_at": to_microseconds(message.written_at),
    }
