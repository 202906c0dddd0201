"""Frigate's events: how many are followed a second, and what updates cost other cameras' frames.

The storm is of fifty objects that move all the time, 6 kB a message; none ends, so no picture is
fetched. What is followed has ended, and each has a picture of its own behind HTTP.
"""

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
from bench._machine import percentile
from bench._standin import Pace

ENGINE_S = 0.02
INTERVAL_S = 0.05
NUM_OBJECTS = 50
A_SECOND = 1000
_LONGEST_WAIT_S = 60.0  # for one more caption
_NOBODY = "http://127.0.0.1:9"  # nothing is fetched, and what is asked at the start fails


async def beside_storm(num_frames: int) -> None:
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
    command = (sys.executable, "-m", "bench._frigate", str(port), str(qos))
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


async def followed(num_events: int) -> None:
    """Let objects end all at once, and print how many a second become captions."""
    async with _pictures() as port:
        frigate = {"enabled": True, "url": f"http://127.0.0.1:{port}", "write_back": False}
        with tempfile.TemporaryDirectory() as folder:
            async with (
                broker() as running,
                service(running.port, Path(folder), Pace(), frigate=frigate) as child,
                aiomqtt.Client("127.0.0.1", running.port) as client,
            ):
                await child.wait_for("ready")
                await client.subscribe("moondream2mqtt/+/caption", qos=1)
                for number in range(num_events):
                    await client.publish("frigate/events", _end(number), qos=1)
                messages, at = aiter(client.messages), list[float]()
                while len(at) < num_events:
                    async with asyncio.timeout(_LONGEST_WAIT_S):
                        await anext(messages)
                    at.append(time.perf_counter())
                end = await child.end()
    print(
        f"{num_events} objects that ended at once, pictures of 100 KB, stand-in engine of 0 ms: "
        f"{(num_events - 1) / (at[-1] - at[0]):.0f} followed a second; event loop held up: p99 "
        f"{end['loop_lag_p99_ms']:.1f} ms; peak memory {end['peak_rss_mib']:.0f} MiB"
    )


@asynccontextmanager
async def _pictures() -> AsyncIterator[int]:
    """A Frigate that has a new picture of every object; yields its port."""
    pictures = frames(100_000)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        path = (await reader.readuntil(b"\r\n\r\n")).split(b" ")[1]
        if b"/snapshot" in path:
            body = next(pictures)
        elif path == b"/api/version":
            body = b"0.17.2"
        else:
            body = b"[]" if path.startswith(b"/api/events?") else b"{}"
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1")
    async with server:
        yield server.sockets[0].getsockname()[1]


def _end(number: int) -> bytes:
    after = {
        "id": f"1700000000.{number}-abc",
        "camera": "front",
        "label": "person",
        "frame_time": 1700000000.0 + number,
        "end_time": 1700000010.0 + number,
        "top_score": 0.8,
        "has_snapshot": True,
    }
    return json.dumps({"before": after, "after": after, "type": "end"}).encode()


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


if __name__ == "__main__":
    asyncio.run(_publish(int(sys.argv[1]), int(sys.argv[2])))
