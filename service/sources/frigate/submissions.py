"""From what Frigate says of an object, and a picture of it, to a frame as any source makes it."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeGuard

from schemas.frame import FrameOptions, Priority
from schemas.frigate import Box, Subject, relative_box
from schemas.job import FrigateOrigin
from service.clock import Clock
from service.frigate_settings import FrigateSettings
from service.intake.submission import Submission
from service.sources.frigate.moments import Followed, Step
from service.sources.frigate.priority import priority_of
from service.sources.names import Named, Names

#: Width and height in pixels of what Frigate looks at, by its name of the camera.
DetectSizes = Mapping[str, tuple[float, float]]

# Nobody waits for the last description, so it may wait: Frigate keeps the object for days.
_FINAL_MAX_AGE_S = 3600.0
_OLD_S = 120.0  # after its end the rest of the queue matters more
_LONGEST_NAME = 48  # characters of an event id in a job's, which has 64
_MOST_ZONES = 16  # of metadata, which has 8 KiB
_LARGEST_SIDE = 1 << 16  # pixels
_LATEST = 4_102_444_800.0  # the year 2100
_SIDES = ("x_min", "y_min", "x_max", "y_max")
_INTENSITIES = {
    Priority.CRITICAL: 0.9,
    Priority.HIGH: 0.7,
    Priority.NORMAL: 0.5,
    Priority.LOW: 0.2,
}


def camera_named(settings: FrigateSettings, names: Names, camera: str) -> Named | None:
    """Our camera for one of Frigate's; None where that has no name."""
    own = settings.cameras.get(camera)
    by_hand = None if own is None or own.camera is None else {camera: own.camera}
    return names.find(camera, by_hand)


def job_id_of(each: Followed, moment: Step) -> str:
    """The id of a description's job: the same again, as after a crash, is not run again."""
    name = re.sub(r"[^A-Za-z0-9_-]", "_", each.subject.id)
    if len(name) > _LONGEST_NAME:
        digest = hashlib.sha256(each.subject.id.encode()).hexdigest()[:12]
        name = f"{name[: _LONGEST_NAME - 13]}-{digest}"
    last = "final" if moment is Step.FINAL else str(each.num_described + 1)
    prefix = "" if each.subject.kind == "event" else "r-"
    return f"{prefix}{name}-{last}"


class Submissions:
    """Makes them.

    Args:
        settings: Which camera is whose, and what is asked.
        reviews: The review that an event is part of, by event; it may grow.
        names: Of Frigate's cameras.
        clock: For times of arrival.

    Attributes:
        detect_sizes: As far as they are known; without one a box cannot be told in 0..1.
    """

    def __init__(
        self, settings: FrigateSettings, reviews: Mapping[str, str], names: Names, clock: Clock
    ) -> None:
        self._settings = settings
        self._reviews = reviews
        self._names = names
        self._clock = clock
        self.detect_sizes: DetectSizes = {}

    def camera_of(self, subject: Subject) -> Named | None:
        """Whose its frames are; None where it names no camera."""
        return camera_named(self._settings, self._names, subject.camera)

    def of(self, each: Followed, moment: Step, camera: Named, image: bytes) -> Submission:
        """The frame of an object or a review at one of its moments."""
        subject = each.subject
        return Submission(
            camera_id=camera.camera_id,
            options=self._options(each, moment),
            image=image,
            frame_url=None,
            origin=origin_of(subject),
            content=image,
            arrived_at=self._clock.now(),
            arrived_monotonic=self._clock.monotonic(),
            frigate=self._origin(subject, moment),
            camera_name=camera.name,
            source="frigate",
        )

    def priority(self, each: Followed) -> Priority:
        """How urgent its next description is."""
        since_end = 0.0 if each.ended is None else self._clock.monotonic() - each.ended
        is_old = each.is_old or since_end > _OLD_S
        return priority_of(each.subject, is_told=each.num_described > 0, is_old=is_old)

    def metadata(self, subject: Subject, moment: Step) -> dict[str, Any]:
        """What stands in `metadata.frigate` of the result."""
        box = None if self._settings.crop else self._box(subject)
        review_id = subject.id if subject.kind == "review" else self._reviews.get(subject.id)
        return {
            "event_id": subject.picture_id,
            "review_id": review_id,
            "moment": moment.value,
            "label": subject.label or None,
            "sub_label": subject.sub_label,
            "zones": list(subject.zones[:_MOST_ZONES]),
            "severity": subject.severity.value if subject.severity else None,
            "score": subject.score,
            "box": None if box is None else dict(zip(_SIDES, box, strict=True)),
        }

    def _options(self, each: Followed, moment: Step) -> FrameOptions:
        priority = self.priority(each)
        return FrameOptions(
            job_id=job_id_of(each, moment),
            motion_intensity=_INTENSITIES[priority],
            priority=priority,
            timestamp=_time_of(each.subject.frame_time),
            metadata={"frigate": self.metadata(each.subject, moment)},
            max_age=_FINAL_MAX_AGE_S if moment is Step.FINAL else None,
        )

    def _origin(self, subject: Subject, moment: Step) -> FrigateOrigin:
        is_final = moment is Step.FINAL
        return FrigateOrigin(
            event_id=subject.picture_id or subject.id,
            is_final=is_final,
            write_back=is_final and self._settings.write_back,
            sub_label=self._settings.sub_label.task if is_final else None,
        )

    def _box(self, subject: Subject) -> Box | None:
        if subject.relative_box is not None or subject.box is None:
            return subject.relative_box
        size = self.detect_sizes.get(subject.camera)
        if size is None:
            return None
        box = relative_box(subject.box, *size)
        return None if box is None else _rounded(box)


def origin_of(subject: Subject) -> str:
    """Its name in a dead letter, where others have a topic."""
    return f"frigate {subject.kind} {subject.id}"


def detect_sizes(config: object) -> dict[str, tuple[float, float]]:
    """The sizes that `GET /api/config` tells; what is not understood is left out."""
    cameras = config.get("cameras") if isinstance(config, dict) else None
    found = {}
    for name, each in cameras.items() if isinstance(cameras, dict) else ():
        detect = each.get("detect") if isinstance(each, dict) else None
        if isinstance(detect, dict):
            width, height = detect.get("width"), detect.get("height")
            if _is_side(width) and _is_side(height):
                found[str(name)] = (float(width), float(height))
    return found


def _is_side(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 < value <= _LARGEST_SIDE


def _rounded(box: Box) -> Box:
    left, top, right, bottom = (round(each, 4) for each in box)
    return (left, top, right, bottom)


def _time_of(seconds: float | None) -> datetime | None:
    """A moment that Frigate tells; None where it is none."""
    if seconds is None or not 0 < seconds < _LATEST:
        return None
    return datetime.fromtimestamp(seconds, UTC)
