"""The log's lines of a start: what the engine does, how a download gets on, when it is ready.

Few and good: a line for each step, one for every few percent of a download, and when a model fails
to load again and again for the same reason, one in ten minutes.
"""

import logging
import time
from collections.abc import Callable

from engine.protocol import LoadFailed, Loading, Ready
from service.engines.speed import ways_to_be_faster

logger = logging.getLogger(__name__)

_MIN_SHARE = 0.05  # of a download between two lines,
_MIN_PAUSE_S = 5.0  # and the time between them
_SAME_FAILURE_S = 600.0


class LoadLog:
    """The lines of one engine.

    Args:
        monotonic: Seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._began_at = monotonic()
        self._last: tuple[float, float] | None = None  # of the download: when, and which share
        self._failure, self._failed_at = "", 0.0

    def begin(self) -> None:
        """An engine is started."""
        self._began_at, self._last = self._monotonic(), None

    def step(self, loading: Loading) -> None:
        """What it does now."""
        now = self._monotonic()
        if loading.share is not None and self._last is not None:
            told_at, share = self._last
            if now - told_at < _MIN_PAUSE_S or loading.share - share < _MIN_SHARE:
                return
        if loading.share is not None:
            self._last = now, loading.share
        logger.info("%s", loading.message, extra={"action": "model_loading"})

    def ready(self, ready: Ready) -> None:
        """How long it took, and how long a frame will."""
        seconds = self._monotonic() - self._began_at
        self._failure = ""
        text = f"ready on {ready.device} in {seconds:.0f} s{_pace(ready)}"
        logger.info("%s", text, extra={"action": "model_ready"})

    def failed(self, failure: LoadFailed) -> None:
        """Why it is not loaded, and whether that may change."""
        now = self._monotonic()
        if failure.message == self._failure and now - self._failed_at < _SAME_FAILURE_S:
            return
        self._failure, self._failed_at = failure.message, now
        next_ = "it is tried again" if failure.can_retry else "nothing is captioned until it can be"
        logger.error(
            "the model cannot be loaded: %s; %s",
            failure.message,
            next_,
            extra={"action": "model_failed"},
        )


def _pace(ready: Ready) -> str:
    """What was measured at the start, and which settings would help."""
    seconds = ready.seconds_per_frame
    if seconds is None:
        return ""
    number = f"{seconds:.0f}" if seconds >= 10 else f"{seconds:.2g}"
    crops = "" if ready.max_crops is None else f" with model.max_crops {ready.max_crops}"
    text = f"; a frame takes about {number} s here{crops}"
    if not (ways := ways_to_be_faster(ready)):
        return text
    return f"{text}: {' or '.join(ways)} {'makes' if len(ways) == 1 else 'make'} it faster"
