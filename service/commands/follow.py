"""What a running service publishes, as documents."""

from collections.abc import AsyncIterator
from contextlib import suppress

import aiomqtt
from pydantic import ValidationError

from broker.topics import spec_of
from schemas.result import ResultDocument
from schemas.status import BridgeInfo, Health, Stats, StatusDocument
from service.settings import MqttSettings

#: A string is `bridge/state`: `online` or `offline`.
Document = ResultDocument | StatusDocument | Stats | BridgeInfo | Health | str

_SCHEMAS: dict[str, type[ResultDocument | StatusDocument | Stats | BridgeInfo | Health] | None] = {
    "caption": ResultDocument,
    "status": StatusDocument,
    "bridge/stats": Stats,
    "bridge/info": BridgeInfo,
    "bridge/health": Health,
    "bridge/state": None,
}


async def follow(
    client: aiomqtt.Client, mqtt: MqttSettings, camera: str = "+"
) -> AsyncIterator[Document]:
    """Yield what the service publishes; what is retained comes first.

    What is not in the shape this version knows is passed over: it is another program's.

    Args:
        client: Connected.
        mqtt: For the base topic.
        camera: Captions and statuses of this one only; `+` for all.
    """
    schemas = {
        spec_of(name).topic_filter(mqtt.base_topic, camera): schema
        for name, schema in _SCHEMAS.items()
    }
    await client.subscribe([(topic, 1) for topic in schemas])
    async for message in client.messages:
        schema = next(schemas[topic] for topic in schemas if message.topic.matches(topic))
        if schema is None:
            yield bytes(message.payload).decode(errors="replace")
            continue
        with suppress(ValidationError):
            yield schema.model_validate_json(message.payload)
