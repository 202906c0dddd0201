"""Ends what cannot be read: a job as failed, a message by dropping it; both are told of.

A job's row is replaced by one that can be read, made of its own columns, so that it is found,
counted and deleted like every other; only where id or camera are no such things is it deleted. A
job that had its end keeps it. What another instance still has to end or to send is left to it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, select, update

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus, split_key
from schemas.outbox import OutboxMessage
from schemas.result import ResultDocument
from service.store.outbox import insert_messages
from service.store.rows import UNREADABLE, Stamp, job_row, to_job, to_message, to_moment
from service.store.tables import frames, jobs, outbox
from service.store.unreadable import UnreadableRow

_T = TypeVar("_T")
_Row = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class SetAside:
    """What a row's own columns still say.

    Attributes:
        error: Why it was set aside.
        job: As it stands in the store from now on; None for a message, or where its columns name
            no job.
        job_id: Where there is one.
        topic: Of a message; empty for a job.
        size: Bytes of the frame or the message.
        attempts: So far.
    """

    error: ErrorDetail
    job: Job | None
    job_id: str | None
    topic: str
    size: int
    attempts: int


#: The messages that go out because of it; called inside the transaction.
FinalMessages = Callable[[SetAside], Sequence[OutboxMessage]]


def set_aside(
    connection: Connection,
    row: UnreadableRow,
    at: datetime,
    final_messages: FinalMessages,
    stamp: Stamp,
    *,
    keep_frames: bool,
) -> tuple[SetAside, list[OutboxMessage]] | None:
    """See `Store.set_aside`."""
    if row.table == outbox.name:
        lost = _drop_message(connection, row, stamp.instance)
    else:
        lost = _end_job(connection, row, at, stamp, keep_frames=keep_frames)
    if lost is None:
        return None
    return lost, insert_messages(connection, final_messages(lost), stamp)


def _end_job(
    connection: Connection, noted: UnreadableRow, at: datetime, stamp: Stamp, *, keep_frames: bool
) -> SetAside | None:
    this = _is(jobs, noted.key)
    row = connection.execute(select(jobs).where(this).with_for_update()).one_or_none()
    if row is None or not (_has_ended(row) or row.instance == stamp.instance):
        return None
    if row.result is not None and not _can(ResultDocument.model_validate_json, row.result):
        connection.execute(update(jobs).where(this).values(result=None))
    if _can(to_job, row):
        return None  # set aside already, by a try whose answer was lost
    has_ended = _has_ended(row)
    size = connection.scalar(select(frames.c.num_bytes).where(_is(frames, noted.key)))
    error = _error_of(noted)
    job = _stand_in(row, at, size if isinstance(size, int) else 0, error)
    if job is None:
        connection.execute(delete(jobs).where(this))
    else:
        mended = {**job_row(job, stamp), "instance": row.instance}
        connection.execute(update(jobs).where(this).values(**mended))
    if has_ended:
        return None
    if not keep_frames:
        connection.execute(delete(frames).where(_is(frames, noted.key)))
    return SetAside(
        error=error,
        job=job,
        job_id=_job_id_of(row.job_key),
        topic="",
        size=size if isinstance(size, int) else 0,
        attempts=_number_or_0(row.attempts),
    )


def _drop_message(connection: Connection, noted: UnreadableRow, instance: str) -> SetAside | None:
    this = _is(outbox, noted.key) & (outbox.c.instance == instance)
    row = connection.execute(select(outbox).where(this).with_for_update()).one_or_none()
    if row is None or _can(to_message, row):
        return None
    connection.execute(delete(outbox).where(this))
    return SetAside(
        error=_error_of(noted),
        job=None,
        job_id=_job_id_of(row.job_key),
        topic=_text_or_none(row.destination) or "",
        size=len(row.payload) if isinstance(row.payload, bytes | str) else 0,
        attempts=_number_or_0(row.attempts),
    )


def _is(table: Table, key: Sequence[Any]) -> ColumnElement[bool]:
    """The row of `table` with this primary key; that of a frame is its job's."""
    columns = list(table.primary_key)
    return and_(*(column == value for column, value in zip(columns, key, strict=True)))


def _error_of(noted: UnreadableRow) -> ErrorDetail:
    message = f"What is stored of it cannot be read: {noted.reason}"
    return ErrorDetail(code="unreadable", message=message)


def _stand_in(row: _Row, at: datetime, num_bytes: int, error: ErrorDetail) -> Job | None:
    """What can be read in place of `row`; None where its columns name no job of a camera."""
    received_at = _either(lambda: to_moment(row.received_at), at)
    status, finished_at = JobStatus.FAILED, at
    if _has_ended(row):
        status = _either(lambda: JobStatus(row.status), status)
        finished_at = _either(lambda: to_moment(row.finished_at), at)
    try:
        camera_id, job_id = split_key(row.job_key)
        return Job(
            job_id=job_id,
            camera_id=camera_id,
            status=status,
            priority=_either(lambda: Priority(row.priority), Priority.NORMAL),
            sha256=_text_or_none(row.sha256) or "",
            num_bytes=num_bytes,
            taken_at=received_at,
            received_at=received_at,
            finished_at=finished_at,
            attempts=_number_or_0(row.attempts),
            error=error,
        )
    except UNREADABLE:
        return None


def _has_ended(row: _Row) -> bool:
    return _either(lambda: JobStatus(row.status).is_final, row.finished_at is not None)


def _can(read: Callable[[_T], object], value: _T) -> bool:
    try:
        read(value)
    except UNREADABLE:
        return False
    return True


def _either(read: Callable[[], _T], otherwise: _T) -> _T:
    try:
        return read()
    except UNREADABLE:
        return otherwise


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _number_or_0(value: object) -> int:
    return value if isinstance(value, int) else 0


def _job_id_of(job_key: object) -> str | None:
    return (split_key(job_key)[1] or None) if isinstance(job_key, str) else None
