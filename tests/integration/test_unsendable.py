"""Rows that a real Mosquitto will not take, and what must not look like one."""

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from broker.connection import Connection
from broker.embedded import BrokerProgram, EmbeddedBroker
from broker.message import Message
from broker.options import ConnectionOptions, Protocol, Subscription
from broker.publisher import Publisher
from broker.state import ConnectionState
from broker.topics import Topics
from schemas.camera import CameraSettings
from schemas.outbox import Channel, OutboxMessage
from schemas.status import Health, HealthCheck
from service.clock import Clock
from service.delivery.dead_letters import DeadLetters
from service.delivery.mqtt import MqttSender
from service.errors import ServiceError
from service.settings import Settings
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.quick_service import serving

pytestmark = pytest.mark.timeout(120)

SOON_S = 60.0  # generous: a loaded machine is no failure
TOO_DEEP = "/response" + "/" * 205  # Mosquitto takes 200 levels


def row(topic: str, payload: bytes = b"{}") -> OutboxMessage:
    return OutboxMessage(
        job_key=None,
        channel=Channel.MQTT,
        destination=topic,
        payload=payload,
        created_at=NOON,
    )


class Post:
    """The sending side of the service: store, sender, publisher and connection, wired as there."""

    def __init__(self, store: Store, port: int, base: str, protocol: Protocol) -> None:
        self.store = store
        self.topics = Topics(base)
        self.is_connected = asyncio.Event()
        options = ConnectionOptions(
            host="127.0.0.1",
            port=port,
            client_id=uuid.uuid4().hex,
            protocol=protocol,
            state_topic=self.topics.bridge("state"),
        )
        self.connection = Connection(options, on_change=self._on_change)
        self.publisher = Publisher(self.connection, self.topics)
        self.sender = MqttSender(
            store.outbox,
            self.connection,
            self.is_connected,
            letters=DeadLetters(store, self.topics),
            clock=Clock(),
        )

    async def add(self, *rows: OutboxMessage) -> None:
        await self.store.accept([], {}, rows)

    async def all_gone(self) -> None:
        async with asyncio.timeout(SOON_S):
            await self.sender.flush()
        assert await self.store.outbox.pending_count(Channel.MQTT) == 0

    def _on_change(self, state: ConnectionState) -> None:
        if state.is_connected and not self.is_connected.is_set():
            self.is_connected.set()
            self.publisher.renew()
        elif not state.is_connected:
            self.is_connected.clear()


@asynccontextmanager
async def posting(
    folder: Path, port: int, base: str, protocol: Protocol = "5"
) -> AsyncIterator[Post]:
    async with Store.open(f"sqlite:///{folder / 'jobs.sqlite3'}") as store:
        post = Post(store, port, base, protocol)
        async with post.connection:
            tasks = [
                asyncio.create_task(post.sender.run(), name="sender"),
                asyncio.create_task(post.connection.watch(), name="watch"),
            ]
            yield post
            assert not any(task.done() for task in tasks), "the service would have ended"
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


class Listener:
    """Hears everything below a base, also what is said while the broker restarts."""

    def __init__(self, port: int, base: str) -> None:
        self.heard: list[Message] = []
        options = ConnectionOptions(host="127.0.0.1", port=port, client_id=uuid.uuid4().hex)
        self.connection = Connection(options, [Subscription(f"{base}/#")])
        self._letters = Topics(base).bridge("dead_letter")

    @property
    def letters(self) -> list[dict[str, Any]]:
        return [json.loads(each.payload) for each in self.heard if each.topic == self._letters]

    def on(self, topic: str) -> list[bytes]:
        return [each.payload for each in self.heard if each.topic == topic]

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not is_so():
                self.take(await self.connection.inbox.get())

    async def rest(self) -> None:
        """Take what comes until it is quiet."""
        with suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.5):
                    self.take(await self.connection.inbox.get())

    def take(self, message: Message) -> None:
        self.connection.acknowledge(message)
        self.connection.release(message)
        self.heard.append(message)


@asynccontextmanager
async def listening(port: int, base: str) -> AsyncIterator[Listener]:
    listener = Listener(port, base)
    async with listener.connection:
        async with asyncio.timeout(SOON_S):
            await listener.connection.wait_connected()
        yield listener


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_row_that_is_too_deep_is_set_aside_and_all_behind_it_leave(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, protocol: Protocol
) -> None:
    async with (
        listening(mosquitto.port, topic_base) as listener,
        posting(tmp_path, mosquitto.port, topic_base, protocol) as post,
    ):
        post.publisher.announce(CameraSettings(), camera_id="front")  # is renewed each time
        behind = [row(f"{topic_base}/out", b"%d" % number) for number in range(40)]
        await post.add(row(topic_base + TOO_DEEP), *behind)
        await post.all_gone()
        await listener.until(lambda: len(listener.letters) == 1)
        await listener.rest()
        assert set(listener.on(f"{topic_base}/out")) == {b"%d" % number for number in range(40)}
        [letter] = listener.letters
        assert letter["topic"] == topic_base + TOO_DEEP
        assert (letter["error"]["code"], letter["attempts"]) == ("unsendable", 3)
        assert post.connection.counters.reconnects == 3


