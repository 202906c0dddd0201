"""Pictures at motion and by the clock become frames.

What begins a burst is a step from off to on, a repetition while motion lasts, or the clock. Each
camera of each trigger has one burst at a time; what begins meanwhile is part of it. A picture that
cannot be had is a rejected frame of the camera, with the reason.
"""

import asyncio
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from schemas.frame import FrameOptions
from schemas.job import ErrorDetail
from schemas.status import HealthCheck
from service.boundary import contained, keep_running
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.documents import Rejection
from service.errors import FrameError
from service.intake.submission import Outcome, Submission
from service.logs import Throttle
from service.trigger_settings import TriggerSettings
from service.triggers.bursts import Bursts, Picture
from service.triggers.motion import Edges, Motion
from service.triggers.snapshots import SuspendedError
from service.triggers.tally import Tally, name_of

logger = logging.getLogger(__name__)

_MOST_BURSTS = 256  # that run or wait; beyond it motion takes no picture
_MOST_OF_TRIGGER = 64  # of these: whoever may publish may invent cameras
_MOST_TOLD = 4096  # suspensions that cameras were told of
_LONGEST_TOPIC = 256  # characters, in metadata
_LONGEST_OFFSET_S = 60.0  # until the first picture by the clock
_GOLDEN = 0.6180339887498949  # of a circle: its multiples are spread evenly, however many there are

Submit = Callable[[Sequence[Submission | Rejection]], Awaitable[list[Outcome]]]


@dataclass(frozen=True, slots=True)
class _Cause:
    """Why pictures are taken."""

    trigger: int
    camera_id: str
    topic: str | None  #: None: by the clock
    name: str | None = None  #: what the sender calls the camera

    @property
    def origin(self) -> str:
        """For a dead letter."""
        return self.topic or name_of(self.trigger)


