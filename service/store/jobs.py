"""What the store does to jobs, as functions of a connection inside a transaction.

What cannot be read is left out and added to `met`; see `unreadable`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, cast

from sqlalchemy import (
    ColumnElement,
    Connection,
    CursorResult,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus, sources_of
from schemas.outbox import OutboxMessage
from schemas.result import ResultDocument
from service.store.database import in_groups
from service.store.frames import delete_frames, insert_frames
from service.store.outbox import insert_messages, meet_unsendable
from service.store.rows import JOB_COLUMNS, job_row, to_job, to_microseconds, to_moment
from service.store.tables import jobs
from service.store.unreadable import UnreadableRow, readable

OrderBy = Literal["priority", "queued_at", "finished_at"]

_ORDERS: dict[OrderBy, ColumnElement[int]] = {
    "priority": jobs.c.priority,
    "queued_at": jobs.c.received_at,
    "finished_at": jobs.c.finished_at,
}

#: A frame is worth no caption of its own when an equal one has, or will have, one of these.
_STANDS_FOR_OTHERS = (JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED)

_END = (
    update(jobs)
    .where(jobs.c.job_id == bindparam("ended_id"))
    .values(
        status=bindparam("ended_status"),
        finished_at=bindparam("ended_at"),
        error=bindparam("ended_error"),
        result=bindparam("ended_result"),
    )
)


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one job, and what must go out because of it."""

    job_id: str
    status: JobStatus
    at: datetime
    error: ErrorDetail | None = None
    result: ResultDocument | None = None
    messages: Sequence[OutboxMessage] = ()


#: The job as it ended, and its messages with their ids.
Ended = tuple[Job, list[OutboxMessage]]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs; None matches all."""

    status: JobStatus | None = None
    camera_id: str | None = None
    priority: Priority | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """For a WHERE clause."""
        wanted = {
            jobs.c.status: self.status,
            jobs.c.camera_id: self.camera_id,
            jobs.c.priority: self.priority,
        }
        return [column == value for column, value in wanted.items() if value is not None]


def insert_jobs(
    connection: Connection,
    new_jobs: Sequence[Job],
    images: Mapping[str, bytes],
    messages: Sequence[OutboxMessage],
    instance: str,
) -> list[OutboxMessage]:
    """Write what is not there yet; see `Store.accept`."""
    known = _known_ids(connection, [job.job_id for job in new_jobs])
    fresh = {job.job_id: job for job in reversed(new_jobs) if job.job_id not in known}
    if fresh:
        connection.execute(insert(jobs), [job_row(job, instance) for job in fresh.values()])
    waiting = {job_id for job_id, job in fresh.items() if not job.status.is_final}
    insert_frames(connection, {key: images[key] for key in waiting if key in images})
    unwritten = [message for message in messages if message.job_id not in known]
    return insert_messages(connection, unwritten, instance)


def find(
    connection: Connection, met: list[UnreadableRow], job_ids: Sequence[str]
) -> dict[str, Job]:
    """Those of `job_ids` that are there."""
    return {job.job_id: job for job in _find(connection, met, job_ids, select(*JOB_COLUMNS))}


def lock(
    connection: Connection, met: list[UnreadableRow], job_ids: Sequence[str], instance: str
) -> dict[str, Job]:
    """The instance's own of `job_ids`; nobody changes them before this transaction ends."""
    # On SQLite the transaction has the write lock already; there the clause is left out.
    query = select(*JOB_COLUMNS).where(jobs.c.instance == instance).with_for_update()
    return {job.job_id: job for job in _find(connection, met, job_ids, query)}


def newest_with_content(
    connection: Connection, keys: Collection[tuple[str, str]], since: datetime
) -> dict[tuple[str, str], str]:
    """See `Store.same_content`."""
    newest: dict[tuple[str, str], str] = {}
    earliest = to_microseconds(since)
    for group in in_groups(list({sha256 for _, sha256 in keys})):
        # Without the status: with it, SQLite goes through all that wait instead of the few hashes.
        query = select(
            jobs.c.camera_id, jobs.c.sha256, jobs.c.job_id, jobs.c.status, jobs.c.received_at
        ).where(jobs.c.sha256.in_(group))
        rows = [
            row
            for row in connection.execute(query)
            if isinstance(row.received_at, int)
            and row.received_at >= earliest
            and row.status in _STANDS_FOR_OTHERS
        ]
        for row in sorted(rows, key=lambda row: row.received_at):
            newest[row.camera_id, row.sha256] = row.job_id
    return {key: newest[key] for key in keys if key in newest}


def start(
    connection: Connection,
    met: list[UnreadableRow],
    job_ids: Sequence[str],
    at: datetime,
    instance: str,
) -> list[Job]:
    """See `Store.start`."""
    change = _after(JobStatus.PROCESSING, instance).values(
        status=JobStatus.PROCESSING.value,
        started_at=to_microseconds(at),
        attempts=jobs.c.attempts + 1,
    )
    return _change(connection, met, change, job_ids)


def requeue(
    connection: Connection,
    met: list[UnreadableRow],
    job_ids: Sequence[str],
    instance: str,
    *,
    count_loss: bool,
    refund: bool,
    error: ErrorDetail | None,
) -> list[Job]:
    """See `Store.requeue`."""
    change = _after(JobStatus.QUEUED, instance).values(
        status=JobStatus.QUEUED.value,
        attempts=jobs.c.attempts - int(refund),
        engine_losses=jobs.c.engine_losses + int(count_loss),
        error=None if error is None else error.model_dump_json(),
    )
    return _change(connection, met, change, job_ids)


