"""What a running service publishes, as documents."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import suppress
from dataclasses import dataclass

import aiomqtt
from pydantic import ValidationError

from broker.topics import spec_of
from schemas.result import ResultDocument
from schemas.status import BridgeInfo, Health, Metrics, Stats, StatusDocument
from service.commands.broker_errors import BrokerError
from service.commands.client import connect
from service.settings import MqttSettings

_RECONNECT_EVERY_S = 1.0


@dataclass(frozen=True, slots=True)
class CameraImage:
    """The picture of the newest caption, as it was published; it may be anything."""

    camera_id: str
    jpeg: bytes


@dataclass(frozen=True, slots=True)
class CameraForgotten:
    """The service has cleared a camera's newest caption."""

    camera_id: str


@dataclass(frozen=True, slots=True)
class BrokerLost:
    """There is no connection; another one is tried for."""

    reason: str


@dataclass(frozen=True, slots=True)
class Connected:
    """There is a connection, the first or another one; what is retained comes again."""


Published = ResultDocument | StatusDocument | Stats | BridgeInfo | Health | Metrics
#: A string is `bridge/state`: `online` or `offline`.
Document = Published | CameraImage | CameraForgotten | BrokerLost | Connected | str

_SCHEMAS: dict[str, type[Published] | None] = {
    "caption": ResultDocument,
    "status": StatusDocument,
    "bridge/stats": Stats,
    "bridge/info": BridgeInfo,
    "bridge/health": Health,
    "bridge/metrics": Metrics,
    "bridge/state": None,
    "image": None,
}
#: All but pictures, which are large.
WITHOUT_IMAGES = frozenset(_SCHEMAS) - {"image"}
WITH_IMAGES = frozenset(_SCHEMAS)


async def follow_on(
    mqtt: MqttSettings, camera: str = "+", names: Collection[str] = WITHOUT_IMAGES
) -> AsyncIterator[Document]:
    """Yield what the service publishes, also after the broker was away.

    Args:
        mqtt: Where the broker is.
        camera: See `follow`.
        names: See `follow`.

    Raises:
        BrokerError: The first connection fails: the settings may be wrong.
        ConfigurationError: A certificate or key cannot be read.
    """
    was_connected = False
    while True:
        try:
            async with connect(mqtt) as client:
                was_connected = True
                yield Connected()
                async for document in follow(client, mqtt, camera, names):
                    yield document
        except BrokerError as error:
            if not was_connected:
                raise
            yield BrokerLost(str(error))
        await asyncio.sleep(_RECONNECT_EVERY_S)


async def follow(
    client: aiomqtt.Client,
    mqtt: MqttSettings,
    camera: str = "+",
    names: Collection[str] = WITHOUT_IMAGES,
) -> AsyncIterator[Document]:
    """Yield what the service publishes; what is retained comes first.

    What is not in the shape this version knows is passed over: it is another program's.

    Args:
        client: Connected.
        mqtt: For the base topic.
        camera: Captions and statuses of this one only; `+` for all.
        names: Of the topics, as `broker.topics.TABLE` has them.
    """
    filters = {spec_of(name).topic_filter(mqtt.base_topic, camera): name for name in names}
    await client.subscribe([(topic, 1) for topic in filters])
    async for message in client.messages:
        name = next(filters[topic] for topic in filters if message.topic.matches(topic))
        payload = bytes(message.payload)
        schema = _SCHEMAS[name]
        if name == "caption" and not payload:
            yield CameraForgotten(_camera_of(message.topic.value, mqtt))
        elif schema is not None:
            with suppress(ValidationError):
                yield schema.model_validate_json(payload)
        elif name == "image":
            yield CameraImage(_camera_of(message.topic.value, mqtt), payload)
        else:
            yield payload.decode(errors="replace")


def _camera_of(topic: str, mqtt: MqttSettings) -> str:
    return topic.removeprefix(f"{mqtt.base_topic}/").partition("/")[0]