async def test_many_rows_that_are_too_deep_are_set_aside_one_by_one(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """Each takes the connection with it; none of it looks like a takeover."""
    async with (
        listening(mosquitto.port, topic_base) as listener,
        posting(tmp_path, mosquitto.port, topic_base) as post,
    ):
        for number in range(6):
            await post.add(row(topic_base + TOO_DEEP), row(f"{topic_base}/out", b"%d" % number))
        await post.all_gone()
        await listener.until(lambda: len(listener.letters) == 6)
        await listener.rest()
        assert set(listener.on(f"{topic_base}/out")) == {b"%d" % number for number in range(6)}
        assert len(listener.letters) == 6


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_broker_that_takes_only_small_packets_gets_those(
    mosquitto_program: BrokerProgram, topic_base: str, tmp_path: Path, protocol: Protocol
) -> None:
    """With MQTT 5 it says so; with 3.1.1 it hangs up, on what is published without promise too."""
    lines = ["max_packet_size 2000"]
    async with (
        EmbeddedBroker(tmp_path / "m", extra_lines=lines, program=mosquitto_program) as broker,
        listening(broker.port, topic_base) as listener,
        posting(tmp_path, broker.port, topic_base, protocol) as post,
    ):
        problem = HealthCheck(status="unhealthy", message="x" * 5000)
        post.publisher.announce(Health(status="unhealthy", checks={"broker": problem}))
        await post.add(
            row(f"{topic_base}/out", b"1"),
            row(f"{topic_base}/large", b"x" * 5000),
            row(f"{topic_base}/out", b"2"),
        )
        await post.all_gone()
        await listener.until(lambda: len(listener.letters) == 1)
        await listener.rest()
        assert set(listener.on(f"{topic_base}/out")) == {b"1", b"2"}
        [letter] = listener.letters
        assert (letter["topic"], letter["size"]) == (f"{topic_base}/large", 5000)
        assert letter["error"]["code"] == "unsendable"
        num_reconnects = post.connection.counters.reconnects
        post.publisher.renew()
        await post.add(row(f"{topic_base}/out", b"3"))
        await post.all_gone()
        assert post.connection.counters.reconnects == num_reconnects


async def test_rows_that_the_acl_denies_are_set_aside(
    mosquitto_program: BrokerProgram, topic_base: str, tmp_path: Path
) -> None:
    """Mosquitto 2.0.11 refuses the message and drops the connection as well."""
    acl = tmp_path / "acl"
    rights = "\n".join(f"topic readwrite {topic_base}/{each}" for each in ("out", "bridge/#"))
    acl.write_text(f"{rights}\ntopic read {topic_base}/#\n")
    lines = [f"acl_file {acl}"]
    async with (
        EmbeddedBroker(tmp_path / "m", extra_lines=lines, program=mosquitto_program) as broker,
        listening(broker.port, topic_base) as listener,
        posting(tmp_path, broker.port, topic_base) as post,
    ):
        post.publisher.announce(CameraSettings(), camera_id="front")
        for number in range(5):
            await post.add(
                row(f"{topic_base}/denied/{number}"), row(f"{topic_base}/out", b"%d" % number)
            )
        await post.all_gone()
        await listener.until(lambda: len(listener.letters) == 5)
        await listener.rest()
        assert set(listener.on(f"{topic_base}/out")) == {b"%d" % number for number in range(5)}
        denied = Counter(letter["topic"] for letter in listener.letters)
        assert denied == Counter(f"{topic_base}/denied/{number}" for number in range(5))


async def test_dead_letter_that_is_denied_too_makes_no_other(
    mosquitto_program: BrokerProgram, topic_base: str, tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {topic_base}/out\ntopic write {topic_base}/bridge/state\n")
    lines = [f"acl_file {acl}"]
    async with (
        EmbeddedBroker(tmp_path / "m", extra_lines=lines, program=mosquitto_program) as broker,
        listening(broker.port, topic_base) as listener,
        posting(tmp_path, broker.port, topic_base) as post,
    ):
        await post.add(row(topic_base + TOO_DEEP), row(f"{topic_base}/out", b"1"))
        await post.all_gone()
        await listener.until(lambda: listener.on(f"{topic_base}/out") != [])
        assert listener.letters == []


async def test_broker_that_restarts_again_and_again_loses_no_row_and_makes_no_dead_letter(
    own_mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """Some rows are on their way each time, and the same ones more than once."""
    num_restarts, num_rows = 10, 4000
    async with (
        listening(own_mosquitto.port, topic_base) as listener,
        posting(tmp_path, own_mosquitto.port, topic_base) as post,
    ):
        adding = asyncio.create_task(add_slowly(post, f"{topic_base}/out", num_rows))
        for number in range(num_restarts):
            await asyncio.sleep(0.05 * number)
            await own_mosquitto.stop()
            await own_mosquitto.start()
            await listener.until(lambda: listener.connection.is_connected)
            async with asyncio.timeout(SOON_S):
                await post.is_connected.wait()
        await adding
        await post.all_gone()
        await listener.until(lambda: len(set(listener.on(f"{topic_base}/out"))) == num_rows)
        assert listener.letters == []
        # The first restart can come before the first connection.
        assert post.connection.counters.reconnects >= num_restarts - 1


async def add_slowly(post: Post, topic: str, num_rows: int) -> None:
    for start in range(0, num_rows, 20):
        await post.add(*[row(topic, b"%d" % number) for number in range(start, start + 20)])
        await asyncio.sleep(0.01)


# The whole service.


@pytest.fixture
async def settings(mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path) -> Settings:
    client_id = uuid.uuid4().hex
    mqtt = {"port": mosquitto.port, "base_topic": topic_base, "client_id": client_id}
    content: dict[str, Any] = {"mqtt": mqtt, "data_dir": tmp_path / "data", "stats_interval": 0.5}
    return Settings(**content)


@asynccontextmanager
async def stored(settings: Settings) -> AsyncIterator[Store]:
    """The service's store, while the service does not run."""
    url = f"sqlite:///{settings.data_dir / 'jobs.sqlite3'}"
    assert settings.mqtt.client_id is not None
    async with Store.open(url, instance=settings.mqtt.client_id) as store:
        await (
            store.recover()
        )  # whatever name the service has, all in a file is whose it is opened by
        yield store


async def test_service_stays_where_a_row_of_its_last_life_cannot_be_sent(
    settings: Settings, tmp_path: Path
) -> None:
    base = settings.mqtt.base_topic
    async with stored(settings) as store:
        await store.accept([], {}, [row(base + TOO_DEEP), row(f"{base}/out", b"behind")])
    async with (
        listening(settings.mqtt.port, base) as listener,
        serving(settings, tmp_path) as service,
    ):
        await listener.until(lambda: len(listener.letters) == 1)
        await listener.until(lambda: listener.on(f"{base}/out") != [])
        assert not service.done()
    service.result()
    async with stored(settings) as store:
        assert await store.outbox.pending_count(Channel.MQTT) == 0


@pytest.mark.parametrize("delay_s", [0.0, 1.0])
async def test_takeover_under_load_ends_the_service_and_names_the_client_id(
    settings: Settings, tmp_path: Path, delay_s: float
) -> None:
    """Another client with our id comes back whenever we have thrown it out."""
    base = settings.mqtt.base_topic
    async with stored(settings) as store:
        # Fewer than the broker queues for the listener.
        rows = [row(f"{base}/out", b"%d" % number) for number in range(8000)]
        await store.accept([], {}, rows)
    async with (
        listening(settings.mqtt.port, base) as listener,
        serving(settings, tmp_path) as service,
    ):
        other = asyncio.create_task(insist(f"{settings.mqtt.client_id}-pub", settings, delay_s))
        await asyncio.wait([service], timeout=SOON_S)
        other.cancel()
        await asyncio.wait([other])
        error = service.exception()
        while isinstance(error, ExceptionGroup):
            error = error.exceptions[0]
        assert isinstance(error, ServiceError)
        assert f"{settings.mqtt.client_id}-pub" in str(error)
        await listener.rest()
        assert listener.letters == []
    async with stored(settings) as store:
        left = await store.outbox.for_broker(len(rows))
        heard = set(listener.on(f"{base}/out"))
        assert heard | {each.payload for each in left} >= {each.payload for each in rows}


async def insist(client_id: str, settings: Settings, delay_s: float) -> None:
    """Connect with somebody's client id again and again."""
    name = client_id.encode()
    content = b"\0\4MQTT\4\2\0\x3c" + len(name).to_bytes(2, "big") + name  # 3.1.1, clean
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", settings.mqtt.port)
        try:
            writer.write(bytes([0x10, len(content)]) + content)
            while await reader.read(4096):
                pass
        except OSError:
            pass
        finally:
            writer.close()
        await asyncio.sleep(delay_s)
