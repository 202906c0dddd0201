"""What the store does to jobs, as functions of a connection inside a transaction.

What cannot be read is left out and added to `met`; see `unreadable`.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast

from sqlalchemy import (
    Connection,
    CursorResult,
    Row,
    Select,
    Update,
    bindparam,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    text,
    update,
)

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus, sources_of, split_key
from schemas.outbox import OutboxMessage
from schemas.result import ResultDocument
from service.store.caption_index import Captioned, delete_captions, insert_captions
from service.store.database import in_groups
from service.store.frames import copy_frame, delete_frames, images_of, insert_frames
from service.store.outbox import insert_messages, meet_unsendable
from service.store.rows import (
    JOB_COLUMNS,
    Stamp,
    job_row,
    to_job,
    to_microseconds,
    to_moment,
    to_number,
)
from service.store.tables import batch_items, batches, jobs
from service.store.timekeeper import Timekeeper
from service.store.unreadable import UnreadableRow, readable

#: A frame is worth no caption of its own when an equal one has, or will have, one of these.
_STANDS_FOR_OTHERS = (JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED)

_END = (
    update(jobs)
    .where(jobs.c.job_key == bindparam("ended_key"))
    .values(
        status=bindparam("ended_status"),
        finished_at=bindparam("ended_at"),
        ended=bindparam("ended_elapsed"),
        error=bindparam("ended_error"),
        result=bindparam("ended_result"),
        fingerprint=bindparam("ended_fingerprint"),
    )
)

# EXISTS stops at the first: of an id that a thousand cameras use, two are looked at. As text,
# because SQLAlchemy keeps no compiled form of VALUES, which made this three times as dear.
_KNOWN = """
    WITH asked (job_key, camera_id, job_id) AS (VALUES {rows})
    SELECT
        job_key,
        EXISTS (SELECT 1 FROM jobs WHERE jobs.job_key = asked.job_key) AS is_stored,
        EXISTS (
            SELECT 1 FROM jobs
            WHERE jobs.job_id = asked.job_id AND jobs.camera_id <> asked.camera_id
        ) AS is_elsewhere
    FROM asked
"""


#: Jobs that wait in a batch until the queue has room for them, or did.
OF_BATCH = exists().where(batch_items.c.job_key == jobs.c.job_key, batch_items.c.is_own)

#: Counted for a batch that is not over: without them what was captioned would count as failed.
_OF_OPEN_BATCH = exists().where(
    batch_items.c.job_key == jobs.c.job_key,
    batch_items.c.batch_id == batches.c.batch_id,
    batches.c.ended.is_(None),
)

_MOST_KEYS_OF_ID = 6  # of one that cameras invented a thousand times; one is too many already


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of one job, and what must go out because of it."""

    job_key: str
    status: JobStatus
    at: datetime
    error: ErrorDetail | None = None
    result: ResultDocument | None = None
    messages: Sequence[OutboxMessage] = ()
    fingerprint: bytes | None = None  #: of the frame, when it was captioned and compared
    priority: Priority = Priority.NORMAL  #: of the job: the end of a critical one is written first


@dataclass(frozen=True, slots=True)
class Attempt:
    """A job that has been started, and its image; None when that is not kept any more."""

    job: Job
    image: bytes | None


#: The job as it ended, and its messages with their ids.
Ended = tuple[Job, list[OutboxMessage]]


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of some job keys."""

    keys: frozenset[str] = frozenset()  #: those that are stored
    elsewhere: frozenset[str] = frozenset()  #: those whose job id is stored for another camera


def insert_jobs(
    connection: Connection,
    new_jobs: Sequence[Job],
    images: Mapping[str, bytes],
    messages: Sequence[OutboxMessage],
    stamp: Stamp,
) -> list[OutboxMessage]:
    """Write what is not there yet; see `Store.accept`."""
    known = _known_keys(connection, [job.key for job in new_jobs])
    fresh = {job.key: job for job in reversed(new_jobs) if job.key not in known}
    if fresh:
        connection.execute(insert(jobs), [job_row(job, stamp) for job in fresh.values()])
    waiting = {key for key, job in fresh.items() if not job.status.is_final}
    insert_frames(connection, {key: images[key] for key in waiting if key in images})
    unwritten = [message for message in messages if message.job_key not in known]
    return insert_messages(connection, unwritten, stamp)


def find(
    connection: Connection, met: list[UnreadableRow], job_keys: Sequence[str]
) -> dict[str, Job]:
    """Those of `job_keys` that are there."""
    return {job.key: job for job in _find(connection, met, job_keys, select(*JOB_COLUMNS))}


def lock(
    connection: Connection, met: list[UnreadableRow], job_keys: Sequence[str], instance: str
) -> dict[str, Job]:
    """The instance's own of `job_keys`; nobody changes them before this transaction ends."""
    # On SQLite the transaction has the write lock already; there the clause is left out.
    query = select(*JOB_COLUMNS).where(jobs.c.instance == instance).with_for_update()
    return {job.key: job for job in _find(connection, met, job_keys, query)}


