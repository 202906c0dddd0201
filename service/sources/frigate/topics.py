"""Frigate's topics: `events`, `reviews` and `available`; without its HTTP the snapshots.

What is said of an object is only put down: what is to be done about it is done by `follow`. A
message at QoS 1 is acknowledged once that is in the store. At QoS 0, Frigate's default, nothing
holds a storm up, and reading is most of what a message costs: there an update waits unread for a
moment, and the next one of its object takes its place.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Sequence

from broker.codec import PayloadError, read_foreign_json
from broker.message import Message
from broker.options import Subscription
from schemas.frame import FrameOptions
from schemas.frigate import Subject, read_event, read_review
from schemas.job import ErrorDetail
from service.boundary import contained
from service.delivery.documents import Rejection
from service.frigate_settings import FrigateSettings
from service.intake.submission import Submission
from service.intake.wrapping import unwrap_image
from service.logs import Throttle
from service.sources.frigate.events import Events
from service.sources.frigate.filters import filter_of
from service.sources.frigate.priority import priority_of
from service.sources.frigate.submissions import camera_named
from service.sources.names import Names
from service.sources.source import Later, refuse

logger = logging.getLogger(__name__)

MAX_EVENT_BYTES = 1 << 20  # 10 KiB is usual; the path of an object that stays grows for hours
_READ_EVERY_S = 0.25
_MOST_UNREAD_BYTES = 4 << 20
_TURN = 16  # read in one go: 2 ms
# As Frigate writes it; one that is written otherwise is read at once.
_END_OF_UPDATE = b'"type": "update"}'
_ID_AFTER = re.compile(rb'"after": \{"id": "([A-Za-z0-9._-]{1,64})"')
_READERS: dict[str, Callable[[object], Subject]] = {"events": read_event, "reviews": read_review}


class FrigateTopics:
    """The source of what Frigate says over MQTT.

    Args:
        settings: Which of it is wanted.
        events: Where it is put down.
        names: Of Frigate's cameras.
        on_available: Called when Frigate says that it is online.
        max_image_bytes: Of one snapshot.
    """

    def __init__(
        self,
        settings: FrigateSettings,
        events: Events,
        names: Names,
        on_available: Callable[[], None],
        max_image_bytes: int,
    ) -> None:
        self._settings = settings
        self._events = events
        self._on_available = on_available
        self._camera_names = names
        self._max_image_bytes = max_image_bytes
        self._prefix = f"{settings.topic_prefix}/"
        self._names = _names(settings)
        self._warnings = Throttle()
        self._unread: dict[bytes, Message] = {}  # updates by the id of their object
        self._num_unread_bytes = 0
        self._has_unread = asyncio.Event()

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """What is read."""
        if self._settings.url is None:
            return (Subscription(f"{self._prefix}+/+/snapshot"),)
        return tuple(
            Subscription(f"{self._prefix}{name}", accept_retained=name == "available")
            for name in self._names
        )

    def claims(self, topic: str) -> bool:
        """Whether it is one of these."""
        if not topic.startswith(self._prefix):
            return False
        name = topic.removeprefix(self._prefix)
        if self._settings.url is None:
            return name.count("/") == 2 and name.endswith("/snapshot")
        return name in self._names

    def read(self, message: Message) -> "Submission | Rejection | Later | None":
        """A snapshot as a frame; what is said of an object is put down."""
        name = message.topic.removeprefix(self._prefix)
        if name == "available":
            if message.payload == b"online":
                self._on_available()
            return None
        if message.retain:  # a replay, perhaps days old
            return None
        if name not in _READERS:
            return self._snapshot(message, *name.split("/")[:2])
        if name == "events" and not message.qos and self._put_off(message):
            return None
        return self._hear(name, message)

    async def run(self) -> None:
        """Read for ever what was put off."""
        while True:
            await self._has_unread.wait()
            await asyncio.sleep(_READ_EVERY_S)
            await self.read_unread()

    async def read_unread(self) -> None:
        """Read what was put off."""
        unread, self._unread, self._num_unread_bytes = list(self._unread.values()), {}, 0
        self._has_unread.clear()
        for start in range(0, len(unread), _TURN):
            for message in unread[start : start + _TURN]:
                with contained("an update of Frigate's cannot be read"):
                    self._hear("events", message)
            await asyncio.sleep(0)

    def _put_off(self, message: Message) -> bool:
        """Let an update wait unread, in place of an earlier one of its object."""
        payload = message.payload
        found = _ID_AFTER.search(payload) if payload.endswith(_END_OF_UPDATE) else None
        if found is None:
            return False
        earlier = self._unread.get(found[1])
        num_bytes = self._num_unread_bytes + len(payload)
        num_bytes -= 0 if earlier is None else len(earlier.payload)
        if num_bytes > _MOST_UNREAD_BYTES:
            return False
        self._unread[found[1]], self._num_unread_bytes = message, num_bytes
        self._has_unread.set()
        return True

    def _hear(self, name: str, message: Message) -> "asyncio.Future[None] | None":
        try:
            content = read_foreign_json(message.payload, max_bytes=MAX_EVENT_BYTES)
            subject = _READERS[name](content)
        except (PayloadError, ValueError) as error:
            self._complain(message, error)
            return None
        self._events.hear(subject)
        return self._events.committed(subject) if message.qos else None

    def _complain(self, message: Message, error: Exception) -> None:
        """It names no object, so nobody waits for its end."""
        reason = str(error) if isinstance(error, PayloadError) else "names no object and camera"
        if self._warnings.allows(message.topic, message.arrived_monotonic):
            logger.warning(
                "a message on %.100r is not what Frigate says: %s",
                message.topic,
                reason,
                extra={"action": "frigate_message_refused"},
            )

    def _snapshot(self, message: Message, camera: str, label: str) -> Submission | Rejection | None:
        """A picture without an event: all that is known is whose it is, and of what."""
        named = camera_named(self._settings, self._camera_names, camera)
        camera_id = None if named is None else named.camera_id
        subject = Subject.model_construct(id="0", camera=camera, label=label[:64])
        try:
            if named is None:
                raise PayloadError("bad_topic", f"{message.topic!r} names no valid camera")
            if not filter_of(self._settings, camera).passes_label(subject):
                return None
            image = unwrap_image(message.payload, self._max_image_bytes)
        except PayloadError as error:
            return refuse(message, camera_id, ErrorDetail(code=error.code, message=str(error)))
        return Submission(
            camera_id=named.camera_id,
            options=FrameOptions(
                priority=priority_of(subject), metadata={"frigate": {"label": subject.label}}
            ),
            image=image,
            frame_url=None,
            origin=message.topic,
            content=message.payload,
            arrived_at=message.arrived_at,
            arrived_monotonic=message.arrived_monotonic,
            is_redelivery=message.dup,
            camera_name=named.name,
            source="frigate",
        )


def _names(settings: FrigateSettings) -> frozenset[str]:
    wanted = {"events": settings.events, "reviews": settings.reviews, "available": True}
    return frozenset(name for name, is_wanted in wanted.items() if is_wanted)
