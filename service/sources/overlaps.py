"""Topics that two want to read, or that the service itself speaks on: the operator hears of them.

The first that claims a topic reads it (see `stages`): requests and settings, triggers, Frigate, our
own frame topics, then the sources in their order. What is behind another is never asked.
"""

from collections.abc import Iterator

from broker.patterns import CameraPattern, covers, overlap
from broker.topics import TABLE, Topics
from service.settings import Settings

_Filters = list[tuple[str, str]]  # what they are of, and the topic filter


def doubts(settings: Settings) -> Iterator[tuple[str, str]]:
    """The settings of sources and triggers that would not do what they seem to, and why."""
    topics = Topics(settings.mqtt.base_topic)
    triggers = [
        (f"triggers.{i}", filter_of(each.topic))
        for i, each in enumerate(settings.triggers)
        if each.topic is not None
    ]
    sources = [(f"sources.{i}", filter_of(each.topic)) for i, each in enumerate(settings.sources)]
    for name, topic_filter in (*triggers, *sources):
        if problem := _of_our_own(topics, topic_filter):
            yield f"{name}.topic", problem
    for i, (name, topic_filter) in enumerate(sources):
        before = [*triggers, *frigates(settings), *sources[:i]]
        if problem := _behind(topic_filter, before) or _of_frigate(settings, topic_filter):
            yield f"{name}.topic", problem


def filter_of(pattern: str) -> str:
    """What is subscribed to for a pattern, with or without a {camera} level."""
    return CameraPattern.compile(pattern).topic_filter if "{camera}" in pattern else pattern


def _of_our_own(topics: Topics, topic_filter: str) -> str | None:
    base = topics.base
    spoken = [each.topic_filter(base) for each in TABLE if each.direction == "out"]
    spoken.append(f"{base}/response/#")
    if any(covers(each, topic_filter) for each in spoken):
        return "the service itself publishes there, which is never read: name the camera's topic"
    if covers(topics.frame_filter, topic_filter):
        return "the service's own frame topics are read without it: remove it"
    if any(overlap(each, topic_filter) for each in spoken):
        return (
            f"it takes in what the service itself publishes below {base}, which is ignored: "
            "a narrower pattern saves the traffic"
        )
    return None


def frigates(settings: Settings) -> _Filters:
    """What is subscribed to of Frigate."""
    frigate = settings.frigate
    if not frigate.enabled:
        return []
    wanted = {"events": frigate.events, "reviews": frigate.reviews, "available": True}
    names = [name for name, is_wanted in wanted.items() if is_wanted]
    if frigate.url is None:
        names = ["+/+/snapshot"]
    return [("frigate", f"{frigate.topic_prefix}/{name}") for name in names]


def _of_frigate(settings: Settings, topic_filter: str) -> str | None:
    """Over HTTP its snapshot topics are not read, and its objects are all the same."""
    frigate = settings.frigate
    if not frigate.enabled or not covers(f"{frigate.topic_prefix}/+/+/snapshot", topic_filter):
        return None
    return "frigate.enabled follows these objects already, which are captioned twice: remove it"


def _behind(topic_filter: str, before: _Filters) -> str | None:
    """Who of those that come first leaves it nothing, or not all of it."""
    for name, earlier in before:
        if covers(earlier, topic_filter):
            return f"all of it is read by {name}, so it is never used: remove one of the two"
    for name, earlier in before:
        # The narrower one first is how exceptions are made.
        if overlap(earlier, topic_filter) and not covers(topic_filter, earlier):
            return f"some of its topics are read by {name}, which comes first: make one narrower"
    return None
