"""How fast frames are committed, beside SQLite alone; and how fast a restart is.

    python -m bench.store [sqlite:///path or postgresql://…]

Needs no service. Without a URL it uses a new SQLite file in the current folder, so that the disk
measured is the one that will be used.
"""

import asyncio
import os
import platform
import resource
import sqlite3
import statistics
import sys
import tempfile
import time
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from schemas.job import Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.store.store import Ending, Store

_IMAGES = [os.urandom(100_000) for _ in range(64)]
_NUMBERS = count()


def _job() -> Job:
    now = datetime.now(UTC)
    number = next(_NUMBERS)
    return Job(
        job_id=f"job-{number:032d}",
        camera_id=f"camera-{number % 16}",
        sha256=f"{number:064x}",
        num_bytes=100_000,
        taken_at=now,
        received_at=now,
        metadata={"zone": "entrance"},
    )


def _message(job: Job) -> OutboxMessage:
    return OutboxMessage(
        job_key=job.key,
        channel=Channel.MQTT,
        destination=f"moondream2mqtt/{job.camera_id}/caption",
        payload=bytes(800),
        created_at=job.received_at,
    )


async def _accept(store: Store, group: int, total: int) -> float:
    """Frames a second."""
    started = time.perf_counter()
    for _ in range(total // group):
        jobs = [_job() for _ in range(group)]
        images = {job.key: _IMAGES[i % len(_IMAGES)] for i, job in enumerate(jobs)}
        await store.accept(jobs, images, [])
    return total / (time.perf_counter() - started)


def _bare(folder: Path, group: int, total: int) -> float:
    """The same frames through sqlite3 alone, in one thread: what the disk and SQLite allow."""
    path = folder / "bare.db"
    connection = sqlite3.connect(path, isolation_level=None)
    for pragma in ("page_size = 16384", "journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("CREATE TABLE frames (job_id TEXT PRIMARY KEY, image BLOB)")
    started = time.perf_counter()
    for _ in range(total // group):
        rows = [(f"job-{next(_NUMBERS)}", _IMAGES[i % len(_IMAGES)]) for i in range(group)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO frames VALUES (?, ?)", rows)
        connection.execute("COMMIT")
    rate = total / (time.perf_counter() - started)
    connection.close()
    for each in folder.glob("bare.db*"):
        each.unlink()
    return rate


def _show(rates: list[float]) -> str:
    return f"{statistics.median(rates):.0f} frames/s ({min(rates):.0f}-{max(rates):.0f})"


async def _life(store: Store, num_jobs: int) -> None:
    """Start, image and end of one job after another, each end with two messages."""
    jobs = [_job() for _ in range(num_jobs)]
    await store.accept(jobs, {job.key: _IMAGES[0] for job in jobs})
    times: dict[str, list[float]] = {"start": [], "image": [], "finish": [], "sent": []}
    for job in jobs:
        marks = [time.perf_counter()]
        await store.start([job.key], job.received_at)
        marks.append(time.perf_counter())
        await store.image(job.key)
        marks.append(time.perf_counter())
        ending = Ending(job.key, JobStatus.COMPLETED, job.received_at, messages=[_message(job)] * 2)
        [(_, messages)] = await store.finish_many([ending])
        marks.append(time.perf_counter())
        await store.outbox.sent([message.message_id or 0 for message in messages])
        marks.append(time.perf_counter())
        for name, before, after in zip(times, marks, marks[1:], strict=False):
            times[name].append(after - before)
    for name, taken in times.items():
        print(f"{name:8} median {statistics.median(taken) * 1e3:6.2f} ms")


async def _run(url: str, folder: Path) -> None:
    async with Store.open(url, instance="bench") as store:
        await _accept(store, 16, 512)
        for group, total in ((1, 400), (16, 2048), (64, 2048)):
            rates = [await _accept(store, group, total) for _ in range(3)]
            bare = [_bare(folder, group, total) for _ in range(3)]
            print(f"accept   groups of {group:2}: {_show(rates)}, SQLite alone {_show(bare)}")
        await _life(store, 200)
        started = time.perf_counter()
        num_dropped = await store.drop_finished_frames(0)
        taken = time.perf_counter() - started
        print(f"drop     {num_dropped} frames: {taken / num_dropped * 50e3:.1f} ms a step of 50")
    async with Store.open(url, instance="restart") as store:
        for _ in range(20):
            jobs = [_job() for _ in range(500)]
            await store.accept(jobs, {job.key: _IMAGES[0][:2000] for job in jobs})
    started = time.perf_counter()
    async with Store.open(url, instance="restart") as store:
        opened = time.perf_counter()
        recovered = len(await store.recover())
        ended = time.perf_counter()
    print(f"restart  open {opened - started:.3f} s, recover {recovered}: {ended - opened:.3f} s")
    print(f"memory   {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB at most")


def main() -> None:
    """Measure and print."""
    print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} cores,")
    print(f"SQLite {sqlite3.sqlite_version}, load {os.getloadavg()[0]:.1f}, frames of 100 KB")
    with tempfile.TemporaryDirectory(dir=".", prefix="bench-store-") as folder:
        url = sys.argv[1] if len(sys.argv) > 1 else f"sqlite:///{folder}/store.db"
        asyncio.run(_run(url, Path(folder)))


if __name__ == "__main__":
    main()
