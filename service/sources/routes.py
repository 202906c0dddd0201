"""Which camera a topic means: our own frame topics, and the operator's patterns."""

from collections.abc import Sequence
from dataclasses import dataclass

from broker.options import Subscription
from broker.patterns import CameraPattern
from broker.topics import Topics, matches
from service.source_settings import SourceSettings
from service.sources.forms import Foreign
from service.sources.names import Named, Names


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a frame from its topic alone."""

    camera_id: str
    motion_intensity: float  #: where the frame does not say it
    accept_retained: bool  #: a retained message is taken for motion
    foreign: Foreign | None = None  #: None for our own topic
    camera_name: str | None = None  #: what a foreign topic calls the camera
    has_attributes: bool = False  #: they come on another topic


class _Place:
    """The topics of one pattern of a source, and whose they are."""

    def __init__(self, pattern: str, source: SourceSettings, names: Names) -> None:
        self._source = source
        self._names = names
        self._pattern = None if source.camera else CameraPattern.compile(pattern)
        self.topic_filter = self._pattern.topic_filter if self._pattern else pattern

    def find(self, topic: str) -> Named | None:
        """The camera of a topic; None: another's."""
        if self._pattern is None:
            is_here = self._source.camera and matches(topic, self.topic_filter)
            return Named(self._source.camera, None) if is_here and self._source.camera else None
        name = self._pattern.name_of(topic)
        return None if name is None else self._names.find(name, self._source.cameras)


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
        self._sources = [(_Place(each.topic, each, names), each) for each in sources]
        self._attributes = [
            _Place(each.attributes, each, names) for each in sources if each.attributes
        ]
        self._motion_intensity = motion_intensity

    @property
    def subscriptions(self) -> list[Subscription]:
        """The topic filters of all."""
        return [
            Subscription(self._topics.frame_filter),
            *(
                Subscription(place.topic_filter, accept_retained=source.accept_retained)
                for place, source in self._sources
            ),
            *(Subscription(place.topic_filter) for place in self._attributes),
        ]

    def find(self, topic: str) -> Route | None:
        """The route, or None when the topic names no valid camera."""
        if camera_id := self._topics.camera_of_frame(topic):
            return Route(camera_id, self._motion_intensity, accept_retained=False)
        for place, source in self._sources:
            if (found := place.find(topic)) is not None:
                return Route(
                    found.camera_id,
                    source.motion_intensity,
                    source.accept_retained,
                    Foreign(source.image_path),
                    found.name,
                    has_attributes=source.attributes is not None,
                )
        return None

    def attributes_of(self, topic: str) -> str | None:
        """The camera whose picture a topic says something of; None where it does not."""
        found = (place.find(topic) for place in self._attributes)
        return next((each.camera_id for each in found if each is not None), None)
