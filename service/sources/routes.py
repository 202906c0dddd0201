"""Which camera a topic means: our own frame topics, and the operator's patterns."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.options import Subscription
from broker.patterns import CameraPattern
from broker.topics import Topics
from service.settings import SourceSettings


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a frame from its topic alone."""

    camera_id: str
    motion_intensity: float  #: where the frame does not say it
    accept_retained: bool  #: a retained message is taken for motion


class Routes:
    """Finds the route of a topic.

    Args:
        topics: Ours come first.
        sources: The operator's, in the order of the configuration.
        motion_intensity: Of frames on our own topics that do not say it.
    """

    def __init__(
        self, topics: Topics, sources: Sequence[SourceSettings], motion_intensity: float = 0.5
    ) -> None:
        self._topics = topics
        self._sources = [(CameraPattern.compile(each.topic), each) for each in sources]
        self._motion_intensity = motion_intensity

    @property
    def subscriptions(self) -> list[Subscription]:
        """The topic filters of all."""
        return [
            Subscription(self._topics.frame_filter),
            *(
                Subscription(pattern.topic_filter, accept_retained=source.accept_retained)
                for pattern, source in self._sources
            ),
        ]

    def find(self, topic: str) -> Route | None:
        """The route, or None when the topic names no valid camera."""
        if camera_id := self._topics.camera_of_frame(topic):
            return Route(camera_id, self._motion_intensity, accept_retained=False)
        for pattern, source in self._sources:
            if camera_id := pattern.camera_of(topic):
                return Route(camera_id, source.motion_intensity, source.accept_retained)
        return None
