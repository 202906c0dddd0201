"""Which instance owns waiting jobs and unsent messages, and when they go to another.

Each row names its owner, and only the owner changes or sends it. A row changes owners in one
transaction, so it never has two, whatever they believe of each other.

A SQLite file has one service, held by a lock on the file: all in it is its own. On a server each
instance counts a number up. One whose number stands still for `SILENT_S`, by the clock of who looks
on, is no more, and another with the same base topic takes its rows. One with another base topic
does not: its words would appear where nobody listens for them.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import Connection, case, delete, insert, literal, or_, select, tuple_, update
from sqlalchemy.dialects import postgresql

from schemas.job import Job, JobStatus
from service.errors import InstanceInUseError
from service.store.database import Database, in_groups
from service.store.outbox import Outbox
from service.store.rows import JOB_COLUMNS, to_job
from service.store.tables import (
    batches,
    frigate_events,
    instances,
    jobs,
    outbox,
    retained,
    switches,
)
from service.store.unreadable import UnreadableRow, UnreadableRows, readable

#: Seconds between two counts: one small transaction each.
BEAT_S = 5.0
#: A server or a service that is started again is back sooner; later, and frames would expire.
SILENT_S = 30.0

_IS_OPEN = or_(
    jobs.c.finished_at.is_(None),
    jobs.c.status.in_([JobStatus.QUEUED.value, JobStatus.PROCESSING.value]),
)


@dataclass(frozen=True, slots=True)
class Beat:
    """How far an instance has counted, in which of its lives."""

    run: str
    number: int


@dataclass(frozen=True, slots=True)
class SilentInstance:
    """One that is no more, and its jobs that have not ended, by their keys."""

    name: str
    beat: Beat
    keys: Sequence[tuple[Any, ...]]


class Instances:
    """Ourselves among those that use the same database.

    Args:
        database: Open.
        name: Ours.
        base_topic: Of the cameras we speak for.
        unreadable: Takes what cannot be read.
        outbox: Tells of messages that become ours.
    """

    def __init__(
        self,
        database: Database,
        name: str,
        base_topic: str,
        unreadable: UnreadableRows,
        outbox: Outbox,
    ) -> None:
        self._database = database
        self._name = name
        self._base_topic = base_topic
        self._unreadable = unreadable
        self._outbox = outbox
        self._run = uuid.uuid4().hex
        self._numbers = count(1)
        self._seen: dict[str, tuple[Beat, float]] = {}  # of others, and since when

    @property
    def is_alone(self) -> bool:
        """Whether nobody else can use the database: it is a file, and locked."""
        return self._database.path is not None

    async def enter(self) -> None:
        """Say that we are here: all in a file is ours, elsewhere we have an entry among others."""
        if self.is_alone:
            await self._database.write(_claim_all, self._name)
        else:
            await self._database.write(_join, self._name, self._base_topic, self._run)

    async def silent(self, now: float) -> list[SilentInstance]:
        """Say that we live, and find those that do not any more and whose rows come to us.

        Args:
            now: In monotonic seconds.

        Raises:
            InstanceInUseError: A later process has entered itself under our name.
        """
        beats = await self._database.write(
            _count, self._name, self._base_topic, Beat(self._run, next(self._numbers))
        )
        self._seen = {
            name: known if (known := self._seen.get(name)) and known[0] == beat else (beat, now)
            for name, beat in beats.items()
        }
        return [
            SilentInstance(name, beat, await self._database.read(_open_jobs, name))
            for name, (beat, since) in self._seen.items()
            if now - since >= SILENT_S
        ]

    async def take_over(self, gone: SilentInstance) -> list[Job]:
        """Make its waiting jobs and unsent messages ours, and take back what it was running.

        Returns:
            The jobs, the longest waiting first; none when it lives after all, or another instance
            was first. Done again after a failure, it returns them again.
        """
        met: list[UnreadableRow] = []
        with self._outbox.uncertain():
            taken = await self._database.write(_take, met, gone, self._name)
        self._outbox.committed((), is_all=False)
        self._unreadable.note(met)
        return taken


def _claim_all(connection: Connection, name: str) -> None:
    others = jobs.c.instance != name
    connection.execute(update(jobs).where(others, _IS_OPEN).values(instance=name))
    # Each start claims all, so there are never rows of two instances in a file.
    for table in (outbox, batches, switches, frigate_events, retained):
        connection.execute(update(table).where(table.c.instance != name).values(instance=name))


def _join(connection: Connection, name: str, base_topic: str, run: str) -> None:
    mine = {"base_topic": base_topic, "run": run, "beat": 0}
    entry = postgresql.insert(instances).values(name=name, **mine)
    connection.execute(entry.on_conflict_do_update(index_elements=[instances.c.name], set_=mine))
    # Owners without an entry are from before there was this table: they enter themselves, or are
    # silent, and nobody knows their topics.
    owners = select(jobs.c.instance).where(_IS_OPEN).union(select(outbox.c.instance)).subquery()
    strangers = select(owners.c.instance, literal(""), literal(0))
    found = postgresql.insert(instances).from_select(["name", "run", "beat"], strangers)
    connection.execute(found.on_conflict_do_nothing())


def _count(connection: Connection, name: str, base_topic: str, beat: Beat) -> dict[str, Beat]:
    """Write our number and read those of the instances that have our topics, or unknown ones."""
    mine = instances.c.name == name
    run = connection.scalar(select(instances.c.run).where(mine).with_for_update())
    if run is None:  # we were silent, and have been taken for gone
        entry = {"name": name, "base_topic": base_topic, "run": beat.run, "beat": beat.number}
        connection.execute(insert(instances), entry)
    elif run != beat.run:
        raise InstanceInUseError(name)
    else:
        connection.execute(update(instances).where(mine).values(beat=beat.number))
    has_our_topics = instances.c.base_topic == base_topic
    others = select(instances.c.name, instances.c.run, instances.c.beat).where(
        ~mine, or_(has_our_topics, instances.c.base_topic.is_(None))
    )
    return {row.name: Beat(row.run, row.beat) for row in connection.execute(others)}


def _open_jobs(connection: Connection, name: str) -> list[tuple[Any, ...]]:
    query = select(*jobs.primary_key).where(jobs.c.instance == name, _IS_OPEN)
    return [tuple(row) for row in connection.execute(query)]


def _take(
    connection: Connection, met: list[UnreadableRow], gone: SilentInstance, name: str
) -> list[Job]:
    entry = (
        instances.c.name == gone.name,
        instances.c.run == gone.beat.run,
        instances.c.beat == gone.beat.number,
    )
    if connection.scalar(select(instances.c.name).where(*entry).with_for_update()) is None:
        return []
    was_running = (jobs.c.status == JobStatus.PROCESSING.value, JobStatus.QUEUED.value)
    taken: list[Job] = []
    for group in in_groups(gone.keys):
        these = tuple_(*jobs.primary_key).in_(group)
        connection.execute(
            update(jobs)
            .where(these, jobs.c.instance == gone.name, _IS_OPEN)
            .values(instance=name, status=case(was_running, else_=jobs.c.status))
        )
        # Read, not returned by the update: a second try, after a lost answer, finds them too.
        ours = select(*JOB_COLUMNS).where(these, jobs.c.instance == name, _IS_OPEN)
        taken += readable(jobs, connection.execute(ours), to_job, met)
    for table in (outbox, batches):
        theirs = table.c.instance == gone.name
        connection.execute(update(table).where(theirs).values(instance=name))
    if not gone.keys:  # else the next look finds what has come since, if anything
        connection.execute(delete(instances).where(*entry))
    return sorted(taken, key=lambda job: job.received_at)
