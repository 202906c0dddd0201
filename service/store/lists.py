"""Which jobs there are, as functions of a connection: filters, orders, pages and counts.

What cannot be read is left out and added to `met`; see `unreadable`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Column, ColumnElement, Connection, func, literal_column, or_, select

from schemas.frame import Priority
from schemas.job import Job, JobStatus
from service.store.jobs import find
from service.store.rows import JOB_COLUMNS, to_job
from service.store.tables import jobs
from service.store.unreadable import UnreadableRow, readable

OrderBy = Literal["priority", "queued_at", "finished_at"]

_TIME = (jobs.c.received_at, jobs.c.job_key)
_ORDERS: dict[OrderBy, tuple[ColumnElement[Any], ...]] = {
    "priority": (jobs.c.priority, *_TIME),
    "queued_at": _TIME,
    "finished_at": (jobs.c.ended, *_TIME),
}


#: In the order of arrival: `received_at` and key of a job. Nobody stands at the first.
Place = tuple[int, str]
FIRST: Place = (-(2**63), "")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs; None matches all."""

    status: JobStatus | None = None
    camera_id: str | None = None
    priority: Priority | None = None

    @property
    def conditions(self) -> list[ColumnElement[bool]]:
        """For a WHERE clause."""
        return [column == value for column, value in self._wanted()]

    def in_order_of(self, order_by: OrderBy, dialect: str) -> list[ColumnElement[bool]]:
        """For a WHERE clause of a page.

        SQLite would take the index of a filter and sort all that matches. With a plus a column has
        no index, so it follows that of the order, which holds what is filtered by as well.
        """
        own = jobs.c.status if self.camera_id is None else jobs.c.camera_id
        has_index = {own} if order_by == "queued_at" else set()
        return [
            (column if dialect != "sqlite" or column in has_index else _without_index(column))
            == value
            for column, value in self._wanted()
        ]

    def _wanted(self) -> Iterator[tuple[Column[Any], object]]:
        wanted = {
            jobs.c.status: self.status,
            jobs.c.camera_id: self.camera_id,
            jobs.c.priority: self.priority,
        }
        return ((column, value) for column, value in wanted.items() if value is not None)


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
    """See `Store.list_jobs`.

    Keys first: all that stands before the page is passed over in an index, without the rows.
    """
    order = [each.desc() if descending else each.asc() for each in _ORDERS[order_by]]
    if order_by == "finished_at":  # the two databases disagree on where NULL goes
        order[0] = order[0].nulls_last()
    query = (
        select(jobs.c.job_key)
        .where(*which.in_order_of(order_by, connection.dialect.name))
        .order_by(*order)
    )
    keys = list(connection.scalars(query.limit(limit).offset(offset)))
    found = find(connection, met, keys)
    return [found[job_key] for job_key in keys if job_key in found]


def own_page(
    connection: Connection,
    met: list[UnreadableRow],
    instance: str,
    which: Filter,
    after: Place,
    limit: int,
) -> tuple[list[Job], Place | None]:
    """See `Store.own_jobs`: those behind a place, and the next place; None: there are no more."""
    received_at, job_key = after
    query = (
        select(*JOB_COLUMNS, jobs.c.received_at)
        .where(jobs.c.instance == instance, *which.conditions)
        .where(jobs.c.received_at >= received_at)
        .where(or_(jobs.c.received_at > received_at, jobs.c.job_key > job_key))
        .order_by(jobs.c.received_at, jobs.c.job_key)
    )
    rows = connection.execute(query.limit(limit)).all()
    last = (rows[-1].received_at, rows[-1].job_key) if len(rows) == limit else None
    return list(readable(jobs, rows, to_job, met)), last


def count(connection: Connection, which: Filter) -> int:
    """How many match."""
    query = select(func.count()).select_from(jobs).where(*which.conditions)
    return connection.execute(query).scalar_one()


def count_by_status(connection: Connection) -> dict[JobStatus, int]:
    """See `Store.counts`."""
    query = select(jobs.c.status, func.count()).group_by(jobs.c.status)
    found: dict[str, int] = dict(connection.execute(query).all())
    return {status: found.get(status.value, 0) for status in JobStatus}


def _without_index(column: Column[Any]) -> ColumnElement[Any]:
    return literal_column(f"+jobs.{column.name}", column.type)
