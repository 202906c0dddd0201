"""From an encoded image to what the model takes, or to the frame it is like: decode, compare, cut.

Runs on the threads of the pool.
"""

import time
from dataclasses import dataclass, field
from math import inf

from PIL import Image

from engine.fingerprint import Scenes, Seen, fingerprint, from_bytes, to_bytes
from engine.images import ImageLimits
from engine.loading import Loaded
from engine.pixels import decode
from engine.protocol import Similar, Submit
from moondream2.crops import Crops, prepare
from moondream2.staging import pin


@dataclass(slots=True, eq=False)
class Job:
    """A job from its `Submit` to its ending."""

    submit: Submit
    arrived_at: float  #: monotonic
    image: Image.Image | None = None  #: kept when it is to be returned
    fingerprint: bytes | None = None  #: when it is compared with others
    timings: dict[str, float] = field(default_factory=dict)
    unsaid: str = ""  #: text of the streamed task that is still to be told
    said_at: float = -inf  #: when some was told last


class Preparation:
    """Prepares the frames for one model, and remembers what they looked like.

    Args:
        loaded: The model.
        limits: Of images.
    """

    def __init__(self, loaded: Loaded, limits: ImageLimits) -> None:
        self._vision = loaded.engine.model.config.vision
        self._device = loaded.device
        self._limits = limits
        self._max_crops = loaded.max_crops
        self._scenes = Scenes()

    def prepare(self, job: Job) -> Crops | Similar:
        """Decode a frame and cut it into crops, unless it is like the camera's last.

        Raises:
            ImageError: It cannot be decoded.
        """
        begin = time.monotonic()
        image = decode(job.submit.body, self._limits)
        if match := self._match(job, image):
            return Similar(job.submit.key, *match)
        crops = prepare(image, self._vision, self._max_crops)
        if job.submit.want_image:
            job.image = image
        job.timings["prepare"] = time.monotonic() - begin
        return pin(crops, self._device)

    def forget(self, job: Job) -> None:
        """The frame gets no caption: it does not count."""
        self._scenes.forget(job.submit.camera_id, job.submit.key)

    def _match(self, job: Job, image: Image.Image) -> tuple[str, float] | None:
        submit = job.submit
        if submit.similarity <= 0:
            return None
        print_ = fingerprint(image)
        job.fingerprint = to_bytes(print_)
        return self._scenes.match_or_add(
            submit.camera_id,
            submit.key,
            print_,
            similarity=submit.similarity,
            window_s=submit.similarity_window,
            importance=submit.importance,
            last=_last_seen(job),
        )


def _last_seen(job: Job) -> Seen | None:
    """The frame that came with a job to be compared with."""
    last = job.submit.last_frame
    if last is None or (print_ := from_bytes(last.fingerprint)) is None:
        return None
    return Seen(last.key, job.arrived_at - last.age_s, last.importance, print_)
