"""What the benchmarks of the service share: a broker, a child to measure, frames to send."""

import asyncio
import io
import json
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from PIL import Image

from bench._standin import Pace
from broker.embedded import EmbeddedBroker

_QUEUE_BYTES = 4 << 30


@asynccontextmanager
async def broker(*more: str) -> AsyncIterator[EmbeddedBroker]:
    """A Mosquitto of our own whose queues are large enough to hold a whole run.

    Args:
        more: Lines of its configuration.
    """
    with tempfile.TemporaryDirectory() as folder:
        lines = ("max_queued_messages 100000", f"max_queued_bytes {_QUEUE_BYTES}", *more)
        async with EmbeddedBroker(Path(folder), extra_lines=lines) as running:
            yield running


class ServiceChild:
    """A running `bench._service`.

    Args:
        process: The child.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._process.pid

    async def wait_for(self, event: str, **content: Any) -> dict[str, Any]:
        """The next line about `event` whose fields are at least as great as `content`.

        Raises:
            RuntimeError: The child ended first.
        """
        assert self._process.stdout is not None
        while line := await self._process.stdout.readline():
            said: dict[str, Any] = json.loads(line)
            if said["event"] == event and all(said[key] >= each for key, each in content.items()):
                return said
        raise RuntimeError(f"the service ended before it said {event!r}")

    async def end(self) -> dict[str, Any]:
        """Stop it with SIGTERM; what it says at the end."""
        self._process.send_signal(signal.SIGTERM)
        said = await self.wait_for("end")
        await self._process.wait()
        return said


@asynccontextmanager
async def service(
    broker_port: int, data_dir: Path, pace: Pace, **settings: Any
) -> AsyncIterator[ServiceChild]:
    """The service against the stand-in, in a process of its own."""
    content = {
        "mqtt": {"port": broker_port, "client_id": "bench"},
        "data_dir": str(data_dir),
        **settings,
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench._service",
        json.dumps(content),
        json.dumps(asdict(pace)),
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    try:
        yield ServiceChild(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def frames(num_bytes: int, seed: int = 0) -> Iterator[bytes]:
    """Sound JPEGs of about this size, no two alike."""
    rng = random.Random(seed)
    base = _noise(num_bytes, rng)
    while True:
        comment = rng.randbytes(16)
        # A comment segment right after the start of the image makes the bytes unique.
        yield base[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + base[2:]


def _noise(num_bytes: int, rng: random.Random) -> bytes:
    """Noise compresses badly, so the side of the picture sets the size of the file."""
    side = 64
    while True:
        picture = Image.frombytes("RGB", (side, side), rng.randbytes(side * side * 3))
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=80)
        if buffer.tell() >= num_bytes:
            return buffer.getvalue()
        side += 16
