"""Which camera a topic means: our own frame topics, and the operator's patterns."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.patterns import CameraPattern
from broker.topics import Topics


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a frame from its topic alone."""

    camera_id: str
    motion_intensity: float  #: where the frame does not say it
    accept_retained: bool  #: a retained message is taken for motion


@dataclass(frozen=True, slots=True)
class Source:
    """A topic of a foreign system that carries images."""

    pattern: CameraPattern
    motion_intensity: float
    accept_retained: bool


class Routes:
    """Finds the route of a topic.

    Args:
        topics: Ours come first.
        sources: The operator's, in the order of the configuration.
        motion_intensity: Of frames on our own topics that do not say it.
    """

    def __init__(
        self, topics: Topics, sources: Sequence[Source], motion_intensity: float = 0.5
    ) -> None:
        self._topics = topics
        self._sources = sources
        self._motion_intensity = motion_intensity

    def find(self, topic: str) -> Route | None:
        """The route, or None when the topic names no valid camera."""
        if camera_id := self._topics.camera_of_frame(topic):
            return Route(camera_id, self._motion_intensity, accept_retained=False)
        for source in self._sources:
            if camera_id := source.pattern.camera_of(topic):
                return Route(camera_id, source.motion_intensity, source.accept_retained)
        return None
