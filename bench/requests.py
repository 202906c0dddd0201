"""How long does a list of 100,000 jobs take, and what do 1,000 requests a second cost the frames?

They are `job/list`, and come at QoS 0 on one connection.
"""

import argparse
import asyncio
import base64
import itertools
import json
import random
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiomqtt
from pydantic import BaseModel
from sqlalchemy import Connection, insert

from bench._load import broker, frames, service
from bench._machine import describe, percentile
from bench._standin import Pace
from broker.topics import Topics
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.operations.cancel import Cancellation
from service.operations.sweep import GROUP
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.database import Database
from service.store.lists import OrderBy
from service.store.rows import Stamp, job_row
from service.store.store import Store
from service.store.tables import jobs

ENGINE_S = 0.02
REQUESTS_PER_S = 1000
NUM_CAMERAS = 8
_BASE = "moondream2mqtt"
_STATUSES = (JobStatus.COMPLETED,) * 17 + (JobStatus.FAILED, JobStatus.DROPPED, JobStatus.QUEUED)
_START = datetime(2026, 1, 1, tzinfo=UTC)
_GROUP = 1000
_TICK_S = 0.001


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=5.0, help="of requests")
    arguments = parser.parse_args()
    print(describe())
    asyncio.run(measure_flood(arguments.seconds))
    if arguments.jobs:
        asyncio.run(measure_clear(arguments.jobs // 5))
        asyncio.run(measure_lists(arguments.jobs))


async def measure_flood(seconds: float) -> None:
    """Critical frames one after the other, alone and beside the requests."""
    pictures = frames(100_000)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            broker() as running,
            service(running.port, Path(folder), Pace(step_s=ENGINE_S)) as child,
            aiomqtt.Client("127.0.0.1", running.port) as client,
        ):
            await child.wait_for("ready")
            for topic in ("front/caption", "bridge/response/#"):
                await client.subscribe(f"{_BASE}/{topic}", qos=1)
            answers: Counter[str] = Counter()
            await _critical(client, pictures, 1.0, answers)
            alone = await _critical(client, pictures, seconds, answers)
            flood = asyncio.create_task(_flood(running.port), name="flood")
            await asyncio.sleep(0.5)
            answers.clear()
            beside = await _critical(client, pictures, seconds, answers)
            flood.cancel()
            end = await child.end()
    print(f"critical frames of 100 KB, stand-in engine of {ENGINE_S * 1e3:.0f} ms")
    for name, took in (("alone", alone), (f"beside {REQUESTS_PER_S} requests a second", beside)):
        p50, p95 = percentile(took, 50) * 1e3, percentile(took, 95) * 1e3
        print(f"  {name}: p50 {p50:.1f} ms, p95 {p95:.1f} ms, {len(took)} frames")
    said = ", ".join(f"{number / seconds:.0f} {what}" for what, number in answers.items())
    print(f"  answers a second: {said}; event loop held up at most {end['loop_lag_ms']:.0f} ms")


async def _critical(
    client: aiomqtt.Client, pictures: Iterator[bytes], seconds: float, answers: Counter[str]
) -> list[float]:
    """Seconds from publish to caption of each; answers to requests are counted on the way."""
    took: list[float] = []
    end = time.perf_counter() + seconds
    messages = aiter(client.messages)
    while time.perf_counter() < end:
        began = time.perf_counter()
        frame = {"frame_data": base64.b64encode(next(pictures)).decode(), "priority": "critical"}
        await client.publish(f"{_BASE}/front/frame", json.dumps(frame), qos=1)
        while not (message := await anext(messages)).topic.matches(f"{_BASE}/front/caption"):
            assert isinstance(message.payload, bytes)
            answer = json.loads(message.payload)
            answers[answer["status"] if answer["status"] == "ok" else answer["error"]["code"]] += 1
        took.append(time.perf_counter() - began)
        await asyncio.sleep(0.05)
    return took


async def _flood(port: int) -> None:
    """Send requests at QoS 0, ready made: a client in Python would take a core of its own."""
    topic = f"{_BASE}/bridge/request/job/list".encode()
    packet = _text(topic) + b"{}"
    packet = b"\x30" + bytes([len(packet)]) + packet
    hello = _text(b"MQTT") + b"\x04\x02\x00\x00" + _text(b"flood")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"\x10" + bytes([len(hello)]) + hello)
    await reader.readexactly(4)
    began, num_sent = time.perf_counter(), 0
    while True:
        num_due = int((time.perf_counter() - began) * REQUESTS_PER_S) - num_sent
        writer.write(packet * num_due)
        await writer.drain()
        num_sent += num_due
        await asyncio.sleep(0.01)


def _text(text: bytes) -> bytes:
    return len(text).to_bytes(2, "big") + text


async def measure_clear(num_jobs: int) -> None:
    """Cancel all that waits, group by group."""
    clock, topics, nobody = Clock(), Topics(_BASE), _Nobody()
    with tempfile.TemporaryDirectory() as folder:
        async with Store.open(Path(folder, "store.db"), instance="bench") as store:
            cameras = Cameras(Settings(), topics, store, nobody, clock)
            deliver = Deliver(store, topics, nobody, Statistics(), clock, cameras)
            queue = JobQueue(JobHeap(num_jobs), store, deliver, clock)
            new = _jobs(num_jobs, (JobStatus.QUEUED,))
            while group := list(itertools.islice(new, _GROUP)):
                await store.accept(group, {})
                queue.push(group)
            cancellation = Cancellation(deliver, (queue.remove,))
            lags: list[float] = []
            watch = asyncio.create_task(_watch_loop(lags), name="lag")
            began, num_done = time.perf_counter(), 0
            async for some in store.own_jobs(status=JobStatus.QUEUED, limit=GROUP):
                num_done += len(await cancellation.cancel(some))
            seconds = time.perf_counter() - began
            watch.cancel()
    assert (num_done, len(queue)) == (num_jobs, 0)
    print(
        f"queue/clear of {num_jobs} waiting jobs: {seconds:.1f} s, "
        f"{seconds / num_jobs * GROUP * 1e3:.0f} ms for each {GROUP}; event loop held up "
        f"{max(lags) * 1e3:.0f} ms at most, p99 {percentile(lags, 99) * 1e3:.0f} ms"
    )


async def _watch_loop(lags: list[float]) -> None:
    while True:
        began = time.perf_counter()
        await asyncio.sleep(_TICK_S)
        lags.append(time.perf_counter() - began - _TICK_S)


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


class _Nobody:
    """Hears what is announced."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        return True

    def keep(self, document: BaseModel, *, camera_id: str) -> None: ...

    def forget(self, camera_id: str) -> None: ...


def _insert(connection: Connection, rows: list[dict[str, object]]) -> None:
    connection.execute(insert(jobs), rows)


def _rows(num_jobs: int) -> Iterator[dict[str, object]]:
    rng = random.Random(2)
    for number, job in enumerate(_jobs(num_jobs, _STATUSES)):
        elapsed = number * 1_000_000
        row = job_row(job, Stamp("bench", float(number), elapsed, elapsed))
        if job.status.is_final:
            row["ended"] = elapsed + round(rng.random() * 60e6)
        yield row


def _jobs(num_jobs: int, statuses: Sequence[JobStatus]) -> Iterator[Job]:
    rng = random.Random(1)
    for number in range(num_jobs):
        status, at = rng.choice(statuses), _START + timedelta(seconds=number)
        yield Job(
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


if __name__ == "__main__":
    main()
