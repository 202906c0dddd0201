"""Jobs, their frames and their ends.

Every status change is one transaction, and the messages that tell of it are written in the same
one: either both have happened or neither. Which change is allowed is said by `schemas.job`; a
change that is not allowed any more (somebody else ended the job first) writes nothing.
"""

import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self, cast

import aiosqlite
from sqlalchemy import (
    ColumnElement,
    CursorResult,
    Update,
    bindparam,
    delete,
    func,
    insert,
    select,
    text,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus, sources_of
from schemas.outbox import OutboxMessage
from schemas.result import ResultDocument
from service.store.database import Database, Faults, in_groups
from service.store.outbox import Outbox, insert_messages
from service.store.rows import JOB_COLUMNS, job_row, to_job, to_microseconds, to_moment
from service.store.tables import cameras, frames, jobs

OrderBy = Literal["priority", "queued_at", "finished_at"]

_ORDERS: dict[OrderBy, ColumnElement[int]] = {
    "priority": jobs.c.priority,
    "queued_at": jobs.c.received_at,
    "finished_at": jobs.c.finished_at,
}
#: A frame is worth no caption of its own when an equal one has, or will have, one of these.
_STANDS_FOR_OTHERS = (JobStatus.QUEUED, JobStatus.PROCESSING, JobStatus.COMPLETED)
# 50 frames of 100 KB are deleted in about 5 ms: short enough not to hold up an acknowledgement.
_FRAMES_PER_DELETE = 50
_VACUUM_PAGES = 256  # of 16 KiB: 4 MiB a step


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


class Store:
    """The jobs of one instance; open it with `Store.open`.

    Every method raises `StoreError` when the database refuses, `StoreFullError` when it is full.

    Args:
        database: Open.
        instance: Its name among those that share the database.

    Attributes:
        outbox: The messages still to be sent.
        keep_finished_frames: Whether a frame stays after its job's end, for a retry; retention
            turns it off while the disk is nearly full.
        bytes_accepted: Of frames, since the store was opened; retention looks at its pace.
    """

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance
        self.outbox = Outbox(database, instance)
        self.keep_finished_frames = True
        self.bytes_accepted = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls, url: str, *, instance: str = "", faults: Faults | None = None
    ) -> AsyncIterator[Self]:
        """Open the store, creating or upgrading its tables first.

        Args:
            url: `sqlite:///path/of/file` (its folder is made), or `postgresql://…`.
            instance: Stable name where several services share a PostgreSQL database: each
                recovers its own jobs and sends its own messages.
            faults: For tests.

        Raises:
            ConfigurationError: The URL names no database we know.
            StoreError: It cannot be opened, or a newer version has written it.
        """
        async with Database(url, faults) as database:
            yield cls(database, instance)

    @property
    def folder(self) -> Path | None:
        """Where the database's files are; None when they are on a server."""
        path = self._database.path
        return None if path is None else path.parent

    # Intake

    async def accept(
        self,
        new_jobs: Sequence[Job],
        images: Mapping[str, bytes],
        messages: Sequence[OutboxMessage] = (),
    ) -> list[OutboxMessage]:
        """Write new jobs, the frames of the queued ones, and messages, in one transaction.

        A job whose id is stored already stays as it is, and its messages are not written again:
        a group can be given once more after a failure whose outcome is not known.

        Args:
            new_jobs: Queued, or final from the start.
            images: By job id; those of final jobs are not kept, and a job without one waits for
                `add_image`.
            messages: What must go out, of these jobs or of none.

        Returns:
            The messages written, with their ids.
        """
        return await self._database.write(self._accept, new_jobs, images, messages)

    async def _accept(
        self,
        connection: AsyncConnection,
        new_jobs: Sequence[Job],
        images: Mapping[str, bytes],
        messages: Sequence[OutboxMessage],
    ) -> list[OutboxMessage]:
        known = await _known_ids(connection, [job.job_id for job in new_jobs])
        fresh = {job.job_id: job for job in reversed(new_jobs) if job.job_id not in known}
        if fresh:
            rows = [job_row(job, self._instance) for job in fresh.values()]
            await connection.execute(insert(jobs), rows)
        waiting = [job_id for job_id, job in fresh.items() if not job.status.is_final]
        if kept := [_frame_row(job_id, images[job_id]) for job_id in waiting if job_id in images]:
            await connection.execute(insert(frames), kept)
            self.bytes_accepted += sum(row["num_bytes"] for row in kept)
        unwritten = [message for message in messages if message.job_id not in known]
        return await insert_messages(connection, unwritten, self._instance)

    async def add_image(self, job_id: str, image: bytes) -> bool:
        """Keep the frame of a job that came without one.

        Returns:
            False, and nothing is written, when the job has ended, has a frame, or is unknown.
        """
        return await self._database.write(_add_image, job_id, image)

    async def existing(self, job_ids: Collection[str]) -> dict[str, Job]:
        """Those of `job_ids` that are stored."""
        found: dict[str, Job] = {}
        async with self._database.read() as connection:
            for group in in_groups(list(job_ids)):
                query = select(*JOB_COLUMNS).where(jobs.c.job_id.in_(group))
                found |= {row.job_id: to_job(row) for row in await connection.execute(query)}
        return found

    async def same_content(
        self, keys: Collection[tuple[str, str]], since: datetime
    ) -> dict[tuple[str, str], str]:
        """For each (camera id, sha256) the newest job since `since` whose caption stands for it.

        Jobs that ended without a caption do not count.
        """
        newest: dict[tuple[str, str], str] = {}
        async with self._database.read() as connection:
            for group in in_groups(list({sha256 for _, sha256 in keys})):
                query = (
                    select(jobs.c.camera_id, jobs.c.sha256, jobs.c.job_id)
                    .where(
                        jobs.c.sha256.in_(group),
                        jobs.c.received_at >= to_microseconds(since),
                        jobs.c.status.in_(_STANDS_FOR_OTHERS),
                    )
                    .order_by(jobs.c.received_at)
                )
                for row in await connection.execute(query):
                    newest[row.camera_id, row.sha256] = row.job_id
        return {key: newest[key] for key in keys if key in newest}

    # Life

    async def start(self, job_ids: Sequence[str], at: datetime) -> list[Job]:
        """Move queued jobs to `processing` and count the attempt.

        Returns:
            The jobs that were still queued, in the order asked for.
        """
        change = (
            update(jobs)
            .where(jobs.c.status.in_(_values(sources_of(JobStatus.PROCESSING))))
            .values(
                status=JobStatus.PROCESSING.value,
                started_at=to_microseconds(at),
                attempts=jobs.c.attempts + 1,
            )
        )
        return await self._database.write(_change, change, job_ids)

    async def requeue(
        self,
        job_ids: Sequence[str],
        *,
        count_loss: bool = False,
        refund: bool = False,
        error: ErrorDetail | None = None,
    ) -> list[Job]:
        """Move processing jobs back to `queued`.

        Args:
            job_ids: Which.
            count_loss: The engine died under them.
            refund: The attempt does not count: preempted, or shut down.
            error: What went wrong, if anything did.

        Returns:
            The jobs that were still processing, in the order asked for.
        """
        change = (
            update(jobs)
            .where(jobs.c.status.in_(_values(sources_of(JobStatus.QUEUED))))
            .values(
                status=JobStatus.QUEUED.value,
                attempts=jobs.c.attempts - int(refund),
                engine_losses=jobs.c.engine_losses + int(count_loss),
                error=None if error is None else error.model_dump_json(),
            )
        )
        return await self._database.write(_change, change, job_ids)

    async def finish(
        self,
        job_id: str,
        status: JobStatus,
        *,
        at: datetime,
        error: ErrorDetail | None = None,
        result: ResultDocument | None = None,
        messages: Sequence[OutboxMessage] = (),
    ) -> Ended | None:
        """End a job and write what must go out, in one transaction.

        Returns:
            The job as it ended and the messages with their ids; None, and nothing is written, when
            the job is unknown or this end is not allowed any more.
        """
        ended = await self.finish_many([Ending(job_id, status, at, error, result, messages)])
        return ended[0] if ended else None

    async def finish_many(self, endings: Sequence[Ending]) -> list[Ended]:
        """End several jobs in one transaction.

        Returns:
            Those that ended, in the order of `endings`; a job that is unknown, or may not end like
            this any more, is left out and nothing is written for it.
        """
        return await self._database.write(self._finish, endings)

    async def _finish(self, connection: AsyncConnection, endings: Sequence[Ending]) -> list[Ended]:
        before = await _lock(connection, [ending.job_id for ending in endings])
        allowed: dict[str, Ending] = {}
        for ending in endings:
            job = before.get(ending.job_id)
            if job is not None and job.status in sources_of(ending.status):
                allowed.setdefault(ending.job_id, ending)
        if not allowed:
            return []
        await connection.execute(_END, [_end_row(ending) for ending in allowed.values()])
        if not self.keep_finished_frames:
            await _delete_frames(connection, list(allowed))
        messages = [message for ending in allowed.values() for message in ending.messages]
        written = iter(await insert_messages(connection, messages, self._instance))
        return [
            (_ended(before[job_id], ending), [next(written) for _ in ending.messages])
            for job_id, ending in allowed.items()
        ]

    async def recover(self) -> list[Job]:
        """Take back what was running when the service ended, and return all that waits.

        The interrupted attempts stay counted; the engine's losses do not grow, it was our own end.

        Returns:
            The queued jobs of this instance, the longest waiting first.
        """
        return await self._database.write(self._recover)

    async def _recover(self, connection: AsyncConnection) -> list[Job]:
        mine = jobs.c.instance == self._instance
        await connection.execute(
            update(jobs)
            .where(jobs.c.status == JobStatus.PROCESSING.value, mine)
            .values(status=JobStatus.QUEUED.value)
        )
        query = (
            select(*JOB_COLUMNS)
            .where(jobs.c.status == JobStatus.QUEUED.value, mine)
            .order_by(jobs.c.received_at, jobs.c.job_id)
        )
        return [to_job(row) for row in await connection.execute(query)]

    # Questions

    async def get(self, job_id: str) -> Job | None:
        """The job as it stands."""
        return (await self.existing([job_id])).get(job_id)

    async def image(self, job_id: str) -> bytes | None:
        """The frame as it came; None when it is not kept any more."""
        query = select(frames.c.image).where(frames.c.job_id == job_id)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def result(self, job_id: str) -> ResultDocument | None:
        """The result document of a job that has ended with one."""
        query = select(jobs.c.result).where(jobs.c.job_id == job_id)
        async with self._database.read() as connection:
            document = (await connection.execute(query)).scalar_one_or_none()
        return None if document is None else ResultDocument.model_validate_json(document)

    async def list_jobs(
        self,
        *,
        status: JobStatus | None = None,
        camera_id: str | None = None,
        priority: Priority | None = None,
        limit: int = 50,
        offset: int = 0,
        order_by: OrderBy = "queued_at",
        descending: bool = False,
    ) -> list[Job]:
        """One page of the jobs that match; equals are ordered by time, then by id."""
        order = _ORDERS[order_by]
        query = select(*JOB_COLUMNS).where(*_matches(status, camera_id, priority))
        query = query.order_by(
            *((each.desc() if descending else each.asc()) for each in (order, jobs.c.received_at)),
            jobs.c.job_id,
        )
        async with self._database.read() as connection:
            rows = await connection.execute(query.limit(limit).offset(offset))
            return [to_job(row) for row in rows]

    async def count_jobs(
        self,
        *,
        status: JobStatus | None = None,
        camera_id: str | None = None,
        priority: Priority | None = None,
    ) -> int:
        """How many jobs `list_jobs` would page through."""
        matches = _matches(status, camera_id, priority)
        query = select(func.count()).select_from(jobs).where(*matches)
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one()

    async def counts(self) -> dict[JobStatus, int]:
        """How many jobs are in each status; statuses without any are there with 0."""
        query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
        async with self._database.read() as connection:
            found = {JobStatus(status): count for status, count in await connection.execute(query)}
        return {status: found.get(status, 0) for status in JobStatus}

    # Cameras

    async def camera_overrides(self) -> dict[str, dict[str, Any]]:
        """The settings changed at run time, by camera."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(cameras.c.camera_id, cameras.c.settings))
            return {camera_id: json.loads(settings) for camera_id, settings in rows}

    async def set_camera_override(self, camera_id: str, settings: Mapping[str, Any]) -> None:
        """Replace what was changed at run time for one camera; empty forgets it."""
        await self._database.write(_set_override, camera_id, settings)

    # Retention

    async def delete_finished(self, before: datetime, limit: int = 500) -> int:
        """Delete up to `limit` jobs that ended before a time, with their frames.

        Returns:
            How many; less than `limit` when no more are left.
        """
        return await self._database.write(_delete_finished, to_microseconds(before), limit)

    async def frame_bytes(self) -> int:
        """Bytes of all frames kept."""
        async with self._database.read() as connection:
            return int((await connection.execute(_FRAME_BYTES)).scalar_one())

    async def drop_finished_frames(self, target_bytes: int) -> int:
        """Delete frames of finished jobs, the oldest first, until `target_bytes` are left in all.

        Frames of jobs that have not ended are never touched, so more may be left.

        Returns:
            How many frames were deleted.
        """
        total = 0
        while num_dropped := await self._database.write(_drop_frames, target_bytes):
            total += num_dropped
        return total

    async def shrink(self, num_bytes: int) -> int:
        """Give up to `num_bytes` of unused space back to the file system; nothing on a server.

        What is not given back is used again by later frames.

        Returns:
            Bytes given back.
        """
        if self._database.path is None:
            return 0
        given = 0
        while given < num_bytes and (step := await self._database.write(_vacuum)):
            given += step
        if given:
            await self._database.checkpoint()
        return given


_FRAME_BYTES = select(func.coalesce(func.sum(frames.c.num_bytes), 0))

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


def _values(statuses: Iterable[JobStatus]) -> list[str]:
    return [status.value for status in statuses]


def _matches(
    status: JobStatus | None, camera_id: str | None, priority: Priority | None
) -> list[ColumnElement[bool]]:
    wanted = {jobs.c.status: status, jobs.c.camera_id: camera_id, jobs.c.priority: priority}
    return [column == value for column, value in wanted.items() if value is not None]


def _frame_row(job_id: str, image: bytes) -> dict[str, Any]:
    return {"job_id": job_id, "num_bytes": len(image), "image": image}


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


async def _known_ids(connection: AsyncConnection, job_ids: Sequence[str]) -> set[str]:
    known: set[str] = set()
    for group in in_groups(job_ids):
        known.update(
            await connection.scalars(select(jobs.c.job_id).where(jobs.c.job_id.in_(group)))
        )
    return known


async def _lock(connection: AsyncConnection, job_ids: Sequence[str]) -> dict[str, Job]:
    """Read jobs so that nobody changes them before this transaction ends."""
    found: dict[str, Job] = {}
    for group in in_groups(job_ids):
        # On SQLite the transaction holds the write lock already; there the clause is left out.
        query = select(*JOB_COLUMNS).where(jobs.c.job_id.in_(group)).with_for_update()
        found |= {row.job_id: to_job(row) for row in await connection.execute(query)}
    return found


async def _add_image(connection: AsyncConnection, job_id: str, image: bytes) -> bool:
    job = (await _lock(connection, [job_id])).get(job_id)
    query = select(frames.c.job_id).where(frames.c.job_id == job_id)
    if job is None or job.status.is_final or (await connection.scalar(query)) is not None:
        return False
    await connection.execute(insert(frames), _frame_row(job_id, image))
    return True


async def _change(connection: AsyncConnection, change: Update, job_ids: Sequence[str]) -> list[Job]:
    changed: dict[str, Job] = {}
    for group in in_groups(job_ids):
        rows = await connection.execute(
            change.where(jobs.c.job_id.in_(group)).returning(*JOB_COLUMNS)
        )
        changed |= {row.job_id: to_job(row) for row in rows}
    return [changed[job_id] for job_id in dict.fromkeys(job_ids) if job_id in changed]


async def _set_override(
    connection: AsyncConnection, camera_id: str, settings: Mapping[str, Any]
) -> None:
    await connection.execute(delete(cameras).where(cameras.c.camera_id == camera_id))
    if settings:
        row = {"camera_id": camera_id, "settings": json.dumps(dict(settings))}
        await connection.execute(insert(cameras), row)


async def _delete_finished(connection: AsyncConnection, before: int, limit: int) -> int:
    oldest = select(jobs.c.job_id).where(jobs.c.finished_at < before)
    oldest = oldest.order_by(jobs.c.finished_at).limit(limit)
    deleted = await connection.execute(delete(jobs).where(jobs.c.job_id.in_(oldest)))
    return cast("CursorResult[Any]", deleted).rowcount


async def _delete_frames(connection: AsyncConnection, job_ids: Sequence[str]) -> None:
    for group in in_groups(job_ids):
        await connection.execute(delete(frames).where(frames.c.job_id.in_(group)))


async def _drop_frames(connection: AsyncConnection, target_bytes: int) -> int:
    """One step of `drop_finished_frames`, small so that others can write in between."""
    excess = (await connection.execute(_FRAME_BYTES)).scalar_one() - target_bytes
    if excess <= 0:
        return 0
    query = select(frames.c.job_id, frames.c.num_bytes).join(jobs)
    query = query.where(jobs.c.finished_at.is_not(None)).order_by(jobs.c.finished_at)
    dropped = []
    for row in await connection.execute(query.limit(_FRAMES_PER_DELETE)):
        if excess <= 0:
            break
        dropped.append(row.job_id)
        excess -= row.num_bytes
    await _delete_frames(connection, dropped)
    return len(dropped)


async def _vacuum(connection: AsyncConnection) -> int:
    """One step of `shrink`, small so that others can write in between."""
    before = await _file_bytes(connection)
    # Each row of its answer frees one page, and SQLAlchemy does not read rows without columns.
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, aiosqlite.Connection)  # noqa: S101 - for the type checker
    await driver.execute_fetchall(f"PRAGMA incremental_vacuum({_VACUUM_PAGES})")
    return before - await _file_bytes(connection)


async def _file_bytes(connection: AsyncConnection) -> int:
    num_pages = (await connection.execute(text("PRAGMA page_count"))).scalar_one()
    page_bytes = (await connection.execute(text("PRAGMA page_size"))).scalar_one()
    return int(num_pages) * int(page_bytes)
