"""Topics of foreign systems that carry images: which to subscribe to, and whose camera it is."""

import re
from dataclasses import dataclass

from broker.topics import matches
from schemas.frame import is_camera_id

_PLACEHOLDER = "{camera}"


@dataclass(frozen=True, slots=True)
class CameraPattern:
    """A topic pattern with one `{camera}` level, e.g. `ring/+/camera/{camera}/snapshot/image`."""

    topic_filter: str  #: what to subscribe to
    level: int  #: index of the level that names the camera

    @classmethod
    def compile(cls, pattern: str) -> "CameraPattern":
        """Read a pattern; besides `{camera}` it may hold MQTT's own wildcards.

        Raises:
            ValueError: Not exactly one level is `{camera}`, or a wildcard stands where MQTT does
                not allow it.
        """
        levels = pattern.split("/")
        if levels.count(_PLACEHOLDER) != 1:
            raise ValueError(f"{pattern}: exactly one level must be {_PLACEHOLDER}")
        for i, level in enumerate(levels):
            is_wildcard = level == "+" or (level == "#" and i == len(levels) - 1)
            if not is_wildcard and level != _PLACEHOLDER and re.search(r"[+#{}\x00]", level):
                raise ValueError(f"{pattern}: {level!r} cannot be a level")
        index = levels.index(_PLACEHOLDER)
        return cls("/".join([*levels[:index], "+", *levels[index + 1 :]]), index)

    def camera_of(self, topic: str) -> str | None:
        """The camera of a topic; None where the topic is another's or names no camera."""
        if not matches(topic, self.topic_filter):
            return None
        camera_id = topic.split("/")[self.level]
        return camera_id if is_camera_id(camera_id) else None
