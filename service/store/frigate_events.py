"""What Frigate has said of objects and reviews that are followed, and how far each is described.

Frigate says an end once, perhaps while the service is away, so what is open must outlive a restart;
what is done is kept for a while, or a message that comes late would have it described again. Both
are bounded by the caller, who deletes what it lets go.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Row, bindparam, delete, insert, select, update

from schemas.frigate import Subject
from service.store.database import Database, in_groups
from service.store.rows import MICROSECONDS, UNREADABLE, Stamp, to_number
from service.store.tables import frigate_events
from service.store.timekeeper import Timekeeper
from service.store.unreadable import reason_of

logger = logging.getLogger(__name__)

_LONGEST_KEPT = 30 * 86_400 * MICROSECONDS
_SAVED = ("document", "heard", "ended", "num_described", "is_done")


@dataclass(frozen=True, slots=True)
class KeptSubject:
    """One of them; moments are monotonic seconds of this process."""

    subject: Subject
    first_heard: float
    heard: float
    ended: float | None = None
    num_described: int = 0
    is_done: bool = False

    @property
    def key(self) -> str:
        """What names it; events and reviews have ids of the same form."""
        return subject_key(self.subject)


def subject_key(subject: Subject) -> str:
    """See `KeptSubject.key`."""
    return f"{subject.kind}/{subject.id}"


class FrigateEvents:
    """Those of one instance; every method raises `StoreError` when the database refuses.

    Args:
        database: Open.
        instance: Who follows them.
        timekeeper: For when they were heard of.
    """

    def __init__(self, database: Database, instance: str, timekeeper: Timekeeper) -> None:
        self._database = database
        self._instance = instance
        self._timekeeper = timekeeper

    async def save(self, subjects: Sequence[KeptSubject]) -> None:
        """Write some, new or known, in one transaction."""
        stamp = self._timekeeper.stamp(self._instance)
        await self._database.write(_save, [_row(each, stamp) for each in subjects], self._instance)

    async def load(self) -> list[KeptSubject]:
        """All that is kept, the longest heard of first; what cannot be read is deleted."""
        return await self._database.write(_load, self._instance, self._timekeeper)

    async def delete(self, keys: Sequence[str]) -> None:
        """Forget some."""
        await self._database.write(_delete, list(keys), self._instance)


def _row(kept: KeptSubject, stamp: Stamp) -> dict[str, object]:
    return {
        "instance": stamp.instance,
        "event_key": kept.key,
        "document": kept.subject.model_dump_json(exclude_defaults=True),
        "first_heard": stamp.elapsed_at(kept.first_heard),
        "heard": stamp.elapsed_at(kept.heard),
        "ended": None if kept.ended is None else stamp.elapsed_at(kept.ended),
        "num_described": kept.num_described,
        "is_done": int(kept.is_done),
    }


def _save(connection: Connection, rows: Sequence[dict[str, object]], instance: str) -> None:
    keys = [str(row["event_key"]) for row in rows]
    known: set[str] = set()
    for group in in_groups(keys):
        query = select(frigate_events.c.event_key).where(
            frigate_events.c.instance == instance, frigate_events.c.event_key.in_(group)
        )
        known.update(connection.scalars(query))
    if old := [row for row in rows if row["event_key"] in known]:
        these = (
            frigate_events.c.instance == instance,
            frigate_events.c.event_key == bindparam("this_key"),
        )
        change = update(frigate_events).where(*these)
        change = change.values({name: bindparam(f"new_{name}") for name in _SAVED})
        changed = [
            {"this_key": row["event_key"], **{f"new_{name}": row[name] for name in _SAVED}}
            for row in old
        ]
        connection.execute(change, changed)
    if new := [row for row in rows if row["event_key"] not in known]:
        connection.execute(insert(frigate_events), new)


def _load(connection: Connection, instance: str, timekeeper: Timekeeper) -> list[KeptSubject]:
    # Of an instance that is no more nobody else reads anything: Frigate itself is asked.
    oldest = timekeeper.elapsed() - _LONGEST_KEPT
    others = (frigate_events.c.instance != instance, frigate_events.c.heard < oldest)
    connection.execute(delete(frigate_events).where(*others))
    query = select(frigate_events).where(frigate_events.c.instance == instance)
    found: list[KeptSubject] = []
    unreadable: list[object] = []
    for row in connection.execute(query.order_by(frigate_events.c.heard)).all():
        try:
            found.append(_read(row, partial(_moment, timekeeper)))
        except UNREADABLE as error:
            unreadable.append(row.event_key)
            logger.error(
                "%.80s of Frigate's cannot be read in the store and is forgotten: %s",
                row.event_key,
                reason_of(error),
                extra={"action": "row_unreadable"},
            )
    for key in unreadable:
        this = (frigate_events.c.instance == instance, frigate_events.c.event_key == key)
        connection.execute(delete(frigate_events).where(*this))
    return found


def _moment(timekeeper: Timekeeper, elapsed: object) -> float:
    return timekeeper.monotonic_at(to_number(elapsed))


def _read(row: Row[*tuple[object, ...]], moment: "partial[float]") -> KeptSubject:
    subject = Subject.model_validate_json(row.document)
    if subject_key(subject) != row.event_key:
        raise ValueError("the document is another's")
    return KeptSubject(
        subject=subject,
        first_heard=moment(row.first_heard),
        heard=moment(row.heard),
        ended=None if row.ended is None else moment(row.ended),
        num_described=to_number(row.num_described),
        is_done=to_number(row.is_done) != 0,
    )


def _delete(connection: Connection, keys: Sequence[str], instance: str) -> None:
    for group in in_groups(keys):
        these = (frigate_events.c.instance == instance, frigate_events.c.event_key.in_(group))
        connection.execute(delete(frigate_events).where(*these))