def finish(
    connection: Connection,
    met: list[UnreadableRow],
    endings: Sequence[Ending],
    instance: str,
    *,
    keep_frames: bool,
) -> list[Ended]:
    """See `Store.finish_many`."""
    before = lock(connection, met, [ending.job_id for ending in endings], instance)
    allowed: dict[str, Ending] = {}
    for ending in endings:
        job = before.get(ending.job_id)
        if job is not None and job.status in sources_of(ending.status):
            allowed.setdefault(ending.job_id, ending)
    if not allowed:
        return []
    connection.execute(_END, [_end_row(ending) for ending in allowed.values()])
    if not keep_frames:
        delete_frames(connection, list(allowed))
    messages = [message for ending in allowed.values() for message in ending.messages]
    written = iter(insert_messages(connection, messages, instance))
    return [
        (_ended(before[job_id], ending), [next(written) for _ in ending.messages])
        for job_id, ending in allowed.items()
    ]


def recover(connection: Connection, met: list[UnreadableRow], instance: str) -> list[Job]:
    """See `Store.recover`."""
    mine = jobs.c.instance == instance
    connection.execute(
        update(jobs)
        .where(jobs.c.status == JobStatus.PROCESSING.value, mine)
        .values(status=JobStatus.QUEUED.value)
    )
    # A status that is none is looked for here: nobody asks for rows that have it.
    known = {status.value for status in JobStatus if status is not JobStatus.QUEUED}
    statuses = set(connection.scalars(select(jobs.c.status).distinct())) - known
    query = (
        select(*JOB_COLUMNS)
        .where(jobs.c.status.in_(statuses), mine)
        .order_by(jobs.c.received_at, jobs.c.job_id)
    )
    meet_unsendable(connection, met, instance)
    return list(readable(jobs, connection.execute(query), to_job, met))


def result_of(
    connection: Connection, met: list[UnreadableRow], job_id: str
) -> ResultDocument | None:
    """See `Store.result`."""
    query = select(*jobs.primary_key, jobs.c.result).where(jobs.c.job_id == job_id)
    rows = connection.execute(query.where(jobs.c.result.is_not(None)))
    return next(readable(jobs, rows, _to_result, met), None)


def page(
    connection: Connection,
    met: list[UnreadableRow],
    which: Filter,
    limit: int,
    offset: int,
    order_by: OrderBy,
    *,
    descending: bool,
) -> list[Job]:
    """See `Store.list_jobs`."""
    columns = (_ORDERS[order_by], jobs.c.received_at)
    # The two databases disagree on where NULL goes unless they are told.
    order = [(each.desc() if descending else each.asc()).nulls_last() for each in columns]
    query = select(*JOB_COLUMNS).where(*which.conditions).order_by(*order, jobs.c.job_id)
    rows = connection.execute(query.limit(limit).offset(offset))
    return list(readable(jobs, rows, to_job, met))


def count(connection: Connection, which: Filter) -> int:
    """How many match."""
    query = select(func.count()).select_from(jobs).where(*which.conditions)
    return connection.execute(query).scalar_one()


def count_by_status(connection: Connection) -> dict[JobStatus, int]:
    """See `Store.counts`."""
    query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
    found: dict[str, int] = dict(connection.execute(query).all())
    return {status: found.get(status.value, 0) for status in JobStatus}


def delete_finished(connection: Connection, before: datetime, limit: int) -> int:
    """See `Store.delete_finished`."""
    oldest = select(jobs.c.job_id).where(jobs.c.finished_at < to_microseconds(before))
    oldest = oldest.order_by(jobs.c.finished_at).limit(limit)
    deleted = connection.execute(delete(jobs).where(jobs.c.job_id.in_(oldest)))
    return cast("CursorResult[Any]", deleted).rowcount


def _known_ids(connection: Connection, job_ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for group in in_groups(job_ids):
        known.update(connection.scalars(select(jobs.c.job_id).where(jobs.c.job_id.in_(group))))
    return known


def _find(
    connection: Connection,
    met: list[UnreadableRow],
    job_ids: Sequence[str],
    query: Select[*tuple[Any, ...]],
) -> Iterator[Job]:
    for group in in_groups(job_ids):
        rows = connection.execute(query.where(jobs.c.job_id.in_(group)))
        yield from readable(jobs, rows, to_job, met)


def _to_result(row: Row[*tuple[Any, ...]]) -> ResultDocument:
    return ResultDocument.model_validate_json(row.result)


def _after(status: JobStatus, instance: str) -> Update:
    """An update of the instance's own jobs that may change to `status`."""
    may_change = jobs.c.status.in_(_values(sources_of(status)))
    return update(jobs).where(may_change, jobs.c.instance == instance)


def _values(statuses: Iterable[JobStatus]) -> list[str]:
    return [status.value for status in statuses]


def _change(
    connection: Connection, met: list[UnreadableRow], change: Update, job_ids: Sequence[str]
) -> list[Job]:
    changed: dict[str, Job] = {}
    for group in in_groups(job_ids):
        query = change.where(jobs.c.job_id.in_(group)).returning(*JOB_COLUMNS)
        rows = readable(jobs, connection.execute(query), to_job, met)
        changed |= {job.job_id: job for job in rows}
    return [changed[job_id] for job_id in dict.fromkeys(job_ids) if job_id in changed]


def _end_row(ending: Ending) -> dict[str, Any]:
    return {
        "ended_id": ending.job_id,
        "ended_status": ending.status.value,
        "ended_at": to_microseconds(ending.at),
        "ended_error": None if ending.error is None else ending.error.model_dump_json(),
        "ended_result": None if ending.result is None else ending.result.model_dump_json(),
    }


def _ended(job: Job, ending: Ending) -> Job:
    finished_at = to_moment(to_microseconds(ending.at))  # as it will be read again
    return job.model_copy(
        update={"status": ending.status, "finished_at": finished_at, "error": ending.error}
    )