def known(connection: Connection, job_keys: Collection[str]) -> Known:
    """See `Store.known`."""
    found: list[Row[Any]] = []
    for group in in_groups(list(job_keys)):
        rows = ", ".join(f"(:key_{i}, :camera_{i}, :id_{i})" for i in range(len(group)))
        asked: dict[str, str] = {}
        for i, key in enumerate(group):
            camera_id, job_id = split_key(key)
            asked |= {f"key_{i}": key, f"camera_{i}": camera_id, f"id_{i}": job_id}
        found += connection.execute(text(_KNOWN.format(rows=rows)), asked).all()
    return Known(
        frozenset(row.job_key for row in found if row.is_stored),
        frozenset(row.job_key for row in found if row.is_elsewhere),
    )


def keys_of(connection: Connection, job_id: str, camera_id: str | None) -> list[str]:
    """See `Store.keys_of`."""
    query = select(jobs.c.job_key).where(jobs.c.job_id == job_id).order_by(jobs.c.camera_id)
    if camera_id is not None:
        query = query.where(jobs.c.camera_id == camera_id)
    return list(connection.scalars(query.limit(_MOST_KEYS_OF_ID)))


def newest_with_content(
    connection: Connection, contents: Collection[tuple[str, str]], earliest: int
) -> dict[tuple[str, str], str]:
    """See `Store.same_content`; `earliest` is elapsed time."""
    newest: dict[tuple[str, str], str] = {}
    for group in in_groups(list({content for _, content in contents})):
        # Without the status: with it, SQLite goes through all that wait instead of the few hashes.
        query = select(
            jobs.c.camera_id, jobs.c.content, jobs.c.job_key, jobs.c.status, jobs.c.arrived
        ).where(jobs.c.content.in_(group))
        rows = [
            row
            for row in connection.execute(query)
            if isinstance(row.arrived, int)
            and row.arrived >= earliest
            and row.status in _STANDS_FOR_OTHERS
        ]
        for row in sorted(rows, key=lambda row: row.arrived):
            newest[row.camera_id, row.content] = row.job_key
    return {each: newest[each] for each in contents if each in newest}


def newest_completed(connection: Connection, camera_id: str) -> datetime | None:
    """See `Store.newest_caption`."""
    query = select(func.max(jobs.c.received_at)).where(
        jobs.c.camera_id == camera_id, jobs.c.status == JobStatus.COMPLETED.value, ~OF_BATCH
    )
    newest = connection.scalar(query)
    try:
        return to_moment(newest) if isinstance(newest, int) else None
    except OverflowError:  # a row that nobody can read
        return None


def start(
    connection: Connection,
    met: list[UnreadableRow],
    job_keys: Sequence[str],
    at: datetime,
    instance: str,
) -> list[Attempt]:
    """See `Store.start`."""
    change = _after(JobStatus.PROCESSING, instance).values(
        status=JobStatus.PROCESSING.value,
        started_at=to_microseconds(at),
        attempts=jobs.c.attempts + 1,
        error=None,  # that of the attempt before
    )
    started = _change(connection, met, change, job_keys)
    images = images_of(connection, [job.key for job in started])
    return [Attempt(job, images.get(job.key)) for job in started]


def requeue(
    connection: Connection,
    met: list[UnreadableRow],
    job_keys: Sequence[str],
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
    return _change(connection, met, change, job_keys)


def finish(
    connection: Connection,
    met: list[UnreadableRow],
    endings: Sequence[Ending],
    stamp: Stamp,
    *,
    keep_frames: bool,
) -> list[Ended]:
    """See `Store.finish_many`."""
    before = lock(connection, met, [ending.job_key for ending in endings], stamp.instance)
    allowed: dict[str, Ending] = {}
    for ending in endings:
        job = before.get(ending.job_key)
        if job is not None and job.status in sources_of(ending.status):
            allowed.setdefault(ending.job_key, ending)
    if not allowed:
        return []
    connection.execute(_END, [_end_row(ending, stamp) for ending in allowed.values()])
    insert_captions(connection, _captioned(before, allowed.values()))
    if not keep_frames:
        delete_frames(connection, list(allowed))
    messages = [message for ending in allowed.values() for message in ending.messages]
    written = iter(insert_messages(connection, messages, stamp))
    return [
        (_ended(before[job_key], ending), [next(written) for _ in ending.messages])
        for job_key, ending in allowed.items()
    ]


def retry(connection: Connection, job_key: str, retried: Job, stamp: Stamp) -> bool:
    """See `Store.retry`."""
    if _known_keys(connection, [retried.key]):
        return True
    connection.execute(insert(jobs), job_row(retried, stamp))
    if copy_frame(connection, job_key, retried.key) or retried.frame_url is not None:
        return True
    connection.execute(delete(jobs).where(jobs.c.job_key == retried.key))
    return False


def recover(
    connection: Connection, met: list[UnreadableRow], instance: str, timekeeper: Timekeeper
) -> list[Job]:
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
        select(*JOB_COLUMNS, jobs.c.arrived)
        .where(jobs.c.status.in_(statuses), mine)
        .where(or_(jobs.c.status != JobStatus.QUEUED.value, ~OF_BATCH))
        .order_by(jobs.c.arrived, jobs.c.job_key)
    )
    meet_unsendable(connection, met, instance)
    rows = connection.execute(query)
    return list(readable(jobs, rows, partial(waiting, timekeeper), met))


