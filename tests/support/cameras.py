"""Cameras that know what the broker has acknowledged, and pictures that no two of them share."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from types import TracebackType
from typing import Self

from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.checker import Checker, until
from tests.support.client import Client, properties
from tests.support.factories import make_image
from tests.support.quick_engine import digest


@dataclass(frozen=True, slots=True)
class Frame:
    """What a camera sends."""

    job_id: str
    camera_id: str
    image: bytes
    priority: str = "normal"
    caption: str | None = None  #: that is right; None: any


def pictures(seed: int = 0, num_bytes: int = 0) -> Iterator[bytes]:
    """Sound JPEGs of at least this size, no two alike."""
    rng = random.Random(seed)
    base = make_image(seed, (64, 48))
    base += bytes(max(0, num_bytes - len(base) - 20))
    while True:
        # A comment right after the start of the image makes the bytes unique.
        comment = rng.randbytes(16)
        yield base[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + base[2:]


class Cameras:
    """Some cameras behind one connection.

    Args:
        checker: Is told what the broker has acknowledged.
        seed: Of pictures, order and choice of camera.
        num_cameras: Among which frames are spread.
    """

    def __init__(
        self, port: int, base: str, checker: Checker, *, seed: int = 0, num_cameras: int = 5
    ) -> None:
        self.base = base
        self._checker = checker
        self._rng = random.Random(seed)
        self._pictures = pictures(seed)
        self._num_cameras = num_cameras
        self._numbers = count()
        self._under_way: dict[int, Frame] = {}
        self._early: set[int] = set()  # acknowledged before `publish` had told us the id
        self.num_sent = 0
        self.client = Client(port, "cameras", on_puback=self._on_puback)

    async def __aenter__(self) -> Self:
        self.client.__enter__()
        await until(self.client.paho.is_connected)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.client.__exit__, kind, error, traceback)

    def frame(self, prefix: str = "job", *, priority: str = "normal") -> Frame:
        """A new frame; `prefix` can order a fault, see `quick_engine`."""
        number = next(self._numbers)
        camera_id = f"camera-{self._rng.randrange(self._num_cameras)}"
        job_id = f"{prefix}-{number}-{self._rng.getrandbits(32):08x}"
        image = next(self._pictures)
        return Frame(job_id, camera_id, image, priority, digest(image))

    def picture(self, prefix: str, image: bytes, caption: str | None) -> Frame:
        """A frame of a given picture."""
        frame = self.frame(prefix)
        return replace(frame, image=image, caption=caption)

    def send(self, frame: Frame) -> Frame:
        """Publish at QoS 1; the checker hears of it once the broker has it."""
        options = [("job_id", frame.job_id), ("priority", frame.priority)]
        info = self.client.paho.publish(
            f"{self.base}/{frame.camera_id}/frame",
            frame.image,
            qos=1,
            properties=properties(PacketTypes.PUBLISH, UserProperty=options),
        )
        self.num_sent += 1
        self._under_way[info.mid] = frame
        if info.mid in self._early:
            self._early.discard(info.mid)
            self._take(info.mid)
        return frame

    async def send_many(
        self, num_frames: int, *, during_s: float = 0.0, prefix: str = "job"
    ) -> list[Frame]:
        """Publish frames at random moments of a span of time."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        moments = sorted(self._rng.uniform(0, during_s) for _ in range(num_frames))
        sent = []
        for moment in moments:
            await asyncio.sleep(max(0.0, began + moment - loop.time()))
            sent.append(self.send(self.frame(prefix)))
        return sent

    async def all_accepted(self) -> None:
        """Wait until the broker has acknowledged all that was sent."""
        await until(lambda: not self._under_way)

    def _on_puback(self, mid: int, reason: ReasonCode) -> None:
        if reason.is_failure:
            return
        if mid in self._under_way:
            self._take(mid)
        else:
            self._early.add(mid)

    def _take(self, mid: int) -> None:
        frame = self._under_way.pop(mid)
        self._checker.accept(frame.job_id, frame.caption)
