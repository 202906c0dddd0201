"""Discovery at work: a real store and sender, and a broker that does what the test says."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from pydantic import BaseModel

from broker.errors import PublishError
from broker.handover import Publish
from broker.topics import Topics
from schemas.outbox import Channel, OutboxMessage
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.mqtt import MqttSender
from service.homeassistant.bridge import BridgeFacts
from service.homeassistant.discovery import Discovery, Pace
from service.homeassistant.wanted import WantedDevices
from service.settings import Settings
from service.store.discovery import Published, PublishedDiscovery
from service.store.store import Store
from tests.support.dead_letters import Letters

SOON_S = 20.0
#: As the real one, a hundred times as fast.
QUICK = Pace(
    turn=0.01,
    delay=(0.005, 0.03),
    renewal=0.1,
    renewal_of_known=6.0,
    refused=0.2,
    longest_refused=0.5,
    unanswered=0.1,
)
FACTS = BridgeFacts("1.2.3", gpus=(), models=("some/model",), check_updates=False)


class SilentAnnouncer:
    """Takes what the registry announces."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        return True

    def keep(self, document: BaseModel, *, camera_id: str) -> None:
        pass

    def forget(self, camera_id: str) -> None:
        pass


@dataclass
class RetainingBroker:
    """A connection to a broker that retains what it takes of discovery."""

    retained: dict[str, bytes] = field(default_factory=dict)
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    refused: tuple[str, ...] = ()  #: parts of topics
    num_refused: int = 0

    def send(self, message: Publish) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        if any(part in message.topic for part in self.refused):
            self.num_refused += 1
            done.set_exception(PublishError("refused", "not authorized"))
            return done
        done.set_result(None)
        if not message.topic.endswith("/config"):  # of the registry
            return done
        assert message.retain
        self.heard.append((message.topic, message.payload))
        self.retained.pop(message.topic, None)
        if message.payload:
            self.retained[message.topic] = message.payload
        return done

    def heard_on(self, part: str) -> list[bytes]:
        return [payload for topic, payload in self.heard if part in topic]


class DeadlyDiscovery(PublishedDiscovery):
    """Can come to a stand at a transaction, as if the process had been killed there."""

    dies_at = 1 << 60
    is_committed = False  #: it dies right behind the transaction, else before it
    num_transactions = 0
    num_rows: list[int]

    @classmethod
    def of(cls, store: Store) -> "DeadlyDiscovery":
        of = store.discovery
        found = cls(of._database, of._instance, of._base_topic, of._timekeeper, of._outbox)
        found.has_died = asyncio.Event()
        found.num_rows = []
        return found

    async def change(
        self, kept: Mapping[str, Published | None], messages: Sequence[OutboxMessage]
    ) -> list[OutboxMessage]:
        self.num_rows.append(len(messages))
        self.num_transactions += 1
        if self.num_transactions < self.dies_at:
            return await super().change(kept, messages)
        if self.is_committed:
            await super().change(kept, messages)
        self.has_died.set()
        return cast(list[OutboxMessage], await asyncio.Future())

    has_died: asyncio.Event


@dataclass
class Life:
    """One run of the parts that concern discovery."""

    store: Store
    cameras: Cameras
    wanted: WantedDevices
    discovery: Discovery
    published: DeadlyDiscovery
    broker: RetainingBroker
    letters: Letters

    async def settled(self) -> None:
        """Wait until the broker retains what is wanted and nothing is under way."""
        async with asyncio.timeout(SOON_S):
            while not await self._is_settled():  # noqa: ASYNC110 - polls a real store
                await asyncio.sleep(0.01)

    async def _is_settled(self) -> bool:
        rows = await self.published.of_devices(await self.published.devices())
        is_sent = await self.store.outbox.pending_count(Channel.MQTT) == 0
        kept = {topic: row.payload for topic, row in rows.items()}
        return is_sent and kept == self.broker.retained == self.all_wanted()

    def all_wanted(self) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for object_id in self.wanted.object_ids():
            found |= self.wanted.messages(object_id, self.broker.retained)
        return found


@asynccontextmanager
async def living(
    folder: Path,
    broker: RetainingBroker,
    *,
    pace: Pace = QUICK,
    dies_at: int = 1 << 60,
    is_committed: bool = False,
    content: Mapping[str, Any] | None = None,
) -> AsyncIterator[Life]:
    """Let it run; what is left in the store is there for the next life.

    Args:
        dies_at: Number of the transaction.
        is_committed: See `DeadlyDiscovery`.
        content: Settings.
    """
    settings, clock = Settings(**(content or {})), Clock()
    topics = Topics(settings.mqtt.base_topic)
    url = f"sqlite:///{folder / 'jobs.sqlite3'}"
    async with Store.open(url, base_topic=topics.base) as store:
        cameras = Cameras(settings, topics, store, SilentAnnouncer(), clock)
        await cameras.load()
        letters = Letters(store)
        is_connected = asyncio.Event()
        is_connected.set()
        sender = MqttSender(
            store.outbox, cast(Any, broker), is_connected, letters=letters, clock=clock
        )
        wanted = WantedDevices(settings.homeassistant, topics, cameras, FACTS)
        published = DeadlyDiscovery.of(store)
        published.dies_at, published.is_committed = dies_at, is_committed
        discovery = Discovery(wanted, published, sender, clock, pace)
        cameras.subscribe(discovery.look_at_camera)
        tasks = [asyncio.create_task(each()) for each in (sender.run, discovery.run)]
        try:
            yield Life(store, cameras, wanted, discovery, published, broker, letters)
            failed = [task for task in tasks if task.done()]
            assert not failed, failed
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
