"""How long does a critical frame take under a flood of ten times what the engine can do?

The engine is the timed stand-in: eight slots, twenty steps of 50 ms a caption, the same step time
for any number of rows.
"""

import argparse
import asyncio
import base64
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import aiomqtt

from bench._load import broker, frames, service
from bench._machine import describe, percentile
from bench._standin import Pace

PACE = Pace(step_s=0.05, num_steps=20, slots=8)
CAPTIONS_PER_S = PACE.slots / (PACE.step_s * PACE.num_steps)
FLOOD_PER_S = 10 * CAPTIONS_PER_S


async def measure(num_critical: int) -> None:
    """Print p50 and p99 without and with the flood."""
    pictures = frames(20_000)
    with tempfile.TemporaryDirectory() as folder:
        async with (
            broker() as running,
            service(running.port, Path(folder), PACE) as child,
            aiomqtt.Client("127.0.0.1", running.port) as client,
        ):
            await child.wait_for("ready")
            await client.subscribe("moondream2mqtt/front/caption", qos=1)
            quiet = await _critical(client, pictures, num_critical)
            flood = asyncio.create_task(_flood(running.port, pictures), name="flood")
            await asyncio.sleep(3.0)
            loud = await _critical(client, pictures, num_critical)
            flood.cancel()
            with suppress(asyncio.CancelledError):
                await flood
            end = await child.end()
    bound = 1.2 * percentile(quiet, 99) + PACE.step_s
    print(
        f"timed stand-in engine ({PACE.slots} slots, {CAPTIONS_PER_S:.0f} captions/s, step "
        f"{PACE.step_s * 1e3:.0f} ms), {num_critical} critical frames"
    )
    for name, samples in (("alone", quiet), (f"with {FLOOD_PER_S:.0f} low frames/s", loud)):
        print(f"  {name}: p50 {percentile(samples, 50):.3f} s, p99 {percentile(samples, 99):.3f} s")
    print(
        f"  1.2 × alone + one step = {bound:.3f} s; event loop held up at most "
        f"{end['loop_lag_ms']:.0f} ms"
    )


async def _critical(
    client: aiomqtt.Client, pictures: Iterator[bytes], num_frames: int
) -> list[float]:
    """Send critical frames one after the other; seconds from publish to caption."""
    took = []
    messages = aiter(client.messages)
    for number in range(num_frames):
        started = time.perf_counter()
        properties = {"priority": "critical"}
        await client.publish(
            "moondream2mqtt/front/frame", _json_frame(next(pictures), **properties), qos=1
        )
        await anext(messages)
        took.append(time.perf_counter() - started)
        await asyncio.sleep(0.013 * (number % 5))  # not in step with the engine
    return took


async def _flood(port: int, pictures: Iterator[bytes]) -> None:
    async with aiomqtt.Client("127.0.0.1", port) as client:
        due = time.perf_counter()
        for number in range(10**9):
            topic = f"moondream2mqtt/flood-{number % 8}/frame"
            await client.publish(topic, _json_frame(next(pictures), priority="low"), qos=1)
            due += 1 / FLOOD_PER_S
            await asyncio.sleep(max(0.0, due - time.perf_counter()))


def _json_frame(image: bytes, **fields: str) -> bytes:
    text = base64.b64encode(image).decode()
    return json.dumps({"frame_data": text, **fields}).encode()


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--critical", type=int, default=40)
    print(describe())
    asyncio.run(measure(parser.parse_args().critical))


if __name__ == "__main__":
    main()