class Triggers:
    """Takes pictures and hands them to intake.

    Args:
        settings: The triggers.
        bursts: Take pictures.
        submit: Hands frames to intake.
        cameras: Which of them are switched off.
        clock: For times of arrival.
    """

    def __init__(
        self,
        settings: Sequence[TriggerSettings],
        bursts: Bursts,
        submit: Submit,
        cameras: Cameras,
        clock: Clock,
    ) -> None:
        self._settings = settings
        self._bursts = bursts
        self._submit = submit
        self._cameras = cameras
        self._clock = clock
        self._edges = Edges(settings)
        self._tally = Tally(settings)
        self._active: set[tuple[int, str]] = set()
        self._wanted: asyncio.Queue[_Cause] = asyncio.Queue()
        self._told: dict[tuple[int, str], float] = {}
        self._warnings = Throttle()

    def hear(self, motion: Motion) -> None:
        """Take note of what a message said; pictures are taken by `run`."""
        if not self._edges.rises(motion, self._clock.monotonic()):
            return
        key = (motion.trigger, motion.camera_id)
        if key in self._active:
            return
        if self._is_full(motion.trigger):
            self._tally.skipped(motion.trigger)
            if self._warnings.allows("busy", self._clock.monotonic()):
                logger.warning("too many pictures wait, motion is skipped", extra=_SKIPPED)
            return
        self._active.add(key)
        self._wanted.put_nowait(_Cause(*key, motion.topic[:_LONGEST_TOPIC], motion.name))

    def _is_full(self, trigger: int) -> bool:
        if len(self._active) >= _MOST_BURSTS:
            return True
        return sum(number == trigger for number, _ in self._active) >= _MOST_OF_TRIGGER

    def check(self) -> HealthCheck:
        """For `bridge/health`."""
        return self._tally.check()

    def trigger_of(self, camera_id: str) -> tuple[int, str | None] | None:
        """The trigger that knows where a camera's picture is, and what its sender calls it.

        The name is None where the settings say whose the picture is; all is None: no trigger does.
        """
        for number, each in enumerate(self._settings):
            if camera_id in each.named_cameras:
                return number, None
        return self._edges.trigger_of(camera_id)

    async def run(self) -> None:
        """Take pictures for ever."""
        self._active.clear()
        async with asyncio.TaskGroup() as tasks:
            for number, each in enumerate(self._settings):
                if each.every is not None:
                    cause = _Cause(number, str(each.camera), None)
                    by_the_clock = self._by_the_clock(cause, each.every)
                    tasks.create_task(by_the_clock, name=name_of(number))
            while True:
                cause = await self._wanted.get()
                name = f"{name_of(cause.trigger)} {cause.camera_id}"
                tasks.create_task(self._follow(cause), name=name)

    async def _by_the_clock(self, cause: _Cause, every_s: float) -> None:
        """Take pictures at even intervals, each trigger at its own moments."""
        due = self._clock.monotonic() + offset_s(cause.trigger, every_s)
        while True:
            await asyncio.sleep(due - self._clock.monotonic())
            await self._take(cause)
            late_s = max(0.0, self._clock.monotonic() - due)
            due += every_s * (1 + math.floor(late_s / every_s))  # what was missed is not made up

    async def _follow(self, cause: _Cause) -> None:
        """Take pictures of one motion, again while it lasts."""
        trigger, key = self._settings[cause.trigger], (cause.trigger, cause.camera_id)
        try:
            await self._take(cause)
            while trigger.repeat:
                await asyncio.sleep(trigger.repeat)
                if not self._edges.is_on(*key, self._clock.monotonic()):
                    return
                await self._take(cause)
        finally:
            self._active.discard(key)

    async def _take(self, cause: _Cause) -> None:
        """Take a burst; whatever goes wrong with it is its own matter."""
        camera = self._cameras.get(cause.camera_id)
        if camera is not None and not camera.settings.enabled:
            self._tally.skipped(cause.trigger)  # who is switched off is not looked at either
            return
        with contained(f"no picture can be taken for {name_of(cause.trigger)}"):
            try:
                await self._hand_over_all(cause)
            except SuspendedError as error:
                self._tally.failed(cause.trigger, str(error))
                if self._is_news(cause, error.until):
                    await self._reject(cause, error)
            except FrameError as error:
                self._tally.failed(cause.trigger, str(error))
                await self._reject(cause, error)

    async def _hand_over_all(self, cause: _Cause) -> None:
        trigger, burst_id = self._settings[cause.trigger], uuid.uuid4().hex
        pictures = self._bursts.take(cause.trigger, cause.camera_id, trigger.burst, cause.name)
        async for picture in pictures:
            self._tally.taken(cause.trigger)
            await self._hand_over(self._submission(cause, burst_id, picture))

    async def _reject(self, cause: _Cause, error: FrameError) -> None:
        detail = ErrorDetail(code=error.code, message=str(error))
        await self._hand_over(
            Rejection(cause.origin, cause.camera_id, job_id=None, size=0, sha256=None, error=detail)
        )

    async def _hand_over(self, item: Submission | Rejection) -> None:
        """Hand a frame over until it is known that it is committed; its id makes it one."""
        submit = partial(self._submit, [item])

        async def until_committed() -> None:
            await submit()

        await keep_running(until_committed, "the intake of triggers")

    def _submission(self, cause: _Cause, burst_id: str, picture: Picture) -> Submission:
        trigger = self._settings[cause.trigger]
        said = {"topic": cause.topic} if cause.topic else {"every": trigger.every}
        metadata: dict[str, Any] = {"source": {"type": "trigger", **said}}
        if trigger.burst.frames > 1:
            count = trigger.burst.frames
            metadata["burst"] = {"id": burst_id, "index": picture.index, "count": count}
        return Submission(
            camera_id=cause.camera_id,
            options=FrameOptions(job_id=str(uuid.uuid4()), metadata=metadata),
            image=picture.image,
            frame_url=None,
            origin=cause.origin,
            content=picture.image,
            arrived_at=self._clock.now(),
            arrived_monotonic=self._clock.monotonic(),
            motion_intensity=trigger.motion_intensity,
            camera_name=cause.name,
            source="trigger",
        )

    def _is_news(self, cause: _Cause, until: float) -> bool:
        """Whether a camera has not been told yet of a suspension."""
        key = (cause.trigger, cause.camera_id)
        if self._told.get(key) == until:
            return False
        if len(self._told) >= _MOST_TOLD:
            self._told.clear()
        self._told[key] = until
        return True


def offset_s(number: int, every_s: float) -> float:
    """Seconds from the start to a trigger's first picture, so that not all are taken at once."""
    return number * _GOLDEN % 1.0 * min(every_s, _LONGEST_OFFSET_S)


_SKIPPED = {"action": "trigger_skipped"}
