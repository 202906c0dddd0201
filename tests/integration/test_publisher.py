"""What is published without promise, over a real Mosquitto."""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator

import pytest

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.message import Message
from broker.options import ConnectionOptions, Subscription
from broker.publisher import Publisher
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.status import Health, LogDocument
from tests.support.factories import NOON

HEALTH = Health(status="healthy", checks={})
LOG = LogDocument(level="warning", code="x", message="y", timestamp=NOON)


def options(broker: EmbeddedBroker) -> ConnectionOptions:
    return ConnectionOptions(broker.host, f"test-{uuid.uuid4().hex[:8]}", broker.port)


@pytest.fixture
async def sender(mosquitto: EmbeddedBroker) -> AsyncIterator[Connection]:
    async with Connection(options(mosquitto)) as connection:
        await connection.wait_connected()
        yield connection


async def first(broker: EmbeddedBroker, topic: str) -> Message:
    async with (
        asyncio.timeout(10),
        Connection(options(broker), [Subscription(topic, accept_retained=True)]) as connection,
    ):
        return await connection.inbox.get()


async def test_retained_document_waits_for_who_comes_later(
    mosquitto: EmbeddedBroker, sender: Connection, topic_base: str
) -> None:
    publisher = Publisher(sender, Topics(topic_base))
    assert publisher.announce(HEALTH)
    assert publisher.announce(CameraSettings(location="Door"), camera_id="front")
    health = await first(mosquitto, f"{topic_base}/bridge/health")
    assert (json.loads(health.payload)["status"], health.retain) == ("healthy", True)
    settings = await first(mosquitto, f"{topic_base}/front/settings")
    assert json.loads(settings.payload)["location"] == "Door"


async def test_news_is_dropped_while_the_broker_is_away() -> None:
    async with Connection(ConnectionOptions("127.0.0.1", "x", 1)) as connection:
        publisher = Publisher(connection, Topics("a"))
        assert not publisher.announce(LOG)
        assert publisher.num_lost == 1


async def test_news_is_bounded_when_the_broker_is_slow(sender: Connection, topic_base: str) -> None:
    publisher = Publisher(sender, Topics(topic_base))
    taken = [publisher.announce(HEALTH) for _ in range(1500)]  # none is acknowledged meanwhile
    assert taken == [True] * 1000 + [False] * 500
    async with asyncio.timeout(10):
        while not publisher.announce(HEALTH):  # noqa: ASYNC110 - until some are acknowledged
            await asyncio.sleep(0.01)


async def test_renew_tells_a_broker_that_has_forgotten(
    own_mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    async with Connection(options(own_mosquitto)) as connection:
        await connection.wait_connected()
        publisher = Publisher(connection, Topics(topic_base))
        publisher.announce(HEALTH)
        await first(own_mosquitto, f"{topic_base}/bridge/health")
        await own_mosquitto.stop(kill=True)
        await own_mosquitto.start()
        async with asyncio.timeout(10):
            while connection.counters.reconnects == 0:  # noqa: ASYNC110 - a counter has no event
                await asyncio.sleep(0.01)
            await connection.wait_connected()
        publisher.renew()
        assert (await first(own_mosquitto, f"{topic_base}/bridge/health")).payload
