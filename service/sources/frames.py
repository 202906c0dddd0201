"""Frames on our own topic and on the operator's `sources`: any form, told apart by content."""

import logging
from collections.abc import Sequence
from contextlib import suppress

from broker.codec import PayloadError, read_json
from broker.message import Message
from broker.options import Subscription
from broker.topics import Topics, valid_response_topic
from schemas.job import ErrorDetail
from service.boundary import INTERNAL
from service.delivery.documents import Rejection
from service.intake.submission import Reply, Submission
from service.logs import Throttle
from service.sources.attributes import AttributeJoin
from service.sources.forms import read_frame
from service.sources.routes import Route, Routes
from service.sources.source import Later, refuse

logger = logging.getLogger(__name__)


class FrameTopics:
    """The source of frames that stand in a message as they are.

    Args:
        topics: Ours.
        routes: Which camera a topic means.
        response_topics: Where answers may go; see `mqtt.response_topics`.
        max_image_bytes: Of one image.
    """

    def __init__(
        self,
        topics: Topics,
        routes: Routes,
        response_topics: Sequence[str],
        max_image_bytes: int,
    ) -> None:
        self._topics = topics
        self._routes = routes
        self._response_topics = response_topics
        self._max_image_bytes = max_image_bytes
        self._warnings = Throttle()
        self._join = AttributeJoin()

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """Our frame topic and the operator's patterns."""
        return self._routes.subscriptions

    def claims(self, topic: str) -> bool:
        """Whatever nobody before has claimed: a topic that names no camera is answered too."""
        return True

    def read(self, message: Message) -> Submission | Rejection | Later | None:
        """A message as a frame, or why it is refused.

        None for a replay of an old message, for what is said of a picture, and for what the service
        itself has published: a pattern of the operator's that takes that in would never end.
        """
        if (camera_id := self._routes.attributes_of(message.topic)) is not None:
            self._read_attributes(message, camera_id)
            return None
        route = self._routes.find(message.topic)
        is_own_frame = route is not None and route.foreign is None
        if not is_own_frame and self._topics.is_published(message.topic):
            return None
        if message.retain and not (route is not None and route.accept_retained):
            return None
        camera_id = route.camera_id if route else None
        try:
            if route is None:
                raise PayloadError("bad_topic", f"{message.topic!r} names no valid camera")
            submission = self._submission(message, route)
            return self._join.join(submission) if route.has_attributes else submission
        except PayloadError as error:
            detail = ErrorDetail(code=error.code, message=str(error))
            return refuse(message, camera_id, detail, error.job_id)
        except Exception:
            # Whatever a hostile payload finds must not stop the others.
            logger.exception("a frame on %s broke its reader", message.topic)
            return refuse(message, camera_id, INTERNAL)

    def _read_attributes(self, message: Message, camera_id: str) -> None:
        """Join them to their picture; what is no object of JSON says nothing."""
        if message.retain:  # of an old picture
            return
        with suppress(PayloadError):
            content = read_json(message.payload)
            if isinstance(content, dict):
                self._join.tell(camera_id, content, message.arrived_monotonic)

    def _submission(self, message: Message, route: Route) -> Submission:
        frame = read_frame(
            message,
            route.camera_id,
            max_image_bytes=self._max_image_bytes,
            foreign=route.foreign,
        )
        return Submission(
            camera_id=route.camera_id,
            options=frame.options,
            image=frame.image,
            frame_url=frame.frame_url,
            origin=message.topic,
            content=message.payload,
            arrived_at=message.arrived_at,
            arrived_monotonic=message.arrived_monotonic,
            motion_intensity=route.motion_intensity,
            is_redelivery=message.dup,
            reply=self._reply(message, route.camera_id),
            camera_name=route.camera_name,
        )

    def _reply(self, message: Message, camera_id: str) -> Reply | None:
        """Where the sender wants its answer; None, and a line in the log, where it may not."""
        topic = message.properties.response_topic
        if topic is None:
            return None
        if valid_response_topic(topic, self._response_topics, self._topics.base, camera_id):
            return Reply(topic, message.properties.correlation_data)
        if self._warnings.allows(camera_id, message.arrived_monotonic):
            logger.warning(
                "%s: no answer is sent to the response topic %.100r: mqtt.response_topics does not "
                "allow it for this camera",
                camera_id,
                topic,
                extra={"action": "response_topic_refused"},
            )
        return None
