"""From what is published of a device to what is wanted: which messages, in which order.

The order is what leaves no orphan. An entity goes from one form of discovery to the other when its
old topic says `migrate_discovery`, the new message comes, and the old topic is cleared. Each step
shows in what is published then, so a plan that was broken off is gone on with by making a new one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

#: Makes Home Assistant let go of the entities of a topic, for another to take them over.
MIGRATE = b'{"migrate_discovery": true}'


@dataclass(frozen=True, slots=True)
class Change:
    """A retained message, in the place of the one before it on its topic."""

    topic: str
    payload: bytes  #: empty: the topic is cleared
    before: bytes | None  #: what was published there; None: nothing


def changes(published: Mapping[str, bytes], wanted: Mapping[str, bytes]) -> list[Change]:
    """What has to be published of one device, in this order.

    Args:
        published: By topic.
        wanted: By topic; all in one form, below one prefix.
    """
    new = [topic for topic, payload in wanted.items() if published.get(topic) != payload]
    old = [topic for topic in published if topic not in wanted]
    moving = [topic for topic in old if new and _is_moved(topic, published[topic], wanted)]
    steps = _removals(moving, published, wanted)
    steps += [Change(topic, MIGRATE, published[topic]) for topic in moving]
    steps += [Change(topic, wanted[topic], published.get(topic)) for topic in new]
    return [*steps, *(Change(topic, b"", published[topic]) for topic in old)]


def components_of(payload: bytes) -> dict[str, str]:
    """Platforms by key of what a device message names, also of what it says is gone."""
    return {key: platform for key, (platform, _) in _components(payload).items()}


def _is_moved(topic: str, payload: bytes, wanted: Mapping[str, bytes]) -> bool:
    """Whether an old topic's entities go on under a wanted one, in the other form."""
    place = _Place.of(topic)
    others = [_Place.of(each) for each in wanted]
    if payload == MIGRATE or not any(each.prefix == place.prefix for each in others):
        return False
    if place.key is None:
        return all(each.key is not None for each in others)
    live = {
        key for each in wanted.values() for key, (_, lives) in _components(each).items() if lives
    }
    return place.key in live


def _removals(
    moving: list[str], published: Mapping[str, bytes], wanted: Mapping[str, bytes]
) -> list[Change]:
    """Entities of a device message that do not go on, as they would be let go of but stay."""
    keys = {_Place.of(topic).key for topic in wanted}
    steps = []
    for topic in moving:
        content = _content(published[topic])
        found = _components(published[topic])
        gone = {key: {"p": platform} for key, (platform, _) in found.items() if key not in keys}
        if any(found[key][1] for key in gone):
            lasting = content["cmps"]
            assert isinstance(lasting, dict)  # noqa: S101 - `found` has been read from it
            payload = json.dumps({**content, "cmps": {**lasting, **gone}}).encode()
            steps.append(Change(topic, payload, published[topic]))
    return steps


@dataclass(frozen=True, slots=True)
class _Place:
    """What a discovery topic says."""

    prefix: str
    key: str | None  #: of a component; None: of a whole device

    @classmethod
    def of(cls, topic: str) -> "_Place":
        """Read `<prefix>/device/<id>/config` or `<prefix>/<platform>/<id>/<key>/config`."""
        levels = topic.split("/")
        if len(levels) > 3 and levels[-3] == "device":
            return cls("/".join(levels[:-3]), None)
        return cls("/".join(levels[:-4]), levels[-2] if len(levels) > 1 else "")


def _components(payload: bytes) -> dict[str, tuple[str, bool]]:
    """Platform by key of a device message, and whether it is more than a name of what is gone."""
    found = _content(payload).get("cmps")
    if not isinstance(found, dict):
        return {}
    return {
        key: (each["p"], len(each) > 1)
        for key, each in found.items()
        if isinstance(each, dict) and isinstance(each.get("p"), str)
    }


def _content(payload: bytes) -> dict[str, object]:
    """A message's JSON object; empty for what a damaged row holds."""
    try:
        content = json.loads(payload)
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
