"""The sender of the outbox against a real broker and a real store."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt

from broker.connection import Connection
from broker.embedded import EmbeddedBroker
from broker.options import ConnectionOptions
from broker.topics import Topics
from schemas.outbox import Channel, OutboxMessage
from service.clock import Clock
from service.delivery.dead_letters import DeadLetters
from service.delivery.mqtt import MqttSender
from service.store.outbox import OnCommit, Outbox
from service.store.store import Store
from tests.support.factories import NOON

SOON_S = 30.0


class SlowOutbox:
    """Lets something happen between the reading of rows and their arrival."""

    def __init__(self, outbox: Outbox) -> None:
        self._outbox = outbox
        self.meanwhile: Callable[[], Any] | None = None

    def subscribe(self, channel: Channel, on_commit: OnCommit) -> None:
        self._outbox.subscribe(channel, on_commit)

    async def for_broker(self, limit: int) -> list[OutboxMessage]:
        rows = await self._outbox.for_broker(limit)
        if self.meanwhile is not None:
            work, self.meanwhile = self.meanwhile, None
            await work()
        return rows

    async def sent(self, message_ids: list[int]) -> None:
        await self._outbox.sent(message_ids)

    async def keep_attempts(self, attempts: dict[int, int]) -> None:
        await self._outbox.keep_attempts(attempts)


@asynccontextmanager
async def running(store: Store, outbox: SlowOutbox, port: int) -> AsyncIterator[MqttSender]:
    is_connected = asyncio.Event()
    options = ConnectionOptions(host="127.0.0.1", port=port, client_id=uuid.uuid4().hex)
    async with Connection(options) as connection:
        sender = MqttSender(
            outbox,  # type: ignore[arg-type]
            connection,
            is_connected,
            letters=DeadLetters(store, Topics("base")),
            clock=Clock(),
        )
        task = asyncio.create_task(sender.run(), name="sender")
        await connection.wait_connected()
        is_connected.set()
        yield sender
        task.cancel()
        await asyncio.wait([task])


def message(topic: str, text: str) -> OutboxMessage:
    return OutboxMessage(
        job_key=None,
        channel=Channel.MQTT,
        destination=topic,
        payload=text.encode(),
        created_at=NOON,
    )


async def test_rows_committed_while_the_store_is_read_are_sent(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """They are not among the rows read, and whoever committed them tells of them only once."""
    async with (
        Store.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}") as store,
        aiomqtt.Client("127.0.0.1", mosquitto.port) as listener,
    ):
        await listener.subscribe(f"{topic_base}/#", qos=1)
        outbox = SlowOutbox(store.outbox)
        await store.accept([], {}, [message(topic_base, "first")])

        async def commit_another() -> None:
            await store.accept([], {}, [message(topic_base, "second")])

        outbox.meanwhile = commit_another
        async with asyncio.timeout(SOON_S), running(store, outbox, mosquitto.port) as sender:
            heard = [(await anext(listener.messages)).payload for _ in range(2)]
            await sender.flush()
        assert heard == [b"first", b"second"]
        assert await store.outbox.pending_count(Channel.MQTT) == 0
