"""The newest frame of each camera that is being captioned or was, whichever engine has it.

It goes with the camera's next frame, so that a scene is described once although several engines
look at it, and also after a restart. A frame whose caption fails counts no more, and the one before
it counts again.
"""

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from engine.protocol import LastFrame
from service.clock import Clock
from service.errors import StoreError
from service.store.fingerprints import LastCaptioned

logger = logging.getLogger(__name__)

_MOST_FRAMES = 8  # of one camera; older ones count only once all of these have failed
_MOST_CAMERAS = 256  # whoever may publish may invent camera names
_MOST_BYTES = 4096  # of a fingerprint; today's have 1,025


class CaptionedFrames(Protocol):
    """What is known from before; see `service.store.store`."""

    async def last_captioned(self, camera_ids: Collection[str]) -> dict[str, LastCaptioned]:
        """Raises StoreError."""


@dataclass(frozen=True, slots=True)
class _Seen:
    key: str
    fingerprint: bytes
    seen_at: float  # on the monotonic clock
    importance: int


class LastFrames:
    """Remembers frames for a bounded number of cameras.

    Args:
        store: Knows the frames of before the start.
        clock: For their ages.
    """

    def __init__(self, store: CaptionedFrames, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._cameras: dict[str, list[_Seen]] = {}  # oldest first; the longest quiet camera first

    async def load(self, camera_ids: Collection[str]) -> None:
        """Read what is kept of cameras that are not known yet; without an answer, nothing is."""
        unknown = {each for each in camera_ids if each not in self._cameras}
        if not unknown:
            return
        try:
            found = await self._store.last_captioned(unknown)
        except StoreError as error:
            logger.warning("no last frames: %s", error, extra={"action": "store_failed"})
            return
        now = self._clock.monotonic()
        for camera_id in unknown.difference(self._cameras):  # one may be known by now
            last = found.get(camera_id)
            self._keep(camera_id, [] if last is None else [_seen_before(last, now)])

    def add(self, camera_id: str, key: str, fingerprint: bytes, importance: int) -> None:
        """A frame is being captioned: it is the one that counts."""
        if len(fingerprint) <= _MOST_BYTES:
            seen = _Seen(key, fingerprint, self._clock.monotonic(), importance)
            self._keep(camera_id, [*self._without(camera_id, key), seen])

    def drop(self, camera_id: str, key: str) -> None:
        """A frame gets no caption: it does not count."""
        if camera_id in self._cameras:
            self._cameras[camera_id] = self._without(camera_id, key)

    def forget(self, camera_id: str) -> None:
        """A camera is known no more."""
        self._cameras.pop(camera_id, None)

    def newest(self, camera_id: str) -> LastFrame | None:
        """What a camera's next frame is to be compared with."""
        seen = self._cameras.get(camera_id)
        if not seen:
            return None
        last = seen[-1]
        age_s = max(0.0, self._clock.monotonic() - last.seen_at)
        return LastFrame(last.key, last.fingerprint, age_s, last.importance)

    def _without(self, camera_id: str, key: str) -> list[_Seen]:
        return [each for each in self._cameras.get(camera_id, []) if each.key != key]

    def _keep(self, camera_id: str, seen: list[_Seen]) -> None:
        self._cameras.pop(camera_id, None)
        self._cameras[camera_id] = seen[-_MOST_FRAMES:]
        while len(self._cameras) > _MOST_CAMERAS:
            del self._cameras[next(iter(self._cameras))]


def _seen_before(last: LastCaptioned, now: float) -> _Seen:
    fingerprint = last.fingerprint[:_MOST_BYTES]
    return _Seen(last.job_key, fingerprint, now - last.age_s, int(last.priority))
