"""One request to a running service, and its answer.

The service keeps its session, so a broker would hold a request for one that is away and hand it
over days later. Hence nothing is sent unless the service says that it is online, and with MQTT 5 a
request is gone when nobody waits for its answer any more.
"""

import asyncio
import json
import math
from typing import Any
from uuid import uuid4

from pydantic import ValidationError

from broker.client import publish_properties
from broker.handover import Publish
from broker.topics import ONLINE, Topics
from schemas.requests.envelope import Reply
from schemas.requests.operation import Operation
from service.commands.client import Connected, connect_newest, retained
from service.errors import ServiceError
from service.settings import MqttSettings


async def ask(
    mqtt: MqttSettings,
    operation: Operation[Any, Any],
    content: dict[str, Any],
    *,
    timeout_s: float,
) -> dict[str, Any]:
    """Send a request and return the data of its answer.

    With MQTT 5 the answer comes on a topic of its own; with 3.1.1 it is told from others' by its
    `transaction`, which takes the place of one in `content`.

    Args:
        mqtt: Where the broker is, and the service's base topic.
        operation: What is asked for.
        content: The request, checked by the service.
        timeout_s: How long to wait for the answer.

    Raises:
        ServiceError: The broker or the service is not there, there is no answer in time, or it is
            an error.
    """
    transaction = uuid4().hex
    payload = json.dumps({**content, "transaction": transaction}).encode()
    if len(payload) > operation.max_bytes:
        most = operation.max_bytes
        raise ServiceError(f"too_large: {len(payload)} bytes; {operation.name} takes {most}")
    topics = Topics(mqtt.base_topic)
    async with connect_newest(mqtt) as connected:
        await _check_online(connected, topics)
        try:
            async with asyncio.timeout(timeout_s):
                request = _address(payload, operation, topics, transaction, connected, timeout_s)
                reply = await _exchange(connected, request, transaction)
        except TimeoutError as error:
            raise ServiceError(
                f"no answer to {operation.name} within {timeout_s:g} s; what was ordered may still "
                "happen. May this account send requests and read their answers?"
            ) from error
    if reply.error is not None:
        raise ServiceError(f"{reply.error.code}: {reply.error.message}")
    return reply.data or {}


async def _check_online(connected: Connected, topics: Topics) -> None:
    topic = topics.bridge("state")
    state = await retained(connected.client, topic)
    if state != ONLINE.decode():
        raise ServiceError(f"no service is online; {topic} says {state or 'nothing'}")


def _address(
    payload: bytes,
    operation: Operation[Any, Any],
    topics: Topics,
    transaction: str,
    connected: Connected,
    timeout_s: float,
) -> Publish:
    return Publish(
        topics.request(operation.name),
        payload,
        response_topic=(
            topics.reply(transaction) if connected.is_5 else topics.response(operation.name)
        ),
        content_type="application/json",
        message_expiry=max(1, math.ceil(timeout_s)),
    )


async def _exchange(connected: Connected, request: Publish, transaction: str) -> Reply:
    """Send a request and wait for its answer, for ever."""
    client, is_5 = connected
    answers_on = request.response_topic
    assert answers_on is not None  # noqa: S101 - see _address
    await client.subscribe(answers_on, qos=1)
    properties = publish_properties(request) if is_5 else None
    await client.publish(request.topic, request.payload, qos=1, properties=properties)
    async for message in client.messages:
        if message.topic.value != answers_on:
            continue
        try:
            reply = Reply.model_validate_json(bytes(message.payload))
        except ValidationError:  # on a topic that others may write to
            continue
        if is_5 or reply.transaction == transaction:
            return reply
    raise ServiceError("the broker ended the connection")
