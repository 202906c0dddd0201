"""The pictures of one motion: taken one after the other, and of them those that are worth it."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Protocol

from engine.sight import Seen
from service.cameras import Cameras
from service.errors import FrameError
from service.trigger_settings import BurstSettings
from service.triggers.scrutiny import choose
from service.triggers.snapshots import SuspendedError

_MOST_BYTES = 16 << 20  # held until one is chosen; a burst ends when it has so many


class Fetch(Protocol):
    """See `service.triggers.snapshots`."""

    async def fetch(self, number: int, camera_id: str, name: str | None = None) -> bytes:
        """Raises FrameError."""


class Look(Protocol):
    """See `service.triggers.scrutiny`."""

    def may_be_flat(self, picture: bytes) -> bool:
        """Whether it is worth a look."""

    async def look(self, pictures: Sequence[bytes], last: bytes | None) -> Sequence[Seen]:
        """Raises FrameError, TimeoutError."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One of a burst."""

    image: bytes = field(repr=False)
    index: int  #: its place in the burst, from 1


class Bursts:
    """Takes them.

    Args:
        snapshots: Gets pictures.
        scrutiny: Looks at them.
        cameras: Know their last captioned pictures.
    """

    def __init__(self, snapshots: Fetch, scrutiny: Look, cameras: Cameras) -> None:
        self._snapshots = snapshots
        self._scrutiny = scrutiny
        self._cameras = cameras

    async def take(
        self, number: int, camera_id: str, burst: BurstSettings, name: str | None = None
    ) -> AsyncIterator[Picture]:
        """The pictures of a burst that are to be captioned, as soon as each is known.

        Args:
            number: Of the trigger.
            name: What the sender calls the camera, where that is a foreign name.

        Raises:
            FrameError: `fetch_failed`: there is none.
        """
        if burst.keep == "all":
            async for picture in self._take_all(number, camera_id, burst, name):
                yield picture
            return
        held: list[Picture] = []
        is_choosing = burst.keep == "best" and burst.frames > 1
        async for picture in self._take_all(number, camera_id, burst, name):
            held = [*held, picture] if is_choosing else [picture]
            if is_choosing and sum(len(each.image) for each in held) > _MOST_BYTES:
                break
        yield held[await self._best(held, camera_id)] if is_choosing else held[0]

    async def _take_all(
        self, number: int, camera_id: str, burst: BurstSettings, name: str | None
    ) -> AsyncIterator[Picture]:
        """All pictures of a burst that can be had.

        Raises:
            FrameError: None can.
        """
        began, num_taken = time.monotonic(), 0
        failure: FrameError | None = None
        for i in range(burst.frames):
            due = began + burst.delay + i * burst.every
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            try:
                image = await self._snapshots.fetch(number, camera_id, name)
                if burst.keep != "best" or burst.frames == 1:
                    await self._refuse_flat(image)
            except FrameError as error:
                failure = error
                if isinstance(error, SuspendedError):
                    break
                continue
            num_taken += 1
            yield Picture(image, i + 1)
        if failure is not None and not num_taken:
            raise failure

    async def _refuse_flat(self, image: bytes) -> None:
        """Look at a single picture, where that may be worth it.

        Raises:
            FrameError: It is of one colour.
        """
        if self._scrutiny.may_be_flat(image):
            with suppress(TimeoutError):  # a busy machine is not the picture's fault
                choose(await self._scrutiny.look([image], None), 0.0)

    async def _best(self, held: Sequence[Picture], camera_id: str) -> int:
        """Which of the pictures is the best; the newest where the machine is too busy to look.

        Raises:
            FrameError: None shows anything.
        """
        camera = self._cameras.get(camera_id)
        last = camera.last_frames[-1].fingerprint if camera and camera.last_frames else None
        try:
            seen = await self._scrutiny.look([each.image for each in held], last)
        except TimeoutError:
            return len(held) - 1
        return choose(seen, camera.similarity if camera else 0.0)
