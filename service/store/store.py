"""Jobs, their frames and their ends.

Every status change is one transaction, and the messages that tell of it are written in the same
one: either both have happened or neither. Which change is allowed is said by `schemas.job`; a
change that is not allowed any more (somebody else ended the job first) writes nothing.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, Self, TypeVar

from sqlalchemy import Connection

from schemas.batch import BatchProgress
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from schemas.outbox import OutboxMessage
from schemas.result import ResultDocument
from service.clock import Clock
from service.errors import StoreError
from service.store import cameras, captions, frames, jobs, lists, switches
from service.store.batches import Batches, MessageOf
from service.store.cameras import KeptCamera
from service.store.captions import CaptionQuery, FoundCaptions
from service.store.database import Database
from service.store.discovery import PublishedDiscovery
from service.store.fingerprints import LastCaptioned, last_captioned
from service.store.folder_files import FolderFiles
from service.store.frigate_events import FrigateEvents
from service.store.indexing import CaptionIndexing
from service.store.instances import Instances
from service.store.jobs import Attempt, Ended, Ending, Known
from service.store.lists import Filter, OrderBy, Place
from service.store.outbox import Outbox
from service.store.retained import RetainedTopics
from service.store.rows import MICROSECONDS
from service.store.set_aside import FinalMessages, SetAside, set_aside
from service.store.sqlite import DiskUsage
from service.store.timekeeper import Timekeeper, load_record, save_record
from service.store.turns import Turn
from service.store.unreadable import UnreadableRow, UnreadableRows

__all__ = ["Ended", "Ending", "Known", "OrderBy", "Store"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class Store:
    """The jobs of one instance; open it with `Store.open`.

    Every method raises `StoreError` when the database refuses, `StoreFullError` when it is full.

    Args:
        database: Open.
        instance: Its name among those that share the database.
        base_topic: Of the cameras it speaks for.
        timekeeper: Measures what waits and what is kept.

    Attributes:
        outbox: The messages still to be sent.
        unreadable: The rows that somebody met and that are to be set aside.
        instances: Who else uses the database.
        batches: Frames that came many in one request.
        discovery: What is published for Home Assistant.
        retained: Which topics the broker keeps a message of ours on.
        frigate: What Frigate has said of what is followed.
        folder_files: What was taken from watched folders.
        indexing: Lets captions of before be searched.
        keep_finished_frames: Whether a frame stays after its job's end, for a retry; retention
            turns it off while the disk is nearly full.
        bytes_accepted: Of frames, since the store was opened; retention looks at its pace.
    """

    def __init__(
        self,
        database: Database,
        instance: str,
        base_topic: str = "",
        timekeeper: Timekeeper | None = None,
    ) -> None:
        self._database = database
        self._instance = instance
        self._timekeeper = timekeeper or Timekeeper(Clock())
        self.unreadable = UnreadableRows()
        self.outbox = Outbox(database, instance, self._timekeeper, self.unreadable)
        self.instances = Instances(database, instance, base_topic, self.unreadable, self.outbox)
        self.batches = Batches(database, instance, self._timekeeper, self.unreadable)
        self.discovery = PublishedDiscovery(
            database, instance, base_topic, self._timekeeper, self.outbox
        )
        self.retained = RetainedTopics(database, instance)
        self.frigate = FrigateEvents(database, instance, self._timekeeper)
        self.folder_files = FolderFiles(database, instance)
        self.indexing = CaptionIndexing(database)
        self._searching = asyncio.Lock()
        self.keep_finished_frames = True
        self.bytes_accepted = 0

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        where: str | Path,
        *,
        instance: str = "",
        clock: Clock | None = None,
        base_topic: str = "",
        disk_usage: DiskUsage = shutil.disk_usage,
    ) -> AsyncIterator[Self]:
        """Open the store, creating or upgrading its tables first.

        Args:
            where: Path of an SQLite file (its folder is made), or a URL: `sqlite:///path/of/file`,
                or `postgresql://…`.
            instance: Stable name where several services share a PostgreSQL database: each
                recovers its own jobs and sends its own messages.
            clock: The machine's, unless a test brings its own.
            base_topic: Of the cameras it speaks for; see `service.store.instances`.
            disk_usage: Reads the disk of the SQLite file.

        Raises:
            ConfigurationError: The URL names no database we know.
            StoreError: It cannot be opened, or a newer version has written it.
        """
        async with Database(where, disk_usage) as database:
            last = await database.read(load_record)
            store = cls(database, instance, base_topic, Timekeeper(clock or Clock(), last))
            with suppress(StoreError):  # a full disk is no reason not to start
                await store.keep_time()
            yield store

    async def keep_time(self) -> None:
        """Let the next run know how much time has passed; to be called every minute."""
        await self._database.write(save_record, self._timekeeper.record())

    @property
    def folder(self) -> Path | None:
        """Where the database's files are; None when they are on a server."""
        path = self._database.path
        return None if path is None else path.parent

    @property
    def reserve_bytes(self) -> int:
        """Free bytes on the disk that `accept` leaves for ending jobs; 0 on a server."""
        return self._database.reserve_bytes

    @property
    def refusal(self) -> str | None:
        """Why the last write failed; None when it did not."""
        return self._database.refusal

    # Intake

    async def accept(
        self,
        new_jobs: Sequence[Job],
        images: Mapping[str, bytes],
        messages: Sequence[OutboxMessage] = (),
    ) -> list[OutboxMessage]:
        """Write new jobs, the frames of the queued ones, and messages, in one transaction.

        A job whose key is stored already stays as it is, and its messages are not written again:
        a group can be given once more after a failure whose outcome is not known.

        Args:
            new_jobs: Queued, or final from the start.
            images: By job key; those of final jobs are not kept, and a job without one waits for
                `add_image`.
            messages: What must go out, of these jobs or of none.

        Returns:
            The messages written, with their ids.

        Raises:
            StoreFullError: There is no room for the frames; all else still works, on SQLite the
                last MiB of the disk are kept for it.
        """
        num_bytes = sum(map(len, images.values()))
        if num_bytes:
            self._database.check_room(num_bytes)
        stamp = self._timekeeper.stamp(self._instance)
        turn = _turn_for((job.priority for job in new_jobs), num_bytes)
        with self.outbox.uncertain():
            written = await self._database.write_in_turn(
                turn, jobs.insert_jobs, new_jobs, images, messages, stamp
            )
        self.bytes_accepted += num_bytes
        self.outbox.committed(written, is_all=len(written) == len(messages))
        return written

    async def add_image(self, job_key: str, image: bytes) -> bool:
        """Keep the frame of a job that came without one.

        Returns:
            False, and nothing is written, when the job has ended, has a frame, or is unknown.
        """
        turn = Turn(num_bytes=len(image))
        return await self._write(turn, _add_image, job_key, image, self._instance)

    async def existing(self, job_keys: Collection[str]) -> dict[str, Job]:
        """Those of `job_keys` that are stored."""
        return await self._read(jobs.find, list(job_keys))

    async def known(self, job_keys: Collection[str]) -> Known:
        """Which of `job_keys` are stored, and which of their job ids are, for another camera."""
        return await self._database.look_up(jobs.known, job_keys)

    async def same_content(
        self, contents: Collection[tuple[str, str]], within_s: float
    ) -> dict[tuple[str, str], str]:
        """For each (camera id, `Job.content`) the newest job whose caption stands for it.

        Jobs that ended without a caption, or came more than `within_s` seconds ago, do not count.
        """
        earliest = self._timekeeper.elapsed() - round(within_s * MICROSECONDS)
        return await self._database.look_up(jobs.newest_with_content, contents, earliest)

    async def newest_caption(self, camera_id: str) -> datetime | None:
        """When the newest frame of a camera that has been captioned arrived."""
        return await self._database.look_up(jobs.newest_completed, camera_id)

    async def last_captioned(self, camera_ids: Collection[str]) -> dict[str, LastCaptioned]:
        """The frame of each camera that was captioned last, if it was compared with others."""
        elapsed = self._timekeeper.elapsed()
        return await self._database.look_up(last_captioned, camera_ids, elapsed)

    # Life

    async def start(
        self, job_keys: Sequence[str], at: datetime, *, is_urgent: bool = False
    ) -> list[Attempt]:
        """Move queued jobs to `processing`, count the attempt, and read their images.

        Args:
            job_keys: Which.
            at: When.
            is_urgent: A critical one is among them.

        Returns:
            The jobs that were still queued, in the order asked for.
        """
        return await self._write(Turn(is_urgent), jobs.start, job_keys, at, self._instance)

    async def requeue(
        self,
        job_keys: Sequence[str],
        *,
        count_loss: bool = False,
        refund: bool = False,
        error: ErrorDetail | None = None,
    ) -> list[Job]:
        """Move processing jobs back to `queued`.

        Args:
            job_keys: Which.
            count_loss: The engine died under them.
            refund: The attempt does not count: preempted, or shut down.
            error: What went wrong, if anything did.

        Returns:
            The jobs that were still processing, in the order asked for.
        """
        return await self._write(
            Turn(),
            jobs.requeue,
            job_keys,
            self._instance,
            count_loss=count_loss,
            refund=refund,
            error=error,
        )

    async def finish(
        self,
        job_key: str,
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
        ended = await self.finish_many([Ending(job_key, status, at, error, result, messages)])
        return ended[0] if ended else None

    async def finish_many(self, endings: Sequence[Ending]) -> list[Ended]:
        """End several jobs in one transaction.

        Returns:
            Those that ended, in the order of `endings`; a job that is unknown, or may not end like
            this any more, is left out and nothing is written for it.
        """
        stamp = self._timekeeper.stamp(self._instance)
        turn = _turn_for(each.priority for each in endings)
        with self.outbox.uncertain():
            ended = await self._write(
                turn, jobs.finish, endings, stamp, keep_frames=self.keep_finished_frames
            )
        written = [message for _, messages in ended for message in messages]
        self.outbox.committed(written, is_all=len(ended) == len(endings))
        return ended

    async def retry(self, job: Job, retried: Job) -> bool:
        """Write a new job for the frame of one that has ended, in one transaction with a copy.

        Args:
            job: Has ended.
            retried: Of the same camera, queued. Is it there already, nothing is written: it can be
                given once more after a failure whose outcome is not known.

        Returns:
            False, and nothing is written, when the frame is no longer kept and is behind no URL.

        Raises:
            StoreFullError: There is no room for the copy.
        """
        self._database.check_room(job.num_bytes)
        stamp = self._timekeeper.stamp(self._instance)
        turn = Turn(num_bytes=job.num_bytes)
        return await self._database.write_in_turn(turn, jobs.retry, job.key, retried, stamp)

    async def finish_batch(
        self, batch_id: str, at: datetime, message: MessageOf
    ) -> BatchProgress | None:
        """Note the end of a batch of which all has ended, and write what must go out.

        Returns:
            How it is doing; None when it is not there, or was over before.
        """
        with self.outbox.uncertain():
            found, written = await self.batches.finish(batch_id, at, message)
        self.outbox.committed(written)
        return found

    async def recover(self) -> list[Job]:
        """Take back what was running when the service ended, and return all that waits.

        The interrupted attempts stay counted; the engine's losses do not grow, it was our own end.
        What a file holds is ours, whatever we were called before.

        Returns:
            The queued jobs of this instance, the longest waiting first; they know since when.
        """
        await self.instances.enter()
        return await self._write(Turn(), jobs.recover, self._instance, self._timekeeper)

    async def set_aside(
        self, row: UnreadableRow, at: datetime, final_messages: FinalMessages
    ) -> tuple[SetAside, list[OutboxMessage]] | None:
        """End a job, or drop a message, that cannot be read, and write what must go out.

        Args:
            row: From `unreadable`.
            at: The time of the end.
            final_messages: Makes the messages from what is still known.

        Returns:
            What is known and the messages with their ids; None when there is nothing to tell: it
            had ended before, is gone, can be read after all, or is another instance's.
        """
        stamp = self._timekeeper.stamp(self._instance)
        with self.outbox.uncertain():
            found = await self._database.write(
                set_aside, row, at, final_messages, stamp, keep_frames=self.keep_finished_frames
            )
        # Nobody was told of those that wait behind a message that could not be read.
        self.outbox.committed(found[1] if found else (), is_all=False)
        return found

    # Questions

    async def get(self, job_key: str) -> Job | None:
        """The job as it stands."""
        return (await self.existing([job_key])).get(job_key)

    async def keys_of(self, job_id: str, camera_id: str | None = None) -> list[str]:
        """The keys of the jobs that have an id: one for each camera that has used it."""
        return await self._database.read(jobs.keys_of, job_id, camera_id)

    async def image(self, job_key: str) -> bytes | None:
        """The frame as it came; None when it is not kept any more."""
        return await self._database.read(frames.image_of, job_key)

    async def result(self, job_key: str) -> ResultDocument | None:
        """The result document of a job that has ended with one."""
        return await self._read(jobs.result_of, job_key)

    async def search_captions(self, query: CaptionQuery) -> FoundCaptions:
        """The captions that hold words, the newest first."""
        async with self._searching:  # a slow one must not keep what acknowledges from reading
            return await self._read(captions.search, query)

    async def newest_results(self, camera_ids: Collection[str]) -> dict[str, ResultDocument]:
        """What was said of the newest frame of each camera, batches left out."""
        return await self._read(captions.newest_results, camera_ids)

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
        """One page of the jobs that match.

        Equals are ordered by time, then by id; jobs without an end come last.
        """
        which = Filter(status, camera_id, priority)
        return await self._read(lists.page, which, limit, offset, order_by, descending=descending)

    async def own_jobs(
        self,
        *,
        status: JobStatus,
        camera_id: str | None = None,
        priority: Priority | None = None,
        limit: int,
    ) -> AsyncIterator[list[Job]]:
        """The jobs of this instance that match, the oldest first, a group at a time.

        What is done with a group may keep others from matching. Not many more come than matched at
        the beginning, however fast new ones do.
        """
        which = Filter(status, camera_id, priority)
        left = await self._database.read(lists.count, which)
        place: Place | None = lists.FIRST
        while place is not None and left > 0:
            found, place = await self._read(lists.own_page, self._instance, which, place, limit)
            left -= limit
            yield found

    async def count_jobs(
        self,
        *,
        status: JobStatus | None = None,
        camera_id: str | None = None,
        priority: Priority | None = None,
    ) -> int:
        """How many jobs `list_jobs` would page through."""
        return await self._database.read(lists.count, Filter(status, camera_id, priority))

    async def counts(self) -> dict[JobStatus, int]:
        """How many jobs are in each status; statuses without any are there with 0."""
        return await self._database.read(lists.count_by_status)

    # Cameras

    async def kept_cameras(self) -> dict[str, KeptCamera]:
        """What is known of cameras from earlier; what cannot be read is left out.

        Returns:
            By camera id; times are on this process's monotonic clock, and may be before its start.
        """
        found = await self._database.read(cameras.all_cameras)
        return {
            camera_id: replace(kept, seen=self._timekeeper.monotonic_at(int(kept.seen)))
            if kept.seen is not None
            else kept
            for camera_id, kept in found.items()
        }

    async def save_cameras(
        self,
        seen: Mapping[str, float | None],
        forgotten: Mapping[str, tuple[float, Sequence[OutboxMessage]]],
        names: Mapping[str, str] | None = None,
    ) -> list[OutboxMessage]:
        """Keep when cameras were seen, and forget others, in one transaction.

        Args:
            seen: By camera id, in seconds on the monotonic clock; None: no frame has come.
            forgotten: By camera id, when it was seen last, and what must go out because of it. One
                that another service on this database has seen since is left as it is.
            names: By camera id, what a foreign system calls them.

        Returns:
            The messages written, with their ids.
        """
        stamp = self._timekeeper.stamp(self._instance)
        with self.outbox.uncertain():
            written = await self._database.write(
                cameras.save,
                {
                    camera_id: None if moment is None else stamp.elapsed_at(moment)
                    for camera_id, moment in seen.items()
                },
                {
                    camera_id: (stamp.elapsed_at(moment), messages)
                    for camera_id, (moment, messages) in forgotten.items()
                },
                names or {},
                stamp,
            )
        num_given = sum(len(messages) for _, messages in forgotten.values())
        self.outbox.committed(written, is_all=len(written) == num_given)
        return written

    async def set_camera_override(
        self,
        camera_id: str,
        settings: Mapping[str, Any] | None,
        messages: Sequence[OutboxMessage] = (),
    ) -> None:
        """Replace what was changed at run time for one camera, in one transaction with messages.

        Args:
            camera_id: Need not be known.
            settings: JSON values; None forgets the camera, also one that was seen just now.
            messages: What must go out because of it.
        """
        stamp = self._timekeeper.stamp(self._instance)
        with self.outbox.uncertain():
            written = await self._database.write(
                cameras.set_override, camera_id, settings, messages, stamp
            )
        self.outbox.committed(written)

    # Switches

    async def is_paused(self) -> bool:
        """Whether the engines are to take no jobs."""
        return await self._database.read(switches.is_on, self._instance, switches.PAUSED)

    async def set_paused(self, is_paused: bool) -> None:
        """Keep whether the engines are to take jobs, also across restarts."""
        await self._database.write(switches.turn, self._instance, switches.PAUSED, is_on=is_paused)

    # Retention

    async def delete_finished(self, ended_s: float, limit: int = 500) -> int:
        """Delete up to `limit` jobs that ended at least `ended_s` seconds ago, with their frames.

        Those of a batch stay until it is over: it is counted from them.

        Returns:
            How many; less than `limit` when no more are left.
        """
        up_to = self._timekeeper.elapsed() - round(ended_s * MICROSECONDS)
        return await self._database.write(jobs.delete_finished, up_to, limit)

    async def frame_bytes(self) -> int:
        """Bytes of all frames kept."""
        return await self._database.read(frames.total_bytes)

    async def drop_finished_frames(self, target_bytes: int) -> int:
        """Delete frames of finished jobs, the oldest first, until `target_bytes` are left in all.

        Frames of jobs that have not ended are never touched, so more may be left.

        Returns:
            How many frames were deleted.
        """
        total = 0
        while num_dropped := await self._database.write(frames.drop_some_finished, target_bytes):
            total += num_dropped
        return total

    async def shrink(self, num_bytes: int) -> int:
        """Give about `num_bytes` of unused space, and the log, back to the file system.

        What is not given back is used again by later frames. On a server it does nothing.

        Returns:
            Bytes by which the file got smaller.
        """
        given = 0
        while given < num_bytes and (step := await self._database.cut_file()):
            given += step
        await self._database.empty_log()
        return given

    async def _read(
        self,
        work: Callable[Concatenate[Connection, list[UnreadableRow], _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """Run `work(connection, met, …)` and note what it met that cannot be read."""
        met: list[UnreadableRow] = []
        found = await self._database.read(work, met, *args, **kwargs)
        self.unreadable.note(met)
        return found

    async def _write(
        self,
        turn: Turn,
        work: Callable[Concatenate[Connection, list[UnreadableRow], _P], _T],
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> _T:
        """The same in a transaction."""
        met: list[UnreadableRow] = []
        found = await self._database.write_in_turn(turn, work, met, *args, **kwargs)
        self.unreadable.note(met)
        return found


def _turn_for(priorities: Iterable[Priority], num_bytes: int = 0) -> Turn:
    return Turn(Priority.CRITICAL in priorities, num_bytes)


def _add_image(
    connection: Connection, met: list[UnreadableRow], job_key: str, image: bytes, instance: str
) -> bool:
    job = jobs.lock(connection, met, [job_key], instance).get(job_key)
    if job is None or job.status.is_final or frames.has_frame(connection, job_key):
        return False
    frames.insert_frames(connection, {job_key: image})
    return True
