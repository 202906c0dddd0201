"""Batches: which jobs belong together, and how many of them have ended.

The jobs are jobs like all others and say themselves how they stand; a batch is counted from them
until its last one has ended, and then keeps its counts, because jobs are deleted one by one.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, insert, select, update

from schemas.batch import BatchProgress, BatchState
from schemas.job import ErrorDetail, Job, JobStatus, split_key
from schemas.outbox import OutboxMessage
from schemas.requests.batches import BatchResult
from schemas.result import ResultDocument
from service.store.database import Database, in_groups
from service.store.jobs import OF_BATCH, insert_jobs, waiting
from service.store.outbox import insert_messages
from service.store.rows import (
    JOB_COLUMNS,
    MICROSECONDS,
    UNREADABLE,
    Stamp,
    to_microseconds,
    to_moment,
)
from service.store.tables import batch_items, batches, frames, jobs
from service.store.timekeeper import Timekeeper
from service.store.turns import Turn
from service.store.unreadable import UnreadableRow, UnreadableRows, readable

_STORING, _RUNNING, _CANCELLED = "storing", "running", "cancelled"
_MOST_RESULT_BYTES = 2 << 20  # of one answer: what brokers take by default, and some
_DELETED_AT_ONCE = 20


#: Makes the message about the end of a batch; called inside the transaction.
MessageOf = Callable[[BatchProgress], OutboxMessage]


@dataclass(frozen=True, slots=True)
class NewItem:
    """One item of a batch that is being stored."""

    position: int
    camera_id: str | None
    job_key: str | None = None  #: None: it is no frame
    is_own: bool = False  #: False: the job was there before
    error: ErrorDetail | None = None  #: why it is no frame


@dataclass(frozen=True, slots=True)
class _Counts:
    completed: int
    failed: int
    cancelled: int


class Batches:
    """The batches of one instance; every method raises `StoreError` when the database refuses.

    Args:
        database: Open.
        instance: Who feeds them.
        timekeeper: For when they ended.
        unreadable: Takes what cannot be read.
    """

    def __init__(
        self,
        database: Database,
        instance: str,
        timekeeper: Timekeeper,
        unreadable: UnreadableRows,
    ) -> None:
        self._database = database
        self._instance = instance
        self._timekeeper = timekeeper
        self._unreadable = unreadable

    async def begin(self, batch_id: str, name: str | None, total: int, at: datetime) -> None:
        """Make a batch whose items follow; until `complete` a restart undoes it."""
        row = {
            "batch_id": batch_id,
            "instance": self._instance,
            "name": name,
            "status": _STORING,
            "num_items": total,
            "created_at": to_microseconds(at),
        }
        await self._database.write(_insert, row)

    async def add(
        self,
        batch_id: str,
        items: Sequence[NewItem],
        new_jobs: Sequence[Job],
        images: Mapping[str, bytes],
    ) -> None:
        """Write some items, their jobs and their frames, in one transaction.

        Items that are there already stay as they are.

        Raises:
            StoreFullError: There is no room for the frames.
        """
        num_bytes = sum(map(len, images.values()))
        self._database.check_room(num_bytes)
        stamp = self._timekeeper.stamp(self._instance)
        await self._database.write_in_turn(
            Turn(num_bytes=num_bytes), _add, batch_id, items, new_jobs, images, stamp
        )

    async def complete(self, batch_id: str) -> None:
        """All items are there: from now on the batch is never forgotten."""
        await self._database.write(_set_status, batch_id, _RUNNING)

    async def undo(self, batch_id: str) -> None:
        """Forget a batch that could not be completed, with all that came of it."""
        await self._database.write(_undo, [batch_id])

    async def recover(self) -> list[str]:
        """Undo what the last run had not completed, and return the batches that are not over."""
        return await self._database.write(_recover, self._instance)

    async def open(self) -> list[str]:
        """The batches that are not over."""
        return await self._database.read(_open, self._instance)

    async def cancel(self, batch_id: str) -> None:
        """Note that it is cancelled; its jobs are the caller's to end."""
        await self._database.write(_set_status, batch_id, _CANCELLED)

    async def is_cancelled(self, batch_id: str) -> bool:
        """Whether it was to end before its time."""
        query = select(batches.c.status).where(batches.c.batch_id == batch_id)
        status = await self._database.read(lambda connection: connection.scalar(query))
        return bool(status == _CANCELLED)

    async def waiting_keys(self, batch_id: str) -> list[str]:
        """The keys of its own jobs that are queued: the most important first, then in order."""
        return await self._database.read(_waiting_keys, batch_id)

    async def waiting(self, job_keys: Sequence[str]) -> list[Job]:
        """Those of the jobs that are queued; they know since when."""
        met: list[UnreadableRow] = []
        found = await self._database.read(_waiting, met, job_keys, self._timekeeper)
        self._unreadable.note(met)
        return found

    async def waiting_bytes(self) -> int:
        """Of the frames of all batches that wait."""
        return await self._database.read(_waiting_bytes)

    async def get(self, batch_id: str) -> BatchProgress | None:
        """How a batch is doing."""
        return await self._database.read(_get, batch_id)

    async def page(self, limit: int, offset: int) -> list[BatchProgress]:
        """Batches, the newest first."""
        return await self._database.read(_page, limit, offset)

    async def count(self) -> int:
        """How many there are."""
        query = select(func.count()).select_from(batches).where(batches.c.status != _STORING)
        return await self._database.read(lambda connection: connection.execute(query).scalar_one())

    async def results(self, batch_id: str, limit: int, offset: int) -> list[BatchResult]:
        """What became of its items, in their order; fewer than `limit` where they are large."""
        return await self._database.read(_results, batch_id, limit, offset)

    async def finish(
        self, batch_id: str, at: datetime, message: MessageOf
    ) -> tuple[BatchProgress | None, list[OutboxMessage]]:
        """See `Store.finish_batch`; the messages are written, and nobody has been told."""
        stamp = self._timekeeper.stamp(self._instance)
        return await self._database.write(_finish, batch_id, at, message, stamp)

    async def delete_ended(self, ended_s: float) -> None:
        """Delete batches that ended at least `ended_s` seconds ago; their jobs go by themselves."""
        up_to = self._timekeeper.elapsed() - round(ended_s * MICROSECONDS)
        while await self._database.write(_delete_ended, up_to) == _DELETED_AT_ONCE:
            pass


