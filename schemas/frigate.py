"""What Frigate says of a tracked object or a review, read tolerantly.

From release to release Frigate adds keys, drops some and gives others another shape (known: 0.16 to
0.18). So only what names a thing is required, its id and its camera; any other value that is absent
or not of its kind counts as not said. What is not used here is not looked at.
"""

import math
import re
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST_NAME = 64  # characters of a label, a zone, a camera
_MOST_SUB_LABEL = 100  # Frigate's own limit
_MOST_LISTED = 32  # zones, detections
_LARGEST_NUMBER = 1e12  # of a time or a pixel, far above what can be

Box = tuple[float, float, float, float]


def _is_event_id(text: str) -> str:
    if not _EVENT_ID.fullmatch(text):
        raise ValueError("is not an event id of Frigate's")
    return text


#: It becomes part of a URL's path, so it has neither slashes nor dots only.
EventId = Annotated[str, AfterValidator(_is_event_id)]


class Severity(StrEnum):
    """How much Frigate makes of it; more is better known as an alert."""

    DETECTION = "detection"
    ALERT = "alert"

    @property
    def rank(self) -> int:
        """To compare them; an unknown severity has 0."""
        return 2 if self is Severity.ALERT else 1


class Subject(BaseModel):
    """A tracked object or a review, as far as it matters for a description."""

    # As with jobs: ids are never read again, and would fill pydantic's cache of strings.
    model_config = ConfigDict(frozen=True, allow_inf_nan=False, cache_strings="keys")

    id: EventId
    kind: Literal["event", "review"] = "event"
    camera: str = Field(min_length=1, max_length=_MOST_NAME, description="Frigate's name of it")
    label: str = ""
    sub_label: str | None = None
    zones: tuple[str, ...] = Field(default=(), description="entered so far")
    score: float | None = Field(default=None, description="the best so far, 0..1")
    severity: Severity | None = None
    is_false_positive: bool = False
    is_stationary: bool = False
    is_ended: bool = False
    started: float | None = Field(default=None, description="seconds since 1970, by its clock")
    stopped: float | None = Field(default=None, description="its end, the same")
    frame_time: float | None = Field(default=None, description="of the snapshot, the same")
    box: Box | None = Field(
        default=None, description="left, top, right, bottom in pixels of the detect resolution"
    )
    relative_box: Box | None = Field(default=None, description="the same in 0..1")
    detections: tuple[EventId, ...] = Field(default=(), description="of a review: its objects")

    @property
    def picture_id(self) -> str | None:
        """The event whose snapshot shows it; a review has none of its own."""
        if self.kind == "event":
            return self.id
        return self.detections[0] if self.detections else None


def read_event(content: object) -> Subject:
    """The object of a message on `events`: its `after`, or `before` where there is no other.

    Raises:
        ValueError: It names no object.
    """
    message = _object(content)
    after = _object(message.get("after")) or _object(message.get("before"))
    snapshot = _object(after.get("snapshot"))
    return _subject(
        after,
        zones=_texts(after.get("entered_zones")),
        score=_score(after.get("top_score")) or _score(after.get("score")),
        severity=_severity(after.get("max_severity")),
        is_false_positive=after.get("false_positive") is True,
        is_stationary=after.get("stationary") is True,
        is_ended=message.get("type") == "end" or _number(after.get("end_time")) is not None,
        frame_time=_number(snapshot.get("frame_time")) or _number(after.get("frame_time")),
        box=_box(snapshot.get("box")),
    )


def read_review(content: object) -> Subject:
    """The review of a message on `reviews`.

    Raises:
        ValueError: It names no review.
    """
    message = _object(content)
    after = _object(message.get("after")) or _object(message.get("before"))
    data = _object(after.get("data"))
    labels, sub_labels = _texts(data.get("objects")), _texts(data.get("sub_labels"))
    label = labels[0].removesuffix("-verified") if labels else ""  # verified: has a sub label
    return _subject(
        {**after, "label": label},
        kind="review",
        sub_label=sub_labels[0] if sub_labels else None,
        zones=_texts(data.get("zones")),
        severity=_severity(after.get("severity")),
        # `genai` follows the end.
        is_ended=message.get("type") in {"end", "genai"}
        or _number(after.get("end_time")) is not None,
        frame_time=_number(data.get("thumb_time")),
        detections=tuple(filter(_EVENT_ID.fullmatch, _texts(data.get("detections")))),
    )


def read_stored_event(content: object) -> Subject:
    """The object of `GET /api/events/{id}`, or one of `GET /api/events`.

    Raises:
        ValueError: It names no object.
    """
    event = _object(content)
    data = _object(event.get("data"))
    return _subject(
        event,
        zones=_texts(event.get("zones")),
        score=_score(event.get("top_score"))
        or _score(data.get("top_score"))
        or _score(data.get("score")),
        severity=_severity(data.get("max_severity")),
        is_false_positive=event.get("false_positive") is True,
        is_ended=_number(event.get("end_time")) is not None,
        relative_box=_corners(_box(data.get("box"))),
    )


def relative_box(box: Box, width: float, height: float) -> Box | None:
    """A box in pixels as 0..1 of a picture of this size, cut at its edges; None if none is left."""
    if width <= 0 or height <= 0:
        return None
    left, right = (min(max(0.0, x / width), 1.0) for x in (box[0], box[2]))
    top, bottom = (min(max(0.0, y / height), 1.0) for y in (box[1], box[3]))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _subject(content: dict[str, Any], **fields: Any) -> Subject:
    sub_label = _text(content.get("sub_label"), _MOST_SUB_LABEL) or None
    return Subject(
        **{
            "id": content.get("id"),
            "camera": _text(content.get("camera"), _MOST_NAME + 1),  # a longer one is refused
            "label": _text(content.get("label"), _MOST_NAME),
            "sub_label": sub_label,
            "started": _number(content.get("start_time")),
            "stopped": _number(content.get("end_time")),
            **fields,
        }
    )


def _object(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object, most: int) -> str:
    """A text, or the first of a pair of text and score."""
    if isinstance(value, list) and value:
        value = value[0]
    if not isinstance(value, str):
        return ""
    return value[:most].encode("utf-8", "replace").decode()


def _texts(value: object) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else []
    return tuple(text for each in listed[:_MOST_LISTED] if (text := _text(each, _MOST_NAME)))


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    is_sane = -_LARGEST_NUMBER < value < _LARGEST_NUMBER  # false also for NaN
    return float(value) if is_sane and math.isfinite(value) else None


def _score(value: object) -> float | None:
    number = _number(value)
    return None if number is None else min(max(0.0, number), 1.0)


def _severity(value: object) -> Severity | None:
    return Severity(value) if isinstance(value, str) and value in set(Severity) else None


def _box(value: object) -> Box | None:
    numbers = [_number(each) for each in value] if isinstance(value, list) else []
    if len(numbers) != 4 or any(each is None for each in numbers):
        return None
    left, top, right, bottom = (each for each in numbers if each is not None)
    return (left, top, right, bottom)


def _corners(box: Box | None) -> Box | None:
    """The database has left, top, width and height, in 0..1."""
    if box is None:
        return None
    left, top, width, height = box
    return relative_box((left, top, left + width, top + height), 1.0, 1.0)
