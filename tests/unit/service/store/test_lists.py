"""Pages of lists are read from an index: nothing is sorted, and no row is looked at in vain."""

from itertools import product
from typing import get_args

import pytest
from sqlalchemy import Connection, event

from schemas.frame import Priority
from schemas.job import JobStatus
from service.store.database import Database
from service.store.lists import Filter, OrderBy, count, page
from service.store.store import Store
from tests.support.factories import NOON, make_job


def plans(connection: Connection, which: Filter, order_by: OrderBy, descending: bool) -> list[str]:
    """How SQLite looks for the keys of a page, and counts."""
    asked: list[tuple[str, object]] = []

    def note(_c: object, _u: object, statement: str, parameters: object, *_: object) -> None:
        asked.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", note)
    page(connection, [], which, 50, 100, order_by, descending=descending)
    count(connection, which)
    event.remove(connection, "before_cursor_execute", note)
    lists = [each for each in asked if "SELECT jobs.job_key \n" in each[0] or "count(" in each[0]]
    assert len(lists) == 2
    return [
        str(row[3])
        for statement, parameters in lists
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)  # type: ignore[arg-type]
    ]


@pytest.mark.parametrize(
    ("status", "camera_id", "order_by", "descending"),
    list(product((None, JobStatus.FAILED), (None, "front"), get_args(OrderBy), (False, True))),
)
async def test_page_and_count_are_read_from_an_index(
    store_url: str,
    status: JobStatus | None,
    camera_id: str | None,
    order_by: OrderBy,
    descending: bool,
) -> None:
    async with Database(store_url) as database:
        found = await database.read(plans, Filter(status, camera_id), order_by, descending)
    assert all("COVERING INDEX" in each for each in found), found
    assert not any("TEMP B-TREE" in each for each in found), found


@pytest.mark.both_databases
async def test_unfinished_come_last_either_way(store: Store) -> None:
    jobs = [make_job(Priority.LOW) for _ in range(4)]
    await store.accept(jobs, {})
    for job in jobs[:2]:
        await store.finish(job.key, JobStatus.CANCELLED, at=NOON)
    for descending in (False, True):
        page = await store.list_jobs(order_by="finished_at", descending=descending)
        assert {job.key for job in page[:2]} == {job.key for job in jobs[:2]}
