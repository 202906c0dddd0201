"""The newest frame of each camera that is being captioned or was, whichever engine has it.

It goes with the camera's next frame, so that a scene is described once although several engines
look at it, and also after a restart. A frame whose caption fails counts no more, and the one before
it counts again.
"""

import logging
from collections.abc import Collection
from typing import Protocol

from engine.protocol import LastFrame
from service.camera import Camera, SeenFrame
from service.cameras import Cameras
from service.clock import Clock
from service.errors import StoreError
from service.store.fingerprints import LastCaptioned

logger = logging.getLogger(__name__)

_MOST_FRAMES = 8  # of one camera; older ones count only once all of these have failed
_MOST_BYTES = 4096  # of a fingerprint; today's have 1,025


class CaptionedFrames(Protocol):
    """What is known from before; see `service.store.store`."""

    async def last_captioned(self, camera_ids: Collection[str]) -> dict[str, LastCaptioned]:
        """Raises StoreError."""


class LastFrames:
    """Remembers frames for the cameras that are known.

    Args:
        store: Knows the frames of before the start.
        cameras: Where they are kept.
        clock: For their ages.
    """

    def __init__(self, store: CaptionedFrames, cameras: Cameras, clock: Clock) -> None:
        self._store = store
        self._cameras = cameras
        self._clock = clock

    async def load(self, camera_ids: Collection[str]) -> None:
        """Read what is kept of cameras that are not known yet; without an answer, nothing is."""
        unknown = {each.camera_id for each in self._known(camera_ids) if each.last_frames is None}
        if not unknown:
            return
        try:
            found = await self._store.last_captioned(unknown)
        except StoreError as error:
            logger.warning("no last frames: %s", error, extra={"action": "store_failed"})
            return
        now = self._clock.monotonic()
        for camera in self._known(unknown):
            if camera.last_frames is None:  # one may have come by now
                last = found.get(camera.camera_id)
                camera.last_frames = [] if last is None else [_seen_before(last, now)]

    def add(self, camera_id: str, key: str, fingerprint: bytes, importance: int) -> None:
        """A frame is being captioned: it is the one that counts."""
        camera = self._cameras.get(camera_id)
        if camera is not None and len(fingerprint) <= _MOST_BYTES:
            seen = SeenFrame(key, fingerprint, self._clock.monotonic(), importance)
            camera.last_frames = [*_without(camera, key), seen][-_MOST_FRAMES:]

    def drop(self, camera_id: str, key: str) -> None:
        """A frame gets no caption: it does not count."""
        camera = self._cameras.get(camera_id)
        if camera is not None and camera.last_frames:
            camera.last_frames = _without(camera, key)

    def newest(self, camera_id: str) -> LastFrame | None:
        """What a camera's next frame is to be compared with."""
        camera = self._cameras.get(camera_id)
        if camera is None or not camera.last_frames:
            return None
        last = camera.last_frames[-1]
        age_s = max(0.0, self._clock.monotonic() - last.seen_at)
        return LastFrame(last.key, last.fingerprint, age_s, last.importance)

    def _known(self, camera_ids: Collection[str]) -> list[Camera]:
        found = (self._cameras.get(camera_id) for camera_id in camera_ids)
        return [each for each in found if each is not None]


def _without(camera: Camera, key: str) -> list[SeenFrame]:
    return [each for each in camera.last_frames or () if each.key != key]


def _seen_before(last: LastCaptioned, now: float) -> SeenFrame:
    fingerprint = last.fingerprint[:_MOST_BYTES]
    return SeenFrame(last.job_key, fingerprint, now - last.age_s, int(last.priority))
