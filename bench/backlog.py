"""How much memory does the service need when gigabytes of frames wait for it at the broker?"""

import argparse
import asyncio
import tempfile
import time
from pathlib import Path

from bench._load import broker, frames, service
from bench._machine import describe
from bench._standin import Pace
from bench.intake import NUM_BYTES, fill


async def measure(num_bytes: int) -> None:
    """Let a backlog gather, drain it, and print how memory grew."""
    num_frames = num_bytes // NUM_BYTES
    with tempfile.TemporaryDirectory() as folder:
        async with broker() as running:
            async with service(running.port, Path(folder), Pace()) as child:
                await child.wait_for("ready")
                await asyncio.sleep(1.0)
                await child.end()  # its session stays and collects
            await fill(running.port, frames(NUM_BYTES), num_frames)
            async with service(running.port, Path(folder), Pace(step_s=0.1)) as child:
                base = (await child.wait_for("ready"))["rss_mib"]
                started = time.perf_counter()
                said = await child.wait_for("committed", num=num_frames // 100 * 100)
                took = time.perf_counter() - started
                end = await child.end()
    print(
        f"backlog of {num_bytes / (1 << 30):.1f} GiB in {num_frames} frames, byte gate 16 MiB: "
        f"{said['num'] / took:.0f} frames/s, memory {base:.0f} MiB before, at most "
        f"{end['peak_rss_mib']:.0f} MiB, +{end['peak_rss_mib'] - base:.0f} MiB"
    )


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=2.0)
    print(describe())
    asyncio.run(measure(int(parser.parse_args().gib * (1 << 30))))


if __name__ == "__main__":
    main()
