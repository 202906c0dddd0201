"""What do a thousand updates a second from Frigate cost the frames of another camera?

Fifty objects that move all the time, 10 kB a message; no object ends, so no picture is fetched.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

from bench._load import broker, frames, service
from bench._machine import describe, percentile
from bench._standin import Pace

ENGINE_S = 0.02
INTERVAL_S = 0.05
NUM_OBJECTS = 50
A_SECOND = 1000
_NOBODY = "http://127.0.0.1:9"  # nothing is fetched, and what is asked at the start fails


async def measure(num_frames: int) -> None:
    """Send frames one at a time, without and with updates beside them, and print the figures."""
    frigate = {"enabled": True, "url": _NOBODY}
    with tempfile.TemporaryDirectory() as folder:
        async with (
            broker() as running,
            service(running.port, Path(folder), Pace(step_s=ENGINE_S), frigate=frigate) as child,
            aiomqtt.Client("127.0.0.1", running.port) as client,
        ):
            await child.wait_for("ready")
            await client.subscribe("moondream2mqtt/+/caption", qos=1)
            pictures = frames(100_000)
            print(_told("without updates", await _latencies(client, pictures, num_frames)))
            for qos in (0, 1):
                async with _storm(running.port, qos) as storm:
                    took = await _latencies(client, pictures, num_frames)
                told, _ = await storm.communicate()
                print(_told(f"beside {told.decode().strip()} updates a second at QoS {qos}", took))
            end = await child.end()
    print(
        f"event loop held up: at most {end['loop_lag_ms']:.1f} ms, "
        f"p99 {end['loop_lag_p99_ms']:.1f} ms; peak memory {end['peak_rss_mib']:.0f} MiB"
    )


async def _latencies(
    client: aiomqtt.Client, pictures: Iterator[bytes], num_frames: int
) -> list[float]:
    messages = aiter(client.messages)
    took: list[float] = []
    for _ in range(num_frames):
        started = time.perf_counter()
        await client.publish("moondream2mqtt/yard/frame", next(pictures), qos=1)
        await anext(messages)
        took.append(time.perf_counter() - started)
        await asyncio.sleep(INTERVAL_S)
    return took


@asynccontextmanager
async def _storm(port: int, qos: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Say what objects do, in a process of its own, while the block lasts."""
    command = (sys.executable, "-m", "bench.frigate", "--storm", str(port), "--qos", str(qos))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    assert process.stdin is not None
    assert process.stdout is not None
    await process.stdout.readline()  # it has begun
    await asyncio.sleep(0.5)
    yield process
    process.stdin.close()


async def _publish(port: int, qos: int) -> None:
    """Publish until standard input ends; print how many a second."""
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    async with aiomqtt.Client("127.0.0.1", port) as nvr:
        print("begun", flush=True)
        began, num_sent = time.perf_counter(), 0
        while not over.done():
            await nvr.publish("frigate/events", _update(num_sent), qos=qos)
            num_sent += 1
            await asyncio.sleep(max(0.0, began + num_sent / A_SECOND - time.perf_counter()))
        print(f"{num_sent / (time.perf_counter() - began):.0f}")


def _update(number: int) -> bytes:
    after = {
        "id": f"1700000000.{number % NUM_OBJECTS}-abc",
        "camera": "front",
        "label": "person",
        "frame_time": 1700000000.0 + number,
        "top_score": 0.8,
        "path_data": [[[0.5, 0.5], 1700000000.0]] * 150,
    }
    return json.dumps({"before": after, "after": after, "type": "update"}).encode()


def _told(when: str, took: list[float]) -> str:
    return (
        f"{when}: {len(took)} frames of 100 KB, stand-in engine of {ENGINE_S * 1e3:.0f} ms: "
        f"p50 {percentile(took, 50) * 1e3:.1f} ms, p95 {percentile(took, 95) * 1e3:.1f} ms"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--storm", type=int, help="only publish, to the broker at this port")
    parser.add_argument("--qos", type=int, default=0, help="of the storm")
    arguments = parser.parse_args()
    if arguments.storm is not None:
        asyncio.run(_publish(arguments.storm, arguments.qos))
        return
    print(describe())
    asyncio.run(measure(arguments.frames))


if __name__ == "__main__":
    main()
