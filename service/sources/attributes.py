"""What is said of a picture on another topic, joined to it: ring-mqtt and Viseron do so.

The two come within moments, either first. A picture waits for its attributes, for 2 s at most, and
holds up no other meanwhile; where a camera's picture has waited in vain its next ones do not wait,
until there are attributes again.
"""

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

from broker.codec import PayloadError, validate
from schemas.frame import FrameOptions
from service.intake.submission import Submission

WITHIN_S = 2.0
_MOST_WAITING = 8  # pictures; acknowledgements wait behind them, in order of arrival
_MOST_CAMERAS = 1024  # whoever may publish may invent names; the oldest are forgotten

Attributes = dict[str, Any]


@dataclass(slots=True, eq=False)
class _Waiting:
    submission: Submission
    complete: "asyncio.Future[Submission]"


@dataclass(slots=True)
class AttributeJoin:
    """Pictures without their attributes, and attributes without their picture, by camera.

    Args:
        within_s: How long one waits for the other.
    """

    within_s: float = WITHIN_S
    _waiting: dict[str, list[_Waiting]] = field(default_factory=dict)
    _early: dict[str, tuple[float, Attributes]] = field(default_factory=dict)  # and when they came
    _in_vain: dict[str, None] = field(default_factory=dict)  # cameras; in order, as a set is not

    @property
    def num_waiting(self) -> int:
        """Pictures."""
        return sum(map(len, self._waiting.values()))

    def tell(self, camera_id: str, attributes: Attributes, at: float) -> None:
        """Attributes of a camera's picture have come; `at` is on the monotonic clock."""
        self._in_vain.pop(camera_id, None)
        if waiting := self._waiting.get(camera_id):
            self._end(waiting[0], _joined(waiting[0].submission, attributes))
            return
        self._early.pop(camera_id, None)
        self._early[camera_id] = (at, attributes)
        if len(self._early) > _MOST_CAMERAS:
            del self._early[next(iter(self._early))]

    def join(self, submission: Submission) -> "Submission | asyncio.Future[Submission]":
        """A picture with its attributes, or what it is once they have come, or not."""
        camera_id = submission.camera_id
        came_at, attributes = self._early.pop(camera_id, (0.0, None))
        if attributes is not None and submission.arrived_monotonic - came_at <= self.within_s:
            return _joined(submission, attributes)
        if camera_id in self._in_vain or self.num_waiting >= _MOST_WAITING:
            return submission
        loop = asyncio.get_running_loop()
        waiting = _Waiting(submission, loop.create_future())
        self._waiting.setdefault(camera_id, []).append(waiting)
        loop.call_later(self.within_s, self._give_up, waiting)
        return waiting.complete

    def _give_up(self, waiting: _Waiting) -> None:
        if waiting.complete.done():
            return
        self._in_vain[waiting.submission.camera_id] = None
        if len(self._in_vain) > _MOST_CAMERAS:
            del self._in_vain[next(iter(self._in_vain))]
        self._end(waiting, waiting.submission)

    def _end(self, waiting: _Waiting, submission: Submission) -> None:
        camera_id = submission.camera_id
        others = [each for each in self._waiting.get(camera_id, ()) if each is not waiting]
        self._waiting[camera_id] = others
        if not others:
            del self._waiting[camera_id]
        if not waiting.complete.done():  # the service stops: nobody waits any more
            waiting.complete.set_result(submission)


def _joined(submission: Submission, attributes: Attributes) -> Submission:
    """With attributes as far as there is room: metadata comes back with every status."""
    metadata = {**submission.options.metadata, "attributes": attributes}
    try:
        checked = validate(FrameOptions, {"metadata": metadata})
    except PayloadError:
        return submission
    options = submission.options.model_copy(update={"metadata": checked.metadata})
    return replace(submission, options=options)
