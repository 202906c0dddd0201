"""How many requests does the service answer, and how long does a list of 100,000 jobs take?"""

import argparse
import asyncio
import itertools
import random
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, insert

from bench._machine import describe
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from service.store.database import Database
from service.store.jobs import OrderBy
from service.store.rows import Stamp, job_row
from service.store.store import Store
from service.store.tables import jobs

NUM_CAMERAS = 8
_STATUSES = (JobStatus.COMPLETED,) * 17 + (JobStatus.FAILED, JobStatus.DROPPED, JobStatus.QUEUED)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_GROUP = 1000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    print(describe())
    asyncio.run(measure_lists(parser.parse_args().jobs))


async def measure_lists(num_jobs: int) -> None:
    """Pages of 50 for each filter and order, from the beginning and from the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "store.db")
        async with Database(path) as database:
            rows = _rows(num_jobs)
            while group := list(itertools.islice(rows, _GROUP)):
                await database.write(_insert, group)
        async with Store.open(path) as store:
            print(f"job/list, pages of 50 of {num_jobs} jobs, with the count; ms, best of 5")
            for status, camera_id in itertools.product(
                (None, JobStatus.COMPLETED, JobStatus.FAILED), (None, "camera-0")
            ):
                figures = [
                    f"{order_by} {'down' if descending else 'up'} "
                    + await _pages(store, status, camera_id, order_by, descending=descending)
                    for order_by, descending in itertools.product(_ORDERS, (True, False))
                ]
                print(f"  {status or 'all'} of {camera_id or 'all'}: {', '.join(figures)}")


_ORDERS: tuple[OrderBy, ...] = ("priority", "queued_at", "finished_at")


async def _pages(
    store: Store,
    status: JobStatus | None,
    camera_id: str | None,
    order_by: OrderBy,
    *,
    descending: bool,
) -> str:
    count = await store.count_jobs(status=status, camera_id=camera_id)
    took = []
    for offset in (0, max(0, count - 50)):
        times = []
        for _ in range(5):
            began = time.perf_counter()
            await store.count_jobs(status=status, camera_id=camera_id)
            await store.list_jobs(
                status=status,
                camera_id=camera_id,
                offset=offset,
                order_by=order_by,
                descending=descending,
            )
            times.append((time.perf_counter() - began) * 1e3)
        took.append(min(times))
    return f"{took[0]:.1f}/{took[1]:.1f}"


def _insert(connection: Connection, rows: list[dict[str, object]]) -> None:
    connection.execute(insert(jobs), rows)


def _rows(num_jobs: int) -> Iterator[dict[str, object]]:
    rng = random.Random(1)
    for number in range(num_jobs):
        status, at = rng.choice(_STATUSES), _START + timedelta(seconds=number)
        job = Job(
            job_id=f"{rng.getrandbits(128):032x}",
            camera_id=f"camera-{rng.randrange(NUM_CAMERAS)}",
            status=status,
            priority=Priority(rng.randrange(4)),
            taken_at=at,
            received_at=at,
            finished_at=at + timedelta(seconds=rng.random() * 60) if status.is_final else None,
            error=ErrorDetail(code="engine", message="no") if status is JobStatus.FAILED else None,
            metadata={"zone": "entrance", "event": f"{number:032d}"},
        )
        elapsed = number * 1_000_000
        row = job_row(job, Stamp("bench", float(number), elapsed, elapsed))
        if status.is_final:
            row["ended"] = elapsed + round(rng.random() * 60e6)
        yield row


if __name__ == "__main__":
    main()