def waiting(timekeeper: Timekeeper, row: Row[*tuple[Any, ...]]) -> Job:
    """A job that waits again, for as long as it has waited already."""
    arrived = timekeeper.monotonic_at(to_number(row.arrived))
    return to_job(row).model_copy(update={"arrived_monotonic": arrived})


def result_of(
    connection: Connection, met: list[UnreadableRow], job_key: str
) -> ResultDocument | None:
    """See `Store.result`."""
    query = select(*jobs.primary_key, jobs.c.result).where(jobs.c.job_key == job_key)
    rows = connection.execute(query.where(jobs.c.result.is_not(None)))
    return next(readable(jobs, rows, _to_result, met), None)


def delete_finished(connection: Connection, up_to: int, limit: int) -> int:
    """See `Store.delete_finished`; `up_to` is elapsed time."""
    columns = (jobs.c.job_key, jobs.c.status, jobs.c.finished_at)
    oldest = select(*columns).where(jobs.c.ended <= up_to, ~_OF_OPEN_BATCH)
    rows = connection.execute(oldest.order_by(jobs.c.ended).limit(limit)).all()
    delete_captions(
        connection,
        [
            (row.job_key, row.finished_at)
            for row in rows
            if row.status == JobStatus.COMPLETED.value and isinstance(row.finished_at, int)
        ],
    )
    num_deleted = 0
    for group in in_groups([row.job_key for row in rows]):
        deleted = connection.execute(delete(jobs).where(jobs.c.job_key.in_(group)))
        num_deleted += cast("CursorResult[Any]", deleted).rowcount
    return num_deleted


def _known_keys(connection: Connection, job_keys: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for group in in_groups(job_keys):
        known.update(connection.scalars(select(jobs.c.job_key).where(jobs.c.job_key.in_(group))))
    return known


def _find(
    connection: Connection,
    met: list[UnreadableRow],
    job_keys: Sequence[str],
    query: Select[*tuple[Any, ...]],
) -> Iterator[Job]:
    for group in in_groups(job_keys):
        rows = connection.execute(query.where(jobs.c.job_key.in_(group)))
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
    connection: Connection, met: list[UnreadableRow], change: Update, job_keys: Sequence[str]
) -> list[Job]:
    changed: dict[str, Job] = {}
    for group in in_groups(job_keys):
        query = change.where(jobs.c.job_key.in_(group)).returning(*JOB_COLUMNS)
        rows = readable(jobs, connection.execute(query), to_job, met)
        changed |= {job.key: job for job in rows}
    return [changed[job_key] for job_key in dict.fromkeys(job_keys) if job_key in changed]


def _end_row(ending: Ending, stamp: Stamp) -> dict[str, Any]:
    return {
        "ended_key": ending.job_key,
        "ended_status": ending.status.value,
        "ended_at": to_microseconds(ending.at),
        "ended_elapsed": stamp.elapsed,
        "ended_error": None if ending.error is None else ending.error.model_dump_json(),
        "ended_result": None if ending.result is None else ending.result.model_dump_json(),
        "ended_fingerprint": ending.fingerprint,
    }


def _captioned(before: Mapping[str, Job], endings: Iterable[Ending]) -> list[Captioned]:
    return [
        Captioned(
            ending.job_key,
            before[ending.job_key].camera_id,
            to_microseconds(ending.at),
            ending.result,
        )
        for ending in endings
        if ending.status is JobStatus.COMPLETED and ending.result is not None
    ]


def _ended(job: Job, ending: Ending) -> Job:
    finished_at = to_moment(to_microseconds(ending.at))  # as it will be read again
    return job.model_copy(
        update={"status": ending.status, "finished_at": finished_at, "error": ending.error}
    )
