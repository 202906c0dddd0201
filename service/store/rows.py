"""Between rows and schemas, and between times and numbers.

A row can hold anything: it outlives the version that wrote it, a disk can damage it, and SQLite
keeps any type in any column. Who reads rows goes through `unreadable.readable`.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Row

from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.store.tables import jobs

#: What `to_job` and `to_message` raise for a row that cannot be read.
UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

#: What `to_job` needs; the result and the image stay where they are.
JOB_COLUMNS = (
    jobs.c.job_id,
    jobs.c.camera_id,
    jobs.c.status,
    jobs.c.attempts,
    jobs.c.engine_losses,
    jobs.c.started_at,
    jobs.c.finished_at,
    jobs.c.error,
    jobs.c.document,
)


def to_microseconds(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(microseconds: int) -> datetime:
    """The inverse of `to_microseconds`, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError("is not a whole number")
    return value


def _moment_or_none(microseconds: object) -> datetime | None:
    return None if microseconds is None else to_moment(_number(microseconds))


def job_row(job: Job, instance: str) -> dict[str, Any]:
    """The row of a new job.

    A job that is final from the start has ended when it came, unless it says otherwise: without an
    end it would never be deleted.
    """
    finished_at = job.finished_at or (job.received_at if job.status.is_final else None)
    return {
        "job_id": job.job_id,
        "instance": instance,
        "camera_id": job.camera_id,
        "status": job.status.value,
        "priority": int(job.priority),
        "sha256": job.sha256,
        "received_at": to_microseconds(job.received_at),
        "started_at": None if job.started_at is None else to_microseconds(job.started_at),
        "finished_at": None if finished_at is None else to_microseconds(finished_at),
        "attempts": job.attempts,
        "engine_losses": job.engine_losses,
        "error": None if job.error is None else job.error.model_dump_json(),
        "document": job.model_dump_json(),
    }


def to_job(row: Row[*tuple[Any, ...]]) -> Job:
    """The job as it stands; `row` holds `JOB_COLUMNS`.

    Raises:
        UNREADABLE: It is not one.
    """
    job = Job.model_validate_json(row.document)
    if (job.job_id, job.camera_id) != (row.job_id, row.camera_id):
        raise ValueError("the document is another job's")
    return job.model_copy(
        update={
            "status": JobStatus(row.status),
            "attempts": _number(row.attempts),
            "engine_losses": _number(row.engine_losses),
            "started_at": _moment_or_none(row.started_at),
            "finished_at": _moment_or_none(row.finished_at),
            "error": None if row.error is None else ErrorDetail.model_validate_json(row.error),
        }
    )


def message_row(message: OutboxMessage, instance: str) -> dict[str, Any]:
    """The row of a new message; its id is the database's to give."""
    return {
        "instance": instance,
        "job_id": message.job_id,
        "channel": message.channel.value,
        "destination": message.destination,
        "payload": message.payload,
        "options": json.dumps(message.options),
        "attempts": message.attempts,
        "created_at": to_microseconds(message.created_at),
        "next_attempt_at": to_microseconds(message.next_attempt_at),
    }


def to_message(row: Row[*tuple[Any, ...]]) -> OutboxMessage:
    """The message of a whole row of the outbox.

    Raises:
        UNREADABLE: It is not one.
    """
    return OutboxMessage(
        message_id=row.message_id,
        job_id=row.job_id,
        channel=Channel(row.channel),
        destination=row.destination,
        payload=row.payload,
        options=json.loads(row.options),
        attempts=row.attempts,
        created_at=to_moment(_number(row.created_at)),
        next_attempt_at=to_moment(_number(row.next_attempt_at)),
    )
