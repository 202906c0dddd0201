"""What a message says about motion, and when that is news.

A sender says "on" when motion begins and often again while it lasts; only the step from off to on
is news. What was retained is a replay: the sources leave it out before it comes here. Pure: no I/O
and no clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from broker.codec import PayloadError, read_json
from broker.patterns import CameraPattern
from broker.topics import matches
from service.trigger_settings import CAMERA, CameraAt, TriggerSettings, ValueAt

_LONGEST_TEXT = 256  # bytes of a message that is one text
_MOST_STATES = 4096  # whoever may publish may invent cameras; the longest silent is forgotten


@dataclass(frozen=True, slots=True)
class Motion:
    """What a message says."""

    trigger: int  #: place in the settings
    camera_id: str
    is_on: bool
    topic: str
    name: str | None = None  #: what the sender calls the camera; None where the settings say whose


class UnknownCameraError(Exception):
    """The message names no camera."""


#: The camera of a foreign name, by what the operator's file says of names or else by the name.
CameraOf = Callable[[str, Mapping[str, str]], str | None]


class MotionReader:
    """Reads the messages of one trigger.

    Args:
        number: Place in the settings.
        trigger: Has a topic.
        camera_of: Finds cameras.
    """

    def __init__(self, number: int, trigger: TriggerSettings, camera_of: CameraOf) -> None:
        topic = trigger.topic or ""
        pattern = CameraPattern.compile(topic) if CAMERA in topic.split("/") else None
        self.topic_filter = topic if pattern is None else pattern.topic_filter
        self._level = None if pattern is None else pattern.level
        self._number = number
        self._trigger = trigger
        self._camera_of = camera_of
        texts = trigger.when.values if isinstance(trigger.when, ValueAt) else trigger.when
        self._on = {each.casefold() for each in texts}

    def claims(self, topic: str) -> bool:
        """Whether a message on this topic is for this trigger."""
        return matches(topic, self.topic_filter)

    def read(self, topic: str, payload: bytes) -> Motion | None:
        """What it says; None where that is nothing about motion.

        Raises:
            UnknownCameraError: There is motion, nobody knows where.
        """
        content = self._content(payload)
        is_on = self._is_on(payload, content)
        if is_on is None:
            return None
        camera = self._camera(topic, content)
        if camera is not None:
            camera_id, name = camera
            return Motion(self._number, camera_id, is_on, topic, name)
        if is_on:
            raise UnknownCameraError
        return None

    def _content(self, payload: bytes) -> Any:
        """The message as JSON, where a field of it is asked for; None where it is none."""
        is_field = isinstance(self._trigger.when, ValueAt)
        if not is_field and not isinstance(self._trigger.camera, CameraAt):
            return None
        try:
            return read_json(payload)
        except PayloadError:
            return None

    def _is_on(self, payload: bytes, content: Any) -> bool | None:
        when = self._trigger.when
        text = _text_at(content, when.path) if isinstance(when, ValueAt) else _text(payload)
        return None if text is None else text.casefold() in self._on

    def _camera(self, topic: str, content: Any) -> tuple[str, str | None] | None:
        """Whose motion it is, and what the sender calls it unless the settings say whose."""
        camera, by_hand = self._trigger.camera, dict[str, str]()
        if isinstance(camera, CameraAt):
            name, by_hand = _text_at(content, camera.path) or "", camera.map
        elif camera is not None:
            return camera, None
        else:
            name = topic.split("/")[self._level or 0]
        camera_id = self._camera_of(name, by_hand)
        return None if camera_id is None else (camera_id, None if name in by_hand else name)


@dataclass(slots=True)
class _State:
    is_on: bool
    said_at: float
    began_at: float  #: when motion was news
    name: str | None  #: what the sender calls the camera


class Edges:
    """Knows where there is motion, and tells when it begins.

    Args:
        triggers: In the order of the settings.
    """

    def __init__(self, triggers: Sequence[TriggerSettings]) -> None:
        self._triggers = triggers
        self._states: dict[tuple[int, str], _State] = {}

    def rises(self, motion: Motion, now: float) -> bool:
        """Whether motion begins with what was said `now`, a moment on the monotonic clock.

        Not within the trigger's cooldown after it has begun before.
        """
        trigger, key = self._triggers[motion.trigger], (motion.trigger, motion.camera_id)
        was_on = self.is_on(*key, now)
        state = self._states.pop(key, None)  # the newest stands last
        began_at = -inf if state is None else state.began_at
        is_news = motion.is_on and not was_on and now - began_at >= trigger.cooldown
        self._states[key] = _State(motion.is_on, now, now if is_news else began_at, motion.name)
        if len(self._states) > _MOST_STATES:
            del self._states[next(iter(self._states))]
        return is_news

    def is_on(self, trigger: int, camera_id: str, now: float) -> bool:
        """Whether motion lasts."""
        state = self._states.get((trigger, camera_id))
        if state is None or not state.is_on:
            return False
        return now - state.said_at <= self._triggers[trigger].off_delay

    def trigger_of(self, camera_id: str) -> tuple[int, str | None] | None:
        """The trigger that has last said something of a camera, and what it called it.

        None: none has.
        """
        for number, each in reversed(self._states):
            if each == camera_id:
                return number, self._states[number, each].name
        return None


def _text(payload: bytes) -> str | None:
    """A message of one text; None for none, as an empty one that clears what was retained."""
    if not payload or len(payload) > _LONGEST_TEXT:
        return None
    try:
        text = payload.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        return None
    return text.strip('"') or None


def _text_at(content: Any, path: str) -> str | None:
    """A value inside of JSON as text; None where there is none, or more than one."""
    for name in path.split("."):
        if not isinstance(content, dict) or name not in content:
            return None
        content = content[name]
    if isinstance(content, bool):
        return "true" if content else "false"
    return str(content) if isinstance(content, str | int | float) else None
