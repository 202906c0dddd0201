"""Which camera a topic means: our own frame topics, and the operator's patterns."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.options import Subscription
from broker.patterns import CameraPattern
from broker.topics import Topics, matches
from service.settings import SourceSettings
from service.sources.forms import Foreign
from service.sources.names import Names


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a frame from its topic alone."""

    camera_id: str
    motion_intensity: float  #: where the frame does not say it
    accept_retained: bool  #: a retained message is taken for motion
    foreign: Foreign | None = None  #: None for our own topic
    camera_name: str | None = None  #: what a foreign topic calls the camera


class _SourceRoute:
    """One entry of `sources`."""

    def __init__(self, source: SourceSettings, names: Names) -> None:
        self._source = source
        self._names = names
        self._pattern = None if source.camera else CameraPattern.compile(source.topic)
        self._foreign = Foreign(source.image_path)
        self.topic_filter = self._pattern.topic_filter if self._pattern else source.topic

    def find(self, topic: str) -> Route | None:
        source, name = self._source, None
        camera_id = source.camera if matches(topic, self.topic_filter) else None
        if self._pattern is not None and (name := self._pattern.name_of(topic)) is not None:
            camera_id = self._names.camera_of(name, source.cameras)
            name = None if name in source.cameras else name
        if camera_id is None:
            return None
        intensity, accept_retained = source.motion_intensity, source.accept_retained
        return Route(camera_id, intensity, accept_retained, self._foreign, name)


class Routes:
    """Finds the route of a topic.

    Args:
        topics: Ours come first.
        sources: The operator's, in the order of the configuration.
        names: Of foreign cameras.
        motion_intensity: Of frames on our own topics that do not say it.
    """

    def __init__(
        self,
        topics: Topics,
        sources: Sequence[SourceSettings],
        names: Names,
        motion_intensity: float = 0.5,
    ) -> None:
        self._topics = topics
        self._sources = [(_SourceRoute(each, names), each) for each in sources]
        self._motion_intensity = motion_intensity

    @property
    def subscriptions(self) -> list[Subscription]:
        """The topic filters of all."""
        return [
            Subscription(self._topics.frame_filter),
            *(
                Subscription(route.topic_filter, accept_retained=source.accept_retained)
                for route, source in self._sources
            ),
        ]

    def find(self, topic: str) -> Route | None:
        """The route, or None when the topic names no valid camera."""
        if camera_id := self._topics.camera_of_frame(topic):
            return Route(camera_id, self._motion_intensity, accept_retained=False)
        return next(filter(None, (route.find(topic) for route, _ in self._sources)), None)
