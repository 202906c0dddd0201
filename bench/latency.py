"""How much of the time from publish to caption is the service's own, at low load?"""

import argparse
import asyncio
import json
import tempfile
import time
from pathlib import Path

import aiomqtt

from bench._load import broker, frames, service
from bench._machine import describe, percentile
from bench._standin import Pace

ENGINE_S = 0.02
INTERVAL_S = 0.05


async def measure(num_frames: int) -> None:
    """Send frames one at a time and print the figures."""
    pictures = frames(100_000)
    own: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        async with (
            broker() as running,
            service(running.port, Path(folder), Pace(step_s=ENGINE_S)) as child,
        ):
            await child.wait_for("ready")
            async with aiomqtt.Client("127.0.0.1", running.port) as client:
                await client.subscribe("moondream2mqtt/+/caption", qos=1)
                messages = aiter(client.messages)
                for _ in range(num_frames):
                    started = time.perf_counter()
                    await client.publish("moondream2mqtt/front/frame", next(pictures), qos=1)
                    message = await anext(messages)
                    took = time.perf_counter() - started
                    assert isinstance(message.payload, bytes)
                    result = json.loads(message.payload)["result"]
                    own.append(took - result["processing_time"])
                    await asyncio.sleep(INTERVAL_S)
            end = await child.end()
    print(
        f"own share of latency, {num_frames} frames of 100 KB one at a time, stand-in engine of "
        f"{ENGINE_S * 1e3:.0f} ms: p50 {percentile(own, 50) * 1e3:.1f} ms, "
        f"p99 {percentile(own, 99) * 1e3:.1f} ms"
    )
    print(
        f"event loop held up: at most {end['loop_lag_ms']:.1f} ms, "
        f"p99 {end['loop_lag_p99_ms']:.1f} ms; peak memory {end['peak_rss_mib']:.0f} MiB"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=200)
    print(describe())
    asyncio.run(measure(parser.parse_args().frames))


if __name__ == "__main__":
    main()
