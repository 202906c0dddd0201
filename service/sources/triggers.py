"""Messages that say where there is motion: no frames themselves, their pictures follow over HTTP.

A retained message says what was, so it is left out. A message is acknowledged before its picture is
had: motion of before a crash is over.
"""

import logging
from collections.abc import Sequence

from broker.message import Message
from broker.options import Subscription
from broker.topics import Topics, matches
from service.logs import Throttle
from service.sources.names import Names
from service.trigger_settings import TriggerSettings
from service.triggers.motion import MotionReader, UnknownCameraError
from service.triggers.tally import name_of
from service.triggers.triggers import Triggers

logger = logging.getLogger(__name__)


class TriggerTopics:
    """The source of motion, as far as the receiving connection is concerned.

    Args:
        topics: Ours; what stands below them is never motion.
        settings: The triggers.
        triggers: Hears what the messages say.
        names: Of foreign cameras.
    """

    def __init__(
        self,
        topics: Topics,
        settings: Sequence[TriggerSettings],
        triggers: Triggers,
        names: Names,
    ) -> None:
        self._own = f"{topics.base}/#"
        self._readers = {
            number: MotionReader(number, each, names.camera_of)
            for number, each in enumerate(settings)
            if each.topic is not None
        }
        self._triggers = triggers
        self._warnings = Throttle()

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """The topics of all triggers."""
        filters = dict.fromkeys(each.topic_filter for each in self._readers.values())
        return [Subscription(each) for each in filters]

    def claims(self, topic: str) -> bool:
        """Whether a trigger waits for it."""
        if matches(topic, self._own):
            return False
        return any(each.claims(topic) for each in self._readers.values())

    def read(self, message: Message) -> None:
        """Tell all triggers that wait for it."""
        if message.retain:
            return
        for number, reader in self._readers.items():
            if not reader.claims(message.topic):
                continue
            try:
                motion = reader.read(message.topic, message.payload)
            except UnknownCameraError:
                if self._warnings.allows(name_of(number), message.arrived_monotonic):
                    logger.warning(
                        "%s: motion on %.100r names no camera",
                        *(name_of(number), message.topic),
                        extra={"action": "trigger_unknown_camera"},
                    )
                continue
            if motion is not None:
                self._triggers.hear(motion)
