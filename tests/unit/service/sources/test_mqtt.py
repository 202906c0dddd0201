"""When a message is acknowledged: not before what came of it is stored."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from broker.message import Message
from broker.options import Subscription
from service.sources.mqtt import MqttFrames
from tests.support.checker import until
from tests.support.factories import NOON


class Inbox:
    def __init__(self) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self.acknowledged: list[str] = []

    def acknowledge(self, message: Message) -> bool:
        self.acknowledged.append(message.topic)
        return True

    def release(self, message: Message) -> None:
        pass


class NoFrames:
    """Intake, where nobody brings a frame."""

    async def submit(self, items: Sequence[object]) -> list[object]:
        assert not items
        return []


class Notes:
    """A source whose messages are stored when a test says so."""

    subscriptions: Sequence[Subscription] = ()

    def __init__(self) -> None:
        self.stored = asyncio.get_running_loop().create_future()

    def claims(self, topic: str) -> bool:
        return True

    def read(self, message: Message) -> "asyncio.Future[None] | None":
        return self.stored if message.qos else None


async def test_what_is_to_be_stored_is_acknowledged_once_it_is_and_in_order() -> None:
    inbox, notes = Inbox(), Notes()
    frames = MqttFrames(inbox, [notes], cast(Any, NoFrames()))
    running = asyncio.create_task(frames.run())
    for number, qos in enumerate((0, 1, 0)):
        inbox.inbox.put_nowait(Message(str(number), b"", qos, False, False, 1, 1, NOON, 0.0))
    await asyncio.sleep(0.05)
    assert inbox.acknowledged == []
    notes.stored.set_result(None)
    await until(lambda: inbox.acknowledged == ["0", "1", "2"])
    running.cancel()