def _insert(connection: Connection, row: Mapping[str, Any]) -> None:
    this = batches.c.batch_id == row["batch_id"]
    if connection.scalar(select(batches.c.batch_id).where(this)) is None:
        connection.execute(insert(batches), row)


def _add(
    connection: Connection,
    batch_id: str,
    items: Sequence[NewItem],
    new_jobs: Sequence[Job],
    images: Mapping[str, bytes],
    stamp: Stamp,
) -> None:
    query = select(batch_items.c.position).where(batch_items.c.batch_id == batch_id)
    known = set(connection.scalars(query))
    fresh = [each for each in items if each.position not in known]
    if not fresh:
        return
    insert_jobs(connection, new_jobs, images, (), stamp)
    rows = [
        {
            "batch_id": batch_id,
            "position": each.position,
            "camera_id": each.camera_id,
            "job_key": each.job_key,
            "is_own": each.is_own,
            "error": None if each.error is None else each.error.model_dump_json(),
        }
        for each in fresh
    ]
    connection.execute(insert(batch_items), rows)


def _set_status(connection: Connection, batch_id: str, status: str) -> None:
    this = batches.c.batch_id == batch_id
    connection.execute(update(batches).where(this).values(status=status))


def _undo(connection: Connection, batch_ids: Sequence[str]) -> None:
    for batch_id in batch_ids:
        of_batch = batch_items.c.batch_id == batch_id
        own = select(batch_items.c.job_key).where(of_batch, batch_items.c.is_own)
        connection.execute(delete(jobs).where(jobs.c.job_key.in_(own)))
        connection.execute(delete(batches).where(batches.c.batch_id == batch_id))


