"""Documents to messages: topic, QoS and retain from the table, properties by the contract.

Most documents go through the outbox: `address` and `to_outbox` when the transition is written,
`from_outbox` when the row is sent. `Publisher` is for those that may be lost, such as statistics.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TypeVar

from pydantic import BaseModel

from broker.codec import encode
from broker.connection import Connection
from broker.errors import BrokerError, ConnectionLostError, PublishError
from broker.handover import Publish
from broker.topics import TABLE, Topics, TopicSpec, spec_of
from schemas.batch import BatchProgress
from schemas.frame import Priority
from schemas.outbox import Channel, OutboxMessage
from schemas.result import ResultDocument
from schemas.status import StatusDocument

logger = logging.getLogger(__name__)

# At some 400 bytes each, a fifth of a second of what a broker on the same machine takes. More would
# tell stale news late, fewer would lose some of a full intake group and its evictions.
_MOST_UNDER_WAY = 1000

# A topic that the broker does not take from us costs the connection at each try. After so long the
# operator may have mended the broker's rules.
_MUTED_S = 600.0
_MOST_REMEMBERED = 1000  # topics; beyond it all are tried anew

_JSON = "application/json"
_T = TypeVar("_T")
_BY_SCHEMA = {spec.schema: spec for spec in TABLE if spec.schema is not None}

#: Told of a document, and of the message that carries it.
OnDocument = Callable[[BaseModel, Publish], None]


def address(
    document: BaseModel,
    topics: Topics,
    *,
    camera_id: str | None = None,
    priority: Priority | None = None,
) -> Publish:
    """The message that carries a document of the contract.

    Args:
        camera_id: For a document that does not name its camera.
        priority: Of the job, for a result that does not name it.

    Raises:
        KeyError: No topic carries such a document.
        ValueError: The topic needs a camera, or its id is none.
    """
    spec = _BY_SCHEMA[type(document)]
    if isinstance(document, BatchProgress):
        topic = topics.batch(document.batch_id)
        return _message(document, topic, retain=spec.retain, qos=spec.qos, priority=None)
    topic = _topic_of(spec, topics, getattr(document, "camera_id", None) or camera_id)
    return _message(document, topic, retain=spec.retain, qos=spec.qos, priority=priority)


def answer(
    document: ResultDocument | StatusDocument,
    topic: str,
    correlation_data: bytes | None,
    *,
    priority: Priority | None = None,
) -> Publish:
    """The same for the Response Topic of a sender, which `valid_response_topic` has passed."""
    message = _message(document, topic, retain=False, qos=1, priority=priority)
    message.correlation_data = correlation_data
    return message


def address_image(jpeg: bytes, topics: Topics, camera_id: str) -> Publish:
    """The message that carries the newest captioned frame."""
    spec = spec_of("image")
    topic = _topic_of(spec, topics, camera_id)
    return Publish(topic, jpeg, spec.qos, spec.retain, content_type="image/jpeg")


def clear_retained(topics: Topics, camera_id: str) -> list[Publish]:
    """The messages that make the broker forget everything it keeps of a camera.

    An empty retained message removes the one before it (MQTT 5, section 3.3.1.3).
    """
    return [
        Publish(topics.of_camera(camera_id, spec.name), b"", spec.qos, retain=True)
        for spec in TABLE
        if spec.retain and "<camera>" in spec.pattern
    ]


def to_outbox(message: Publish, *, job_key: str | None, created_at: datetime) -> OutboxMessage:
    """The row of the outbox that keeps a message until it is acknowledged."""
    data = message.correlation_data
    options = {
        "qos": message.qos,
        "retain": message.retain,
        "user_properties": list(message.user_properties),
        "correlation_data": data.hex() if data is not None else None,
        "content_type": message.content_type,
    }
    return OutboxMessage(
        job_key=job_key,
        channel=Channel.MQTT,
        destination=message.topic,
        payload=message.payload,
        options={name: value for name, value in options.items() if value not in (None, [])},
        created_at=created_at,
    )


def from_outbox(row: OutboxMessage) -> Publish:
    """The message that a row of the outbox keeps."""
    options = row.options
    data = options.get("correlation_data")
    return Publish(
        row.destination,
        row.payload,
        options.get("qos", 1),
        options.get("retain", False),
        tuple((name, value) for name, value in options.get("user_properties", ())),
        correlation_data=bytes.fromhex(data) if data is not None else None,
        content_type=options.get("content_type"),
        num_lost=row.attempts,
    )


class Publisher:
    """Publishes documents at once or not at all; nothing waits.

    A topic that the broker refuses, or hangs up on, is left alone for ten minutes: these documents
    come again and again, and would take the connection from those that may not be lost.

    Attributes:
        num_lost: Documents that were not sent or not acknowledged, because the broker was away or
            too slow.
    """

    def __init__(self, connection: Connection, topics: Topics) -> None:
        self.num_lost = 0
        self._connection = connection
        self._topics = topics
        self._subscribers: list[OnDocument] = []
        self._under_way: set[asyncio.Future[None]] = set()
        self._retained: dict[str, Publish] = {}  # by topic; of the bridge, and of known cameras
        self._losses: dict[str, int] = {}  # by topic: see `Publish.num_lost`
        self._muted_until: dict[str, float] = {}  # by topic
        self._told_until: dict[str, float] = {}  # by topic: that something is too large for it

    def subscribe(self, on_document: OnDocument) -> None:
        """Be told of each document, also while the broker is away; must be quick."""
        self._subscribers.append(on_document)

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        """Hand over a document; lost when the broker is away.

        Args:
            camera_id: For a document that does not name its camera.

        Returns:
            Whether it was handed over, or will be with the next connection, as what is retained.

        Raises:
            KeyError, ValueError: See `address`.
        """
        message = address(document, self._topics, camera_id=camera_id)
        for tell in self._subscribers:
            tell(document, message)
        if message.retain:
            self._retained[message.topic] = message
            if not self._connection.is_connected:
                return True  # sent now as well, it would be there twice
        return self._send(message)

    def keep(self, document: BaseModel, *, camera_id: str) -> None:
        """Publish a retained document again after a reconnect; for now the outbox has it."""
        message = address(document, self._topics, camera_id=camera_id)
        self._retained[message.topic] = message

    def forget(self, camera_id: str) -> None:
        """Publish nothing of a camera again after a reconnect."""
        for message in clear_retained(self._topics, camera_id):
            self._retained.pop(message.topic, None)

    def renew(self) -> None:
        """Publish the newest retained documents again, after a reconnect.

        The broker can have missed some, and has forgotten all if it keeps nothing on disk.
        """
        for message in list(self._retained.values()):
            self._send(message)

    def _send(self, message: Publish) -> bool:
        if len(self._under_way) >= _MOST_UNDER_WAY or self._is_muted(message.topic):
            self.num_lost += 1
            return False
        message = replace(message, num_lost=self._losses.get(message.topic, 0))
        try:
            sent = self._connection.send(message)
        except BrokerError as error:
            self._note_failure(message, error)
            return False
        self._under_way.add(sent)
        sent.add_done_callback(partial(self._settle, message))
        return True

    def _settle(self, message: Publish, sent: asyncio.Future[None]) -> None:
        self._under_way.discard(sent)
        error = None if sent.cancelled() else sent.exception()
        if error is not None:
            self._note_failure(message, error)
        elif self._losses and not sent.cancelled():
            self._losses.pop(message.topic, None)

    def _is_muted(self, topic: str) -> bool:
        return bool(self._muted_until) and _now() < self._muted_until.get(topic, 0.0)

    def _note_failure(self, message: Publish, error: BaseException) -> None:
        topic = message.topic
        self.num_lost += 1
        if isinstance(error, ConnectionLostError):
            _bounded(self._losses)[topic] = message.num_lost + 1
        elif isinstance(error, PublishError) and error.code != "too_large":
            self._losses.pop(topic, None)
            _bounded(self._muted_until)[topic] = _now() + _MUTED_S
            _tell(f"nothing is published on {topic} for {_MUTED_S:.0f} s: {error}")
        elif isinstance(error, PublishError) and _now() >= self._told_until.get(topic, 0.0):
            _bounded(self._told_until)[topic] = _now() + _MUTED_S
            _tell(f"not published: {error}")


def _tell(problem: str) -> None:
    logger.error("%s", problem, extra={"action": "publish_refused"})


def _now() -> float:
    return asyncio.get_running_loop().time()


def _bounded(by_topic: dict[str, _T]) -> dict[str, _T]:
    """Forget all where there are too many: whoever invents cameras invents topics."""
    if len(by_topic) >= _MOST_REMEMBERED:
        by_topic.clear()
    return by_topic


def _topic_of(spec: TopicSpec, topics: Topics, camera_id: str | None) -> str:
    if "<camera>" not in spec.pattern:
        return spec.pattern.replace("<base>", topics.base)
    if camera_id is None:
        raise ValueError(f"{spec.pattern} needs a camera")
    return topics.of_camera(camera_id, spec.name)


def _message(
    document: BaseModel, topic: str, *, retain: bool, qos: int, priority: Priority | None
) -> Publish:
    properties = _properties_of(document, priority)
    return Publish(topic, encode(document), qos, retain, properties, content_type=_JSON)


def _properties_of(document: BaseModel, priority: Priority | None) -> tuple[tuple[str, str], ...]:
    """What a subscriber can filter results by without reading the JSON.

    Statuses carry none: they are three a frame, and properties double the cost of sending one.
    """
    if not isinstance(document, ResultDocument):
        return ()
    if document.result is not None:
        priority = document.result.model_info.priority
    known = {
        "job_id": document.job_id,
        "camera_id": document.camera_id,
        "status": document.status.value,
        "priority": priority.wire if priority is not None else None,
    }
    return tuple((name, value) for name, value in known.items() if value is not None)
