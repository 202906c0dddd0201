"""How soon after a start with 10,000 queued jobs does the first one reach the engine?"""

import argparse
import asyncio
import tempfile
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

from bench._load import broker, frames, service
from bench._machine import describe
from bench._standin import Pace
from schemas.job import Job
from service.store.store import Store

_GROUP = 500


async def measure(num_jobs: int) -> None:
    """Fill a store, start the service on it, and print the time."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        await _fill(folder, num_jobs)
        settings = {"queue": {"capacity": num_jobs}}
        async with broker() as running:
            started = time.time()
            slow = Pace(step_s=60.0)
            async with service(running.port, folder, slow, **settings) as child:
                said = await child.wait_for("first_submit")
                end = await child.end()
    print(
        f"restart with {num_jobs} queued jobs: first job on the engine after "
        f"{said['at'] - started:.2f} s, start of Python included; "
        f"peak memory {end['peak_rss_mib']:.0f} MiB"
    )


async def _fill(folder: Path, num_jobs: int) -> None:
    pictures = frames(10_000)
    async with Store.open(f"sqlite:///{folder / 'jobs.sqlite3'}", instance="bench") as store:
        for start in range(0, num_jobs, _GROUP):
            jobs = [_job(number) for number in range(start, min(start + _GROUP, num_jobs))]
            await store.accept(jobs, {job.key: next(pictures) for job in jobs})


def _job(number: int) -> Job:
    now = datetime.now(UTC)
    return Job(
        job_id=str(uuid.uuid4()), camera_id=f"camera-{number % 20}", taken_at=now, received_at=now
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    print(describe())
    asyncio.run(measure(parser.parse_args().jobs))


if __name__ == "__main__":
    main()
