"""Whether a frame shows what the camera's last captioned frame showed.

A fingerprint is the picture's brightness in 32 x 32 cells. Two cells agree when they differ by
little after the change that all cells have in common, of daylight or exposure, is taken away. The
likeness of two pictures is the share of agreeing cells where it is least, in one of 16 regions: a
person far away fills a hundredth of the picture but a sixth of a region.

The measure errs towards calling frames different, which costs a caption; the other error would lose
one.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CELLS = 32  # a side
_REGIONS = 4  # a side; 8 x 8 cells each
#: Levels of 255. Above the noise of a cell's mean and of JPEG (under 3 in a dark 320 x 240 frame),
#: below what a dim figure does to the cells it covers.
_TOLERANCE = 6

Fingerprint = NDArray[np.int16]

#: Begins every fingerprint that travels. The service keeps them; one of another way of measuring,
#: from before an update, is not compared.
_MARK = b"\x01"


def fingerprint(image: Image.Image) -> Fingerprint:
    """Mean brightness of the cells, (32, 32)."""
    small = image.resize((_CELLS, _CELLS), Image.Resampling.BOX, reducing_gap=4.0)
    return np.asarray(small.convert("L"), dtype=np.int16)


def to_bytes(print_: Fingerprint) -> bytes:
    """A fingerprint to be kept outside of the engine."""
    return _MARK + print_.astype(np.uint8).tobytes()


def from_bytes(data: bytes) -> Fingerprint | None:
    """The fingerprint that `to_bytes` was given; None if this is not one of ours."""
    if not data.startswith(_MARK) or len(data) != len(_MARK) + _CELLS * _CELLS:
        return None
    cells = np.frombuffer(data, dtype=np.uint8, offset=len(_MARK))
    return cells.reshape(_CELLS, _CELLS).astype(np.int16)


def likeness(one: Fingerprint, other: Fingerprint) -> float:
    """The share of cells that agree, in the region where fewest do; 1.0 for the same picture."""
    difference = one - other
    agrees = np.abs(difference - np.median(difference)) <= _TOLERANCE
    side = _CELLS // _REGIONS
    regions = agrees.reshape(_REGIONS, side, _REGIONS, side).mean(axis=(1, 3))
    return float(regions.min())


@dataclass(frozen=True, slots=True)
class Seen:
    """A frame that is being captioned or was."""

    key: str
    seen_at: float  #: on the clock of `Scenes`
    importance: int
    fingerprint: Fingerprint


class Scenes:
    """The frames of each camera that are being captioned here or were.

    Only the newest counts: when a visitor has left, the empty scene is news again, though it was
    captioned before the visitor came. A frame whose caption fails is forgotten, and the one before
    it counts again. What other engines caption, and this one's process before it was started again,
    comes with each frame and counts for that frame only, because nobody would say here that its
    caption has failed. Safe to use from several threads.

    Args:
        clock: Seconds that never jump.
    """

    _MOST_FRAMES = 16  # of one camera; older ones count only once all of these have failed
    _MOST_CAMERAS = 1024  # whoever may publish may invent camera names

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._cameras: dict[str, list[Seen]] = {}

    def match_or_add(
        self,
        camera_id: str,
        key: str,
        print_: Fingerprint,
        *,
        similarity: float,
        window_s: float,
        importance: int,
        last: Seen | None = None,
    ) -> tuple[str, float] | None:
        """Name the job whose frame this one resembles, or let this one count from now on.

        Args:
            camera_id: Whose frames to compare with.
            key: Of this frame's job.
            print_: Its fingerprint.
            similarity: Least likeness that counts as the same.
            window_s: Seconds after which a frame counts no more.
            importance: A frame of greater importance than the one it resembles is not its like.
            last: The newest frame of the camera as far as is known outside.

        Returns:
            The other's key and likeness, or None if the frame is new.
        """
        now = self._clock()
        with self._lock:
            seen = self._of(camera_id, without=key)
            newest = _newest(seen, last if last is not None and last.key != key else None)
            if newest and now - newest.seen_at <= window_s and importance <= newest.importance:
                found = likeness(print_, newest.fingerprint)
                if found >= similarity:
                    return newest.key, found
            seen.append(Seen(key, now, importance, print_))
            return None

    def forget(self, camera_id: str, key: str) -> None:
        """A frame gets no caption: it does not count."""
        with self._lock:
            self._of(camera_id, without=key)

    def _of(self, camera_id: str, *, without: str) -> list[Seen]:
        """The frames of a camera, oldest first; the camera that was quiet longest is forgotten."""
        seen = [each for each in self._cameras.pop(camera_id, []) if each.key != without]
        self._cameras[camera_id] = seen = seen[-self._MOST_FRAMES :]
        while len(self._cameras) > self._MOST_CAMERAS:
            del self._cameras[next(iter(self._cameras))]
        return seen


def _newest(seen: list[Seen], last: Seen | None) -> Seen | None:
    """The newest of the frames known here, oldest first, and the one that is known outside."""
    newest = seen[-1] if seen else None
    if last is None or (newest is not None and newest.seen_at >= last.seen_at):
        return newest
    return last
