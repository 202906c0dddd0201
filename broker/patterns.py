"""Topics of foreign systems that carry images: which to subscribe to, and whose camera it is."""

import re
from dataclasses import dataclass

from broker.topics import matches

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
        check_filter(pattern.replace(_PLACEHOLDER, "+"))
        index = levels.index(_PLACEHOLDER)
        return cls("/".join([*levels[:index], "+", *levels[index + 1 :]]), index)

    def name_of(self, topic: str) -> str | None:
        """What a topic calls its camera, whatever that is; None where the topic is another's."""
        return topic.split("/")[self.level] if matches(topic, self.topic_filter) else None


def check_filter(topic_filter: str) -> None:
    """Check a topic filter of the operator's.

    Raises:
        ValueError: A wildcard stands where MQTT does not allow it, or a level has a brace.
    """
    levels = topic_filter.split("/")
    for i, level in enumerate(levels):
        is_wildcard = level == "+" or (level == "#" and i == len(levels) - 1)
        if not is_wildcard and re.search(r"[+#{}\x00]", level):
            raise ValueError(f"{topic_filter}: {level!r} cannot be a level")


def overlap(one: str, other: str) -> bool:
    """Whether a topic can match both filters."""
    left, right = one.split("/"), other.split("/")
    for mine, theirs in zip(left, right, strict=False):
        if "#" in {mine, theirs}:
            return True
        if mine != theirs and "+" not in {mine, theirs}:
            return False
    # `a/#` matches `a` as well.
    longer = max(left, right, key=len)[min(len(left), len(right)) :]
    return longer in ([], ["#"])


def covers(outer: str, inner: str) -> bool:
    """Whether `outer` matches every topic that `inner` matches."""
    wide, narrow = outer.split("/"), inner.split("/")
    if wide[0] in {"+", "#"} and narrow[0].startswith("$"):
        return False
    for i, level in enumerate(wide):
        if level == "#":
            return True
        if i >= len(narrow) or narrow[i] == "#" or level not in {"+", narrow[i]}:
            return False
    return len(wide) == len(narrow)
