"""What a batch costs: the cameras' time while one is worked off, and memory while it waits."""

import argparse
import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import psutil

from bench._load import broker, frames, service
from bench._machine import describe, percentile
from bench._standin import Pace

BASE = "moondream2mqtt"
NUM_CAMERAS = 4
INTERVAL_S = 0.4  # of one camera
NUM_ITEMS = 200
PACE = Pace(step_s=0.02, num_steps=10)
REQUEST_BYTES = 60 << 20
SETTLE_S = 5.0


async def ask(client: aiomqtt.Client, items: list[dict[str, str]]) -> str:
    """Submit a batch and return its id."""
    request = json.dumps({"camera_id": "archive", "items": items})
    await client.publish(f"{BASE}/bridge/request/batch/submit", request, qos=1, timeout=60)
    async for message in client.messages:
        if message.topic.matches(f"{BASE}/bridge/response/batch/submit"):
            assert isinstance(message.payload, bytes)
            answer = json.loads(message.payload)
            assert answer["status"] == "ok", answer
            assert not answer["data"]["failed"], answer
            return str(answer["data"]["batch_id"])
    raise RuntimeError("the connection ended")


async def completed(client: aiomqtt.Client, batch_id: str) -> int:
    """How many items of a batch have been captioned."""
    request = json.dumps({"batch_id": batch_id, "limit": 1})
    await client.publish(f"{BASE}/bridge/request/batch/get", request, qos=1)
    message = await anext(aiter(client.messages))
    assert isinstance(message.payload, bytes)
    return int(json.loads(message.payload)["data"]["completed"])


def batch_of(number: int, pictures: Iterator[bytes]) -> list[dict[str, str]]:
    """Items of a batch."""
    return [{"frame_data": base64.b64encode(next(pictures)).decode()} for _ in range(number)]


async def latencies(port: int, num_frames: int, pictures: Iterator[bytes]) -> list[float]:
    """From publish to caption of critical frames, seconds."""
    sent: dict[str, float] = {}
    took: list[float] = []

    async def send(client: aiomqtt.Client, camera: int) -> None:
        await asyncio.sleep(camera * INTERVAL_S / NUM_CAMERAS)
        for number in range(num_frames // NUM_CAMERAS):
            image = base64.b64encode(next(pictures)).decode()
            job_id = f"{time.time_ns()}-{camera}-{number}"
            frame = {"frame_data": image, "priority": "critical", "job_id": job_id}
            sent[job_id] = time.perf_counter()
            await client.publish(f"{BASE}/camera{camera}/frame", json.dumps(frame), qos=1)
            await asyncio.sleep(INTERVAL_S)

    async with aiomqtt.Client("127.0.0.1", port) as client, asyncio.TaskGroup() as tasks:
        await client.subscribe(f"{BASE}/+/caption", qos=1)
        for camera in range(NUM_CAMERAS):
            tasks.create_task(send(client, camera), name=f"camera {camera}")
        async for message in client.messages:
            assert isinstance(message.payload, bytes)
            job_id = json.loads(message.payload)["job_id"]
            if job_id in sent:
                took.append(time.perf_counter() - sent[job_id])
                if len(took) == num_frames // NUM_CAMERAS * NUM_CAMERAS:
                    break
    return took


async def measure_latency(num_frames: int) -> None:
    """Print the latency of critical frames without a batch and with one."""
    pictures = frames(50_000, seed=2)  # two that are the same would be captioned once
    with tempfile.TemporaryDirectory() as folder:
        async with broker() as running, service(running.port, Path(folder), PACE) as child:
            await child.wait_for("ready")
            async with aiomqtt.Client("127.0.0.1", running.port) as client:
                await client.subscribe(f"{BASE}/bridge/response/#", qos=1)
                alone = await latencies(running.port, num_frames, pictures)
                batch_id = await ask(client, batch_of(NUM_ITEMS, frames(10_000)))
                beside = await latencies(running.port, num_frames, pictures)
                num_ended = await completed(client, batch_id)
    for name, took in (("without a batch", alone), (f"with a batch of {NUM_ITEMS}", beside)):
        figures = ", ".join(f"p{p} {percentile(took, p) * 1e3:.0f} ms" for p in (50, 95, 99))
        print(f"critical frames of {NUM_CAMERAS} cameras, {name}: {figures}")
    print(f"of the batch {num_ended} had ended by then; stand-in engine of 0.2 s, 8 slots")


async def measure_memory(num_items: int) -> None:
    """Print the memory of the service before, at the worst, and while the items wait."""
    per_request = REQUEST_BYTES // 136_000
    pictures = frames(100_000, seed=3)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            broker(f"max_packet_size {REQUEST_BYTES + (4 << 20)}") as running,
            service(running.port, Path(folder), Pace(step_s=3600.0)) as child,
        ):
            await child.wait_for("ready")
            process = psutil.Process(child.pid)
            async with aiomqtt.Client("127.0.0.1", running.port) as client:
                await client.subscribe(f"{BASE}/bridge/response/#", qos=1)
                await ask(client, batch_of(20, pictures))
                await asyncio.sleep(SETTLE_S)
                before = process.memory_info().rss
                while num_items > 0:
                    number = min(per_request, num_items)
                    items = batch_of(number, pictures)
                    started = time.perf_counter()
                    await ask(client, items)
                    print(f"{number} items of 100 KB: {time.perf_counter() - started:.1f} s")
                    num_items -= number
                await client.publish(f"{BASE}/bridge/request/health")  # the last message goes
                await asyncio.sleep(SETTLE_S)
                after = process.memory_info().rss
            end = await child.end()
    print(
        f"memory: {before / (1 << 20):.0f} MiB before, {after / (1 << 20):.0f} MiB while they wait,"
        f" peak {end['peak_rss_mib']:.0f} MiB; event loop held up at most {end['loop_lag_ms']:.0f} "
        f"ms, p99 {end['loop_lag_p99_ms']:.1f} ms"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=80)
    parser.add_argument("--items", type=int, default=1000)
    arguments = parser.parse_args()
    print(describe())
    if arguments.frames:
        asyncio.run(measure_latency(arguments.frames))
    if arguments.items:
        asyncio.run(measure_memory(arguments.items))


if __name__ == "__main__":
    main()
