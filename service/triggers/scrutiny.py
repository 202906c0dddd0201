"""Looks at pictures before they are frames: in a child, because only a child decodes pixels.

A burst needs it to find its best picture. A single picture needs it only when it has so few bytes
that it may be of one colour, as a covered camera sends, or one that starts.
"""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import asdict

from engine.images import ImageLimits, inspect
from engine.sight import Seen, ask, read_answer
from service.engines.child import child_environment
from service.errors import FrameError

_LONGEST_S = 30.0  # starting Python on a busy machine; ten pictures take under a second
_MOST_AT_ONCE = 2  # children; each takes a core
# Bytes a pixel: a JPEG of one colour has 0.016, the dark with a sensor's noise 0.03 and more, which
# a real scene at night can have as well. Higher, and each picture of such a night costs a child.
_FEW_BYTES = 0.02


class Scrutiny:
    """Looks at pictures.

    Args:
        limits: What an image may be.
    """

    def __init__(self, limits: ImageLimits) -> None:
        self._limits = limits
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)

    def may_be_flat(self, picture: bytes) -> bool:
        """Whether a picture within the limits has so few bytes that it is worth a look."""
        header = inspect(picture, self._limits)
        return len(picture) < _FEW_BYTES * header.width * header.height

    async def look(self, pictures: Sequence[bytes], last: bytes | None) -> Sequence[Seen]:
        """What each picture shows.

        Args:
            pictures: Of one camera.
            last: Fingerprint of its last captioned picture.

        Raises:
            FrameError: `fetch_failed`: the child has died of them.
            TimeoutError: The machine is too busy.
        """
        question = ask(pictures, last, asdict(self._limits))
        async with self._slots, asyncio.timeout(_LONGEST_S):
            output = await _run(question)
        try:
            return read_answer(output)
        except ValueError as error:  # it has died
            raise FrameError("fetch_failed", "the picture cannot be decoded") from error


def choose(seen: Sequence[Seen], similarity: float) -> int:
    """The best picture of a burst: the sharpest of those that show something new.

    Args:
        seen: At least one.
        similarity: Least likeness that counts as the same; 0: all show something new.

    Raises:
        FrameError: `fetch_failed`: none shows anything.
    """
    sound = [i for i, each in enumerate(seen) if each.problem is None and not each.is_flat]
    if not sound:
        problem = next((each.problem for each in seen if each.problem is not None), None)
        flat = "the picture is of one colour: the camera is covered, or has just been started"
        raise FrameError("fetch_failed", problem or flat)
    new = [i for i in sound if not similarity or seen[i].likeness < similarity]
    return max(new or sound, key=lambda i: seen[i].sharpness)


async def _run(question: bytes) -> bytes:
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.burst"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,  # Ctrl-C is the service's matter
        env=child_environment(),
    )
    try:
        output, _ = await child.communicate(question)
    finally:
        if child.returncode is None:
            child.kill()
            await asyncio.shield(child.wait())
    return output
