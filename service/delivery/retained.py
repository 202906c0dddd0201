"""At the start, what the broker keeps of ours from before and nobody wants any more is cleared.

A camera that has left the file, pictures that were switched off, another base topic: a broker would
show them for ever. Only topics that the store knows to be ours are cleared.
"""

import logging
from collections.abc import Iterable

from broker.handover import Publish
from broker.publisher import to_outbox
from broker.topics import TABLE, Topics, TopicSpec, matches
from service.cameras import Cameras
from service.clock import Clock
from service.errors import StoreError
from service.settings import Settings
from service.store.store import Store

logger = logging.getLogger(__name__)

_RETAINED = tuple(spec for spec in TABLE if spec.retain)


class RetainedMessages:
    """Our retained messages, as they are and as they should be.

    Args:
        store: Knows which there are.
        settings: Decide what is published.
        topics: Ours now.
        cameras: That are known now.
        clock: For timestamps.
    """

    def __init__(
        self, store: Store, settings: Settings, topics: Topics, cameras: Cameras, clock: Clock
    ) -> None:
        self._store = store
        self._settings = settings
        self._topics = topics
        self._cameras = cameras
        self._clock = clock

    async def settle(self) -> None:
        """Note what is published from now on, and clear the rest; to be called before frames come.

        What the store refuses is done at the next start.
        """
        try:
            await self._store.retained.note(list(self._announced()))
            await self._clear()
        except StoreError as error:
            logger.warning(
                "what is retained and no longer wanted is not cleared: %s",
                error,
                extra={"action": "store_failed"},
            )

    async def _clear(self) -> None:
        gone = [each for each in await self._store.retained.all() if not self._wants(each.topic)]
        if shared := [each.topic for each in gone if each.is_shared]:
            await self._store.retained.forget(shared)
        now = self._clock.now()
        messages = [
            to_outbox(Publish(each.topic, b"", qos=1, retain=True), job_key=None, created_at=now)
            for each in gone
            if not each.is_shared
        ]
        if messages:
            await self._store.accept((), {}, messages)
            logger.info(
                "%d retained topics of earlier runs are cleared",
                len(messages),
                extra={"action": "retained_cleared"},
            )

    def _announced(self) -> Iterable[str]:
        """The topics that are published without the outbox."""
        for spec in _RETAINED:
            topic = spec.topic_filter(self._topics.base)
            if not _is_of_camera(spec) and self._wants(topic):
                yield topic
        yield from (self._topics.settings(each.camera_id) for each in self._cameras.all())

    def _wants(self, topic: str) -> bool:
        base = self._topics.base
        spec = next((each for each in _RETAINED if matches(topic, each.topic_filter(base))), None)
        if spec is None:
            return False
        if spec.name == "bridge/update":
            home_assistant = self._settings.homeassistant
            return home_assistant.enabled and home_assistant.check_updates
        if not _is_of_camera(spec):
            return True
        camera = self._cameras.get(topic.removeprefix(f"{base}/").partition("/")[0])
        if camera is None:
            return False
        return spec.name != "image" or camera.settings.publish_image


def _is_of_camera(spec: TopicSpec) -> bool:
    return "<camera>" in spec.pattern
