"""Between rows and schemas, and between times and numbers.

A row can hold anything: it outlives the version that wrote it, a disk can damage it, and SQLite
keeps any type in any column. Who reads rows goes through `unreadable.readable`.
"""

import hashlib
import json
from dataclasses import dataclass
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
MICROSECONDS = 1_000_000  # of a second
LONGEST_DUE = 2**53  # microseconds of running time: 285 years

#: What `to_job` needs; the result and the image stay where they are.
JOB_COLUMNS = (
    jobs.c.job_key,
    jobs.c.camera_id,
    jobs.c.job_id,
    jobs.c.status,
    jobs.c.attempts,
    jobs.c.engine_losses,
    jobs.c.started_at,
    jobs.c.finished_at,
    jobs.c.error,
    jobs.c.document,
)


@dataclass(frozen=True, slots=True)
class Stamp:
    """What is noted with everything written in one transaction; see `timekeeper.py`."""

    instance: str
    monotonic: float  #: seconds, of this process
    elapsed: int
    running: int

    def elapsed_at(self, monotonic: float | None) -> int:
        """`elapsed` at an earlier moment of this process; None: now."""
        if monotonic is None:
            return self.elapsed
        return self.elapsed - round((self.monotonic - monotonic) * MICROSECONDS)


def to_microseconds(moment: datetime) -> int:
    """Since 1970, exactly."""
    return (moment - _EPOCH) // _MICROSECOND


def to_moment(microseconds: int) -> datetime:
    """The inverse of `to_microseconds`, in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_number(value: object) -> int:
    """Of a column that should hold one; raises TypeError when it holds something else."""
    if not isinstance(value, int):
        raise TypeError("is not a whole number")
    return value


def _moment_or_none(microseconds: object) -> datetime | None:
    return None if microseconds is None else to_moment(to_number(microseconds))


def job_row(job: Job, stamp: Stamp) -> dict[str, Any]:
    """The row of a new job.

    A job that is final from the start has ended when it came, unless it says otherwise: without an
    end it would never be deleted.
    """
    finished_at = job.finished_at or (job.received_at if job.status.is_final else None)
    return {
        "job_key": job.key,
        "instance": stamp.instance,
        "camera_id": job.camera_id,
        "job_id": job.job_id,
        "status": job.status.value,
        "priority": int(job.priority),
        "sha256": job.sha256,
        "content": job.content,
        "received_at": to_microseconds(job.received_at),
        "started_at": None if job.started_at is None else to_microseconds(job.started_at),
        "finished_at": None if finished_at is None else to_microseconds(finished_at),
        "arrived": stamp.elapsed_at(job.arrived_monotonic),
        "ended": None if finished_at is None else stamp.elapsed,
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
    if (job.key, job.camera_id, job.job_id) != (row.job_key, row.camera_id, row.job_id):
        raise ValueError("the document is another job's")
    return job.model_copy(
        update={
            "status": JobStatus(row.status),
            "attempts": to_number(row.attempts),
            "engine_losses": to_number(row.engine_losses),
            "started_at": _moment_or_none(row.started_at),
            "finished_at": _moment_or_none(row.finished_at),
            "error": None if row.error is None else ErrorDetail.model_validate_json(row.error),
        }
    )


def destination_key(message: OutboxMessage) -> int:
    """A number for the URL of a webhook: messages with the same one go in order. 0: the broker's.

    Short, for an index; two URLs that share one, by a chance of 1 to 2**64, share their order.
    """
    if message.channel is Channel.MQTT:
        return 0
    digest = hashlib.sha256(message.destination.encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def message_row(message: OutboxMessage, stamp: Stamp) -> dict[str, Any]:
    """The row of a new message; its id is the database's to give."""
    options = json.dumps(message.options)
    return {
        "instance": stamp.instance,
        "job_key": message.job_key,
        "channel": message.channel.value,
        "destination": message.destination,
        "payload": message.payload,
        "options": options,
        "attempts": message.attempts,
        "created_at": to_microseconds(message.created_at),
        "receiver": message.receiver,
        "destination_key": destination_key(message),
        "num_bytes": len(message.payload) + len(message.destination) + len(options),
        "written": stamp.running,
        "due": 0,
    }


def to_message(row: Row[*tuple[Any, ...]]) -> OutboxMessage:
    """The message of a whole row of the outbox.

    Raises:
        UNREADABLE: It is not one.
    """
    if not 0 <= to_number(row.due) <= LONGEST_DUE or to_number(row.written) > LONGEST_DUE:
        raise ValueError("is due at no time")
    return OutboxMessage(
        message_id=row.message_id,
        job_key=row.job_key,
        channel=Channel(row.channel),
        destination=row.destination,
        payload=row.payload,
        options=json.loads(row.options),
        attempts=row.attempts,
        created_at=to_moment(to_number(row.created_at)),
        receiver=row.receiver,
    )
