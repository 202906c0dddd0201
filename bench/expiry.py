"""What does it cost to watch 10,000 waiting jobs, and how long does it take to end them all?"""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from bench._machine import describe
from broker.topics import Topics
from schemas.job import Job
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.queue.expiry import MOST_AT_ONCE, Deadlines, Expiry
from service.queue.heap import JobHeap, Ticket
from service.queue.job_queue import JobQueue
from service.queue.tickets import ticket_of
from service.settings import Settings
from service.statistics import Statistics
from service.store.store import Store

_T = TypeVar("_T")

NUM_JOBS = 10_000
_TICK_S = 0.001


class _Nobody:
    """Hears what is announced."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        return True

    def keep(self, document: BaseModel, *, camera_id: str) -> None: ...

    def forget(self, camera_id: str) -> None: ...


def main() -> None:
    """Print the figures."""
    print(describe())
    _watch()
    with tempfile.TemporaryDirectory() as name:
        asyncio.run(_end_all(Path(name)))


def _watch() -> None:
    """The index alone."""
    clock = Clock()
    tickets = [ticket_of(_job(clock, number, max_age=3600.0), clock) for number in range(NUM_JOBS)]
    deadlines = Deadlines()
    add = _timed(deadlines.add, tickets)
    look = _timed(deadlines.pop_expired, [0.0] * NUM_JOBS)
    discard = _timed(deadlines.discard, [each.job_key for each in tickets])
    print(
        f"{NUM_JOBS:,} watched: add {add:.2f} µs, discard {discard:.2f} µs, "
        f"a look that finds nothing {look:.2f} µs"
    )


async def _end_all(folder: Path) -> None:
    """All expire at once, in a real store."""
    clock, statistics = Clock(), Statistics()
    async with Store.open(f"sqlite:///{folder / 'jobs.sqlite3'}") as store:
        topics, nobody = Topics("bench"), _Nobody()
        cameras = Cameras(Settings(), topics, store, nobody, clock)
        deliver = Deliver(store, topics, nobody, statistics, clock, cameras)
        queue = JobQueue(JobHeap(NUM_JOBS), store, deliver, clock)
        jobs = [_job(clock, number, max_age=1e-6) for number in range(NUM_JOBS)]
        await store.accept(jobs, {}, [])
        queue.push(jobs)
        lags: list[float] = []
        watch = asyncio.create_task(_lag(lags), name="lag")
        num_transactions = 0

        async def end(tickets: Sequence[Ticket]) -> None:
            nonlocal num_transactions
            num_transactions += 1
            await queue.expire(tickets)

        started = time.perf_counter()
        await Expiry((queue,), end).sweep()
        seconds = time.perf_counter() - started
        watch.cancel()
    print(
        f"{NUM_JOBS:,} expire at once: {seconds:.2f} s in {num_transactions} transactions of "
        f"{MOST_AT_ONCE}, {seconds / num_transactions * 1e3:.0f} ms each; the event loop was held "
        f"up {max(lags) * 1e3:.0f} ms at most"
    )


async def _lag(lags: list[float]) -> None:
    while True:
        started = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        lags.append(time.perf_counter() - started - _TICK_S)


def _job(clock: Clock, number: int, max_age: float) -> Job:
    now = clock.now()
    return Job(
        job_id=f"job-{number}",
        camera_id=f"camera-{number % 20}",
        sha256=f"{number:064x}",
        taken_at=now,
        received_at=now,
        max_age=max_age,
    )


def _timed(run: Callable[[_T], object], values: Iterable[_T]) -> float:
    """Microseconds per operation."""
    started = time.perf_counter()
    for value in values:
        run(value)
    return (time.perf_counter() - started) / NUM_JOBS * 1e6


if __name__ == "__main__":
    main()