def _recover(connection: Connection, instance: str) -> list[str]:
    is_half = and_(batches.c.instance == instance, batches.c.status == _STORING)
    _undo(connection, list(connection.scalars(select(batches.c.batch_id).where(is_half))))
    return _open(connection, instance)


def _open(connection: Connection, instance: str) -> list[str]:
    query = select(batches.c.batch_id).where(
        batches.c.ended.is_(None), batches.c.status != _STORING, batches.c.instance == instance
    )
    return list(connection.scalars(query.order_by(batches.c.created_at)))


def _own_waiting(batch_id: str) -> Select[tuple[str]]:
    return (
        select(jobs.c.job_key)
        .join(batch_items, batch_items.c.job_key == jobs.c.job_key)
        .where(
            batch_items.c.batch_id == batch_id,
            batch_items.c.is_own,
            jobs.c.status == JobStatus.QUEUED.value,
        )
        .order_by(jobs.c.priority.desc(), batch_items.c.position)
    )


def _waiting_keys(connection: Connection, batch_id: str) -> list[str]:
    return list(connection.scalars(_own_waiting(batch_id)))


def _waiting(
    connection: Connection,
    met: list[UnreadableRow],
    job_keys: Sequence[str],
    timekeeper: Timekeeper,
) -> list[Job]:
    found: dict[str, Job] = {}
    for group in in_groups(job_keys):
        query = select(*JOB_COLUMNS, jobs.c.arrived).where(
            jobs.c.job_key.in_(group), jobs.c.status == JobStatus.QUEUED.value
        )
        rows = connection.execute(query)
        found |= {job.key: job for job in readable(jobs, rows, partial(waiting, timekeeper), met)}
    return [found[key] for key in job_keys if key in found]


def _waiting_bytes(connection: Connection) -> int:
    query = (
        select(func.coalesce(func.sum(frames.c.num_bytes), 0))
        .join(jobs, frames.c.job_key == jobs.c.job_key)
        .where(jobs.c.status == JobStatus.QUEUED.value, OF_BATCH)
    )
    return int(connection.scalar(query) or 0)


def _get(connection: Connection, batch_id: str) -> BatchProgress | None:
    query = select(batches).where(batches.c.batch_id == batch_id, batches.c.status != _STORING)
    row = connection.execute(query).one_or_none()
    return None if row is None else _progress(row, _counts(connection, row))


def _page(connection: Connection, limit: int, offset: int) -> list[BatchProgress]:
    query = select(batches).where(batches.c.status != _STORING)
    query = query.order_by(batches.c.created_at.desc(), batches.c.batch_id)
    rows = connection.execute(query.limit(limit).offset(offset)).all()
    return [_progress(row, _counts(connection, row)) for row in rows]


def _counts(connection: Connection, row: Row[*tuple[Any, ...]]) -> _Counts:
    if row.ended is not None:
        return _Counts(row.num_completed, row.num_failed, row.num_cancelled)
    query = (
        select(jobs.c.status, func.count())
        .select_from(batch_items)
        .outerjoin(jobs, batch_items.c.job_key == jobs.c.job_key)
        .where(batch_items.c.batch_id == row.batch_id)
        .group_by(jobs.c.status)
    )
    found: dict[str | None, int] = dict(connection.execute(query).all())  # None: there is no job
    open_ones = sum(found.pop(each.value, 0) for each in JobStatus if not each.is_final)
    completed = found.pop(JobStatus.COMPLETED.value, 0)
    cancelled = found.pop(JobStatus.CANCELLED.value, 0)
    return _Counts(completed, row.num_items - open_ones - completed - cancelled, cancelled)


