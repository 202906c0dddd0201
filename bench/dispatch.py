"""How many jobs a second leave the store through 1, 4 and 16 engines, and how even is the spread?

The store, the queue, dispatch and delivery are the service's own; nobody listens to what is said,
and the engines are timed stand-ins that could do several times as much.
"""

import argparse
import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from pydantic import BaseModel

from bench._machine import describe
from bench._standin import Pace, StandIn
from broker.topics import Topics
from schemas.job import Job, JobStatus
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.engines.dispatch import Dispatcher
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.store import Store

NUM_ENGINES = (1, 4, 16)
PACE = Pace(step_s=0.002, slots=8)  # 4,000 jobs/s each: what is measured is not the engines
NUM_BYTES = 100_000


class _Nobody:
    """Hears what is announced."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        return True

    def keep(self, document: BaseModel, *, camera_id: str) -> None: ...

    def forget(self, camera_id: str) -> None: ...


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=3000)
    num_jobs = parser.parse_args().jobs
    print(describe())
    for num_engines in NUM_ENGINES:
        asyncio.run(_measure(num_engines, num_jobs))
    asyncio.run(_spread(num_engines=4, num_jobs=8))


async def _measure(num_engines: int, num_jobs: int) -> None:
    async with _service(num_engines, num_jobs, PACE) as (dispatcher, engines, statistics):
        started = time.perf_counter()
        running = asyncio.create_task(dispatcher.run(), name="dispatch")
        while statistics.endings[JobStatus.COMPLETED] < num_jobs:  # noqa: ASYNC110 - polls
            await asyncio.sleep(0.01)
        seconds = time.perf_counter() - started
        running.cancel()
    print(
        f"{num_engines} engines, {num_jobs:,} jobs of {NUM_BYTES / 1000:.0f} KB: "
        f"{num_jobs / seconds:.0f} jobs/s; {_share(engines)}"
    )


async def _spread(num_engines: int, num_jobs: int) -> None:
    """As many jobs as one engine has places for."""
    slow = Pace(step_s=3600.0, slots=8)
    async with _service(num_engines, num_jobs, slow) as (dispatcher, engines, _):
        running = asyncio.create_task(dispatcher.run(), name="dispatch")
        while sum(engine.num_taken for engine in engines) < num_jobs:  # noqa: ASYNC110 - polls
            await asyncio.sleep(0.01)
        running.cancel()
    print(f"{num_jobs} jobs over {num_engines} engines of 8 places: {_share(engines)}")


def _share(engines: Sequence[StandIn]) -> str:
    taken = [engine.num_taken for engine in engines]
    return f"{min(taken)} to {max(taken)} jobs an engine"


@asynccontextmanager
async def _service(
    num_engines: int, num_jobs: int, pace: Pace
) -> AsyncIterator[tuple[Dispatcher, list[StandIn], Statistics]]:
    """Everything from the store to the outbox, with jobs that wait."""
    clock, statistics, settings = Clock(), Statistics(), Settings()
    async with AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        store = await stack.enter_async_context(Store.open(Path(folder, "jobs.sqlite3")))
        engines = [await stack.enter_async_context(StandIn(pace)) for _ in range(num_engines)]
        topics, nobody = Topics("bench"), _Nobody()
        cameras = Cameras(settings, topics, store, nobody, clock)
        deliver = Deliver(store, topics, nobody, statistics, clock, cameras)
        queue = JobQueue(JobHeap(num_jobs), store, deliver, clock)
        dispatcher = Dispatcher(
            queue, store, deliver, engines, settings, statistics, clock, cameras
        )
        jobs = [_job(clock, number) for number in range(num_jobs)]
        image = os.urandom(NUM_BYTES)
        for start in range(0, num_jobs, 100):
            some = jobs[start : start + 100]
            for job in some:
                cameras.admit(job.camera_id, clock.monotonic())
            await store.accept(some, {job.key: image for job in some})
        queue.push(jobs)
        yield dispatcher, engines, statistics


def _job(clock: Clock, number: int) -> Job:
    now = clock.now()
    return Job(
        job_id=f"job-{number}",
        camera_id=f"camera-{number % 20}",
        sha256=f"{number:064x}",
        num_bytes=NUM_BYTES,
        taken_at=now,
        received_at=now,
        max_age=3600.0,
    )


if __name__ == "__main__":
    main()