def _progress(row: Row[*tuple[Any, ...]], counts: _Counts) -> BatchProgress:
    num_ended = counts.completed + counts.failed + counts.cancelled
    is_over = row.finished_at is not None
    state: BatchState = "finished" if is_over else "running"
    return BatchProgress(
        batch_id=row.batch_id,
        name=row.name,
        state="cancelled" if row.status == _CANCELLED else state,
        total=row.num_items,
        completed=counts.completed,
        failed=counts.failed,
        cancelled=counts.cancelled,
        progress=round(num_ended / row.num_items, 4),
        created_at=to_moment(row.created_at),
        finished_at=to_moment(row.finished_at) if is_over else None,
    )


def _results(connection: Connection, batch_id: str, limit: int, offset: int) -> list[BatchResult]:
    query = (
        select(batch_items, jobs.c.status, jobs.c.error.label("job_error"), jobs.c.result)
        .outerjoin(jobs, batch_items.c.job_key == jobs.c.job_key)
        .where(batch_items.c.batch_id == batch_id, batch_items.c.position >= offset)
        .order_by(batch_items.c.position)
        .limit(limit)
    )
    found: list[BatchResult] = []
    num_bytes = 0
    for row in connection.execute(query):
        num_bytes += len(row.result) if isinstance(row.result, str) else 0
        if num_bytes > _MOST_RESULT_BYTES and found:
            break
        found.append(_result(row))
    return found


def _result(row: Row[*tuple[Any, ...]]) -> BatchResult:
    """What became of an item; one whose row cannot be read has failed, as its job will."""
    key: str | None = row.job_key
    named = {"camera_id": row.camera_id, "job_id": None if key is None else split_key(key)[1]}
    try:
        if key is None:
            error = ErrorDetail.model_validate_json(row.error)
            return BatchResult(**named, status=JobStatus.FAILED, error=error)
        if row.status is None:
            gone = ErrorDetail(code="frame_gone", message="Its job is no longer kept")
            return BatchResult(**named, status=JobStatus.FAILED, error=gone)
        document = None if row.result is None else ResultDocument.model_validate_json(row.result)
        return BatchResult(
            **named,
            status=JobStatus(row.status),
            result=document.result if document else None,
            error=None if row.job_error is None else ErrorDetail.model_validate_json(row.job_error),
        )
    except UNREADABLE:
        error = ErrorDetail(code="unreadable", message="What is stored of it cannot be read")
        return BatchResult(**named, status=JobStatus.FAILED, error=error)


def _finish(
    connection: Connection, batch_id: str, at: datetime, message: MessageOf, stamp: Stamp
) -> tuple[BatchProgress | None, list[OutboxMessage]]:
    this = batches.c.batch_id == batch_id
    row = connection.execute(select(batches).where(this).with_for_update()).one_or_none()
    if row is None or row.ended is not None or row.status == _STORING:
        return None, []
    counts = _counts(connection, row)
    now = _progress(row, counts)
    if counts.completed + counts.failed + counts.cancelled < row.num_items:
        return now, []
    end = {
        "num_completed": counts.completed,
        "num_failed": counts.failed,
        "num_cancelled": counts.cancelled,
        "finished_at": to_microseconds(at),
        "ended": stamp.elapsed,
    }
    connection.execute(update(batches).where(this).values(**end))
    over = _progress(connection.execute(select(batches).where(this)).one(), counts)
    return over, insert_messages(connection, [message(over)], stamp)


def _delete_ended(connection: Connection, up_to: int) -> int:
    oldest = select(batches.c.batch_id).where(batches.c.ended <= up_to)
    ids = list(connection.scalars(oldest.order_by(batches.c.ended).limit(_DELETED_AT_ONCE)))
    for batch_id in ids:
        connection.execute(delete(batches).where(batches.c.batch_id == batch_id))
    return len(ids)
