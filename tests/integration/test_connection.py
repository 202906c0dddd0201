"""The connection against a real Mosquitto, and a network that fails."""

import asyncio
import gc
import logging
import shutil
import subprocess
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiomqtt
import psutil
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.connection import Connection
from broker.embedded import BrokerProgram, EmbeddedBroker
from broker.errors import NotConnectedError, PublishError, TakenOverError, TlsFilesError
from broker.handover import Publish
from broker.message import Message
from broker.options import ConnectionOptions, Subscription, TlsOptions
from broker.state import ConnectionState
from tests.hostile.wire import (
    Publication,
    RawClient,
    payload_format,
    response_topic,
    user_property,
)
from tests.support.careless_connections import HastyConnection, UnguardedConnection
from tests.support.tcp_proxy import Refusal, TcpProxy

SOON_S = 10.0
QUIET_S = 0.3  # long enough for a message on this machine, short enough to wait for none


def options(port: int, **fields: Any) -> ConnectionOptions:
    values = {"host": "127.0.0.1", "client_id": f"test-{uuid.uuid4().hex[:8]}", "port": port}
    return ConnectionOptions(**{**values, **fields})


@asynccontextmanager
async def connected(
    wanted: ConnectionOptions,
    *filters: str,
    kind: type[Connection] = Connection,
    **arguments: Any,
) -> AsyncIterator[Connection]:
    subscriptions = [Subscription(each) for each in filters]
    async with kind(wanted, subscriptions, **arguments) as connection:
        await within(connection.wait_connected())
        yield connection


async def within(awaitable: Any, seconds: float = SOON_S) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


async def until(is_true: Callable[[], bool], seconds: float = SOON_S) -> None:
    async with asyncio.timeout(seconds):
        while not is_true():  # noqa: ASYNC110 - the condition has no event
            await asyncio.sleep(0.01)


async def until_reconnected(connection: Connection, times: int) -> None:
    await until(lambda: connection.counters.reconnects == times)


async def take(connection: Connection, count: int) -> list[Message]:
    return [await within(connection.inbox.get()) for _ in range(count)]


async def take_rest(connection: Connection) -> list[Message]:
    """What has arrived when nothing more comes."""
    await asyncio.sleep(QUIET_S)
    return [connection.inbox.get_nowait() for _ in range(connection.inbox.qsize())]


def numbers(messages: list[Message]) -> list[int]:
    return [int(message.payload.split(b" ")[0]) for message in messages]


async def publish_numbers(port: int, topic: str, count: int, *, num_bytes: int = 0) -> None:
    async with connected(options(port, session_expiry=0)) as sender:
        payloads = [b"%d " % i + b"x" * num_bytes for i in range(count)]
        await within(asyncio.gather(*(sender.publish(topic, each) for each in payloads)))


# Messages in.


async def test_message_arrives_with_its_properties(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.UserProperty = [("priority", "high"), ("tasks", '["caption"]')]
    properties.ResponseTopic = "reply/here"
    properties.CorrelationData = b"\x00\x01"
    properties.MessageExpiryInterval = 60
    properties.ContentType = "image/jpeg"
    started_at = datetime.now(UTC)
    async with (
        connected(options(mosquitto.port), f"{topic_base}/+/frame") as receiver,
        aiomqtt.Client("127.0.0.1", mosquitto.port, protocol=aiomqtt.ProtocolVersion.V5) as sender,
    ):
        await sender.publish(f"{topic_base}/a/frame", b"\xff\xd8", qos=1, properties=properties)
        [message] = await take(receiver, 1)
    assert (message.topic, message.payload) == (f"{topic_base}/a/frame", b"\xff\xd8")
    assert (message.qos, message.retain, message.generation) == (1, False, 1)
    assert message.properties.user == (("priority", "high"), ("tasks", '["caption"]'))
    assert message.properties.response_topic == "reply/here"
    assert message.properties.correlation_data == b"\x00\x01"
    assert message.properties.message_expiry in {59, 60}
    assert message.properties.content_type == "image/jpeg"
    assert started_at <= message.arrived_at <= datetime.now(UTC)


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize(
    "unreadable",
    [payload_format(2), user_property("a", "\ufeffb"), response_topic("a/\ufeff")],
    ids=["payload format", "user property", "response topic"],
)
async def test_message_whose_properties_paho_refuses_holds_up_nobody(
    mosquitto: EmbeddedBroker, topic_base: str, unreadable: bytes, qos: int
) -> None:
    """The broker would deliver it again on every connection."""
    topic = f"{topic_base}/a/frame"
    hostile = Publication(topic.encode(), b"hostile", qos, properties=unreadable)
    sound = Publication(topic.encode(), b"sound", qos, properties=user_property("a", "b"))
    async with (
        connected(options(mosquitto.port), topic) as receiver,
        RawClient(mosquitto.port, "5", f"{topic_base}-sender") as sender,
    ):
        sender.publish(hostile)
        await within(sender.publish(sound))
        messages = await take(receiver, 2)
        assert all(map(receiver.acknowledge, messages))
        assert receiver.counters.reconnects == 0
    assert [each.payload for each in messages] == [b"hostile", b"sound"]
    assert [each.properties.is_readable for each in messages] == [False, True]
    assert messages[1].properties.user == (("a", "b"),)


@pytest.mark.parametrize(("accept_retained", "count"), [(False, 0), (True, 1)])
async def test_retained_messages_come_only_where_they_are_accepted(
    mosquitto: EmbeddedBroker, topic_base: str, accept_retained: bool, count: int
) -> None:
    wanted = options(mosquitto.port)
    async with connected(options(mosquitto.port)) as sender:
        await within(sender.publish(f"{topic_base}/a/image", b"old", retain=True))
    subscription = Subscription(f"{topic_base}/+/image", accept_retained=accept_retained)
    async with Connection(wanted, [subscription]) as receiver:
        await within(receiver.wait_connected())
        messages = await take_rest(receiver)
        assert [message.retain for message in messages] == [True] * count


async def test_unacknowledged_messages_come_again_in_order(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    wanted, topic = options(mosquitto.port), f"{topic_base}/a/frame"
    async with connected(wanted, topic) as receiver:
        await publish_numbers(mosquitto.port, topic, 10)
        messages = await take(receiver, 10)
        for message in messages[:6]:
            assert receiver.acknowledge(message)
    async with connected(wanted, topic) as receiver:
        assert receiver.state.session_present
        again = await take(receiver, 4)
        assert numbers(again) == [6, 7, 8, 9]
        assert all(message.dup for message in again)
        assert await take_rest(receiver) == []


async def test_messages_wait_for_a_receiver_that_is_away(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    wanted, topic = options(mosquitto.port), f"{topic_base}/a/frame"
    async with connected(wanted, topic):
        pass
    await publish_numbers(mosquitto.port, topic, 5)
    async with connected(wanted, topic) as receiver:
        assert numbers(await take(receiver, 5)) == list(range(5))


async def test_control_automatic_acknowledgement_loses_messages(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    """Why acknowledgements wait for the commit: the same test must fail without."""
    wanted, topic = options(mosquitto.port), f"{topic_base}/a/frame"
    async with connected(wanted, topic, kind=HastyConnection) as receiver:
        await publish_numbers(mosquitto.port, topic, 10)
        await take(receiver, 10)
    async with connected(wanted, topic) as receiver:
        assert await take_rest(receiver) == []


async def lose_session_with_a_late_acknowledgement(
    broker: EmbeddedBroker, topic: str, kind: type[Connection]
) -> tuple[Connection, list[Message]]:
    """A message is being committed when the broker loses its session; its PUBACK comes after that
    of the next one could: what does the broker deliver when we connect again?"""
    wanted = options(broker.port)
    async with connected(wanted, topic, kind=kind) as receiver:
        await publish_numbers(broker.port, topic, 1)
        [committing] = await take(receiver, 1)
        await broker.stop(kill=True)
        await broker.start()
        await until(lambda: receiver.state.generation == 2 and receiver.is_connected)
        await publish_numbers(broker.port, topic, 1)
        [unsaved] = await take(receiver, 1)
        assert unsaved.mid == committing.mid
        assert receiver.acknowledge(committing) is (kind is UnguardedConnection)
        await asyncio.sleep(QUIET_S)
    async with connected(wanted, topic) as again:
        return receiver, await take_rest(again)


async def test_late_acknowledgement_of_a_lost_session_is_void(
    own_mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    receiver, redelivered = await lose_session_with_a_late_acknowledgement(
        own_mosquitto, f"{topic_base}/a/frame", Connection
    )
    assert len(redelivered) == 1
    assert receiver.counters.stale_acks == 1
    assert receiver.counters.lost_sessions == 1


async def test_control_late_acknowledgement_without_guard_loses_a_message(
    own_mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    _, redelivered = await lose_session_with_a_late_acknowledgement(
        own_mosquitto, f"{topic_base}/a/frame", UnguardedConnection
    )
    assert redelivered == []


@pytest.mark.parametrize("qos", [0, 1])
async def test_gate_bounds_what_is_held_and_loses_nothing(
    mosquitto: EmbeddedBroker, topic_base: str, qos: int
) -> None:
    num_bytes, capacity = 100_000, 300_000
    wanted = options(mosquitto.port, max_inflight_bytes=capacity, receive_maximum=50)
    topic = f"{topic_base}/a/frame"
    async with connected(wanted, topic) as receiver, connected(options(mosquitto.port)) as sender:
        payloads = [b"%d " % i + b"x" * num_bytes for i in range(30)]
        await within(asyncio.gather(*(sender.publish(topic, each, qos=qos) for each in payloads)))
        await asyncio.sleep(QUIET_S)
        assert capacity <= receiver.held_bytes <= capacity + num_bytes + 2048
        arrived: list[Message] = []
        while len(arrived) < 30:
            [message] = await take(receiver, 1)
            receiver.acknowledge(message)
            receiver.release(message)
            arrived.append(message)
            assert receiver.held_bytes <= capacity + num_bytes + 2048
        assert numbers(arrived) == list(range(30))
        assert receiver.held_bytes == 0
        assert receiver.state.generation == 1


async def test_closed_gate_lets_acknowledgements_and_pings_out(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    wanted = options(mosquitto.port, max_inflight_bytes=150_000, keepalive=1)
    topic = f"{topic_base}/a/frame"
    async with connected(wanted, topic) as receiver:
        await publish_numbers(mosquitto.port, topic, 3, num_bytes=100_000)
        held = await take(receiver, 2)
        for message in held:
            receiver.acknowledge(message)  # and not released: the gate stays closed
        await asyncio.sleep(1.7)  # the broker gives up after 1.5 of the keep-alive without a ping
        assert receiver.state.generation == 1
    async with connected(wanted, topic) as receiver:
        assert numbers(await take(receiver, 1)) == [2]
        assert await take_rest(receiver) == []


async def test_gate_that_stays_closed_is_told_and_loses_nothing(
    mosquitto: EmbeddedBroker, topic_base: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = options(mosquitto.port, max_inflight_bytes=150_000, keepalive=1)
    topic = f"{topic_base}/a/frame"
    async with connected(wanted, topic) as receiver:
        await publish_numbers(mosquitto.port, topic, 3, num_bytes=100_000)
        held = await take(receiver, 2)
        # In the log: it connects again within a millisecond, which clears the state's reason.
        await until(lambda: "waits to be committed" in caplog.text)
        assert receiver.inbox.empty()
        for message in held:
            receiver.release(message)
        again = await take_all(receiver, 3)
        assert numbers(again) == [0, 1, 2]


# Messages out.


async def test_publish_carries_properties_and_returns_when_acknowledged(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    topic = f"{topic_base}/a/caption"
    async with (
        connected(options(mosquitto.port), topic) as receiver,
        connected(options(mosquitto.port)) as sender,
    ):
        user = (("job_id", "1"), ("status", "completed"))
        await within(
            sender.publish(
                topic,
                b"{}",
                user_properties=user,
                correlation_data=b"\xff",
                content_type="application/json",
                message_expiry=30,
            )
        )
        [message] = await take(receiver, 1)
    assert message.properties.user == user
    assert message.properties.correlation_data == b"\xff"
    assert message.properties.content_type == "application/json"
    assert message.properties.message_expiry in {29, 30}


async def test_many_publishes_keep_their_order(mosquitto: EmbeddedBroker, topic_base: str) -> None:
    topic = f"{topic_base}/a/status"
    async with (
        connected(options(mosquitto.port), topic) as receiver,
        connected(options(mosquitto.port)) as sender,
    ):
        sent = [sender.send(Publish(topic, b"%d" % i)) for i in range(1000)]
        arrived = []
        for _ in range(1000):
            [message] = await take(receiver, 1)
            receiver.acknowledge(message)
            arrived.append(message)
        await within(asyncio.gather(*sent))
    assert numbers(arrived) == list(range(1000))


async def test_publish_whose_waiter_is_cancelled_does_no_harm(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    async with connected(options(mosquitto.port)) as sender:
        task = asyncio.create_task(sender.publish(f"{topic_base}/a", b""))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        await within(sender.publish(f"{topic_base}/a", b""))


async def test_publish_without_a_connection_is_refused_at_once() -> None:
    async with Connection(options(1)) as connection:
        await until(lambda: connection.state.reason != "not connected yet")
        with pytest.raises(NotConnectedError, match=r"check mqtt\.host and mqtt\.port"):
            await connection.publish("a", b"")


async def test_publish_that_is_too_large_is_refused_and_the_connection_lives(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    lines = ["max_packet_size 20000"]
    async with (
        EmbeddedBroker(tmp_path, extra_lines=lines, program=mosquitto_program) as broker,
        connected(options(broker.port)) as sender,
    ):
        assert sender.state.max_packet_size == 20_000
        with pytest.raises(PublishError) as caught:
            await sender.publish("a", b"x" * 20_000)
        assert caught.value.code == "too_large"
        await within(sender.publish("a", b"x" * 19_000))
        assert sender.state.generation == 1


@pytest.mark.parametrize("topic", ["a/+/b", "a/#"])
async def test_publish_on_a_wildcard_is_refused(mosquitto: EmbeddedBroker, topic: str) -> None:
    async with connected(options(mosquitto.port)) as sender:
        with pytest.raises(PublishError) as caught:
            await within(sender.publish(topic, b""))
        assert caught.value.code == "bad_topic"


async def test_publish_without_the_right_is_refused_with_the_topic(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    acl = tmp_path / "acl"
    acl.write_text("topic write allowed/#\n")
    lines = [f"acl_file {acl}"]
    async with (
        EmbeddedBroker(tmp_path / "m", extra_lines=lines, program=mosquitto_program) as broker,
        connected(options(broker.port)) as sender,
    ):
        with pytest.raises(PublishError, match="forbidden/a") as caught:
            await within(sender.publish("forbidden/a", b""))
        assert caught.value.code == "refused"
        await until(lambda: sender.is_connected)
        await within(sender.publish("allowed/a", b""))


# The connection comes and goes.


async def test_state_says_what_the_broker_is(mosquitto: EmbeddedBroker) -> None:
    changes: list[ConnectionState] = []
    async with connected(options(mosquitto.port), on_change=changes.append) as connection:
        await until(lambda: connection.state.server_version is not None)
        state = connection.state
    assert state.protocol == "5"
    assert (state.server_version or "").startswith("mosquitto version 2.")
    assert state.max_packet_size == 6_291_456
    assert [change.is_connected for change in changes] == [True, True, False, False]


async def test_birth_is_said_when_it_is_asked_for_and_not_before(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    topic = f"{topic_base}/bridge/state"
    async with (
        TcpProxy(mosquitto.port) as proxy,
        connected(options(mosquitto.port), topic) as watcher,
        connected(options(proxy.port, state_topic=topic)) as connection,
    ):
        await connection.publish(topic, b"before")
        connection.announce()
        connection.announce()
        await connection.publish(topic, b"after")
        told = [message.payload for message in await take(watcher, 3)]
    assert told == [b"before", b"online", b"after"]


async def test_birth_and_will_tell_of_an_unwanted_end(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    topic = f"{topic_base}/bridge/state"
    async with (
        TcpProxy(mosquitto.port) as proxy,
        connected(options(mosquitto.port), topic) as watcher,
        connected(options(proxy.port, state_topic=topic)) as connection,
    ):
        connection.announce()
        assert (await take(watcher, 1))[0].payload == b"online"
        proxy.reset()
        await until(lambda: connection.counters.reconnects == 1)
        told = [message.payload for message in await take(watcher, 2)]
    assert told == [b"offline", b"online"]


async def test_wanted_end_says_offline(mosquitto: EmbeddedBroker, topic_base: str) -> None:
    topic = f"{topic_base}/bridge/state"
    async with connected(options(mosquitto.port), topic) as watcher:
        async with connected(options(mosquitto.port, state_topic=topic)) as connection:
            connection.announce()
            assert (await take(watcher, 1))[0].payload == b"online"
        assert (await take(watcher, 1))[0].payload == b"offline"
    async with Connection(options(mosquitto.port), [Subscription(topic, 1, True)]) as late:
        [message] = await take(late, 1)
        assert (message.payload, message.retain) == (b"offline", True)


async def test_network_that_fails_loses_nothing(mosquitto: EmbeddedBroker, topic_base: str) -> None:
    topic = f"{topic_base}/a/frame"
    async with TcpProxy(mosquitto.port) as proxy, connected(options(proxy.port), topic) as receiver:
        await publish_numbers(mosquitto.port, topic, 20)
        first = await take(receiver, 10)
        proxy.reset()
        await until(lambda: not receiver.is_connected)
        assert not receiver.acknowledge(first[0])
        await until(lambda: receiver.is_connected)
        seen = set(numbers(first))
        while len(seen) < 20 or receiver.inbox.qsize():
            [message] = await take(receiver, 1)
            receiver.acknowledge(message)
            seen.update(numbers([message]))
        assert seen == set(range(20))
        assert receiver.counters.reconnects == 1
        assert receiver.counters.lost_sessions == 0


async def test_publishes_under_way_fail_when_the_connection_does(
    mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    async with TcpProxy(mosquitto.port) as proxy, connected(options(proxy.port)) as sender:
        sent = [sender.send(Publish(f"{topic_base}/a", b"x" * 50_000)) for _ in range(200)]
        await asyncio.sleep(0)
        proxy.reset()
        results = await within(asyncio.gather(*sent, return_exceptions=True))
        assert any(isinstance(each, NotConnectedError) for each in results)
        assert all(each is None or isinstance(each, NotConnectedError) for each in results)
        await until(lambda: sender.is_connected)
        await within(sender.publish(f"{topic_base}/a", b"again"))


async def test_broker_restart_keeps_the_session_and_what_is_in_it(
    own_mosquitto: EmbeddedBroker, topic_base: str
) -> None:
    topic = f"{topic_base}/a/frame"
    async with connected(options(own_mosquitto.port), topic) as receiver:
        await publish_numbers(own_mosquitto.port, topic, 3)
        await take(receiver, 3)
        await own_mosquitto.stop()
        await until(lambda: not receiver.is_connected)
        with pytest.raises(NotConnectedError):
            await receiver.publish(topic, b"")
        await own_mosquitto.start()
        assert numbers(await take(receiver, 3)) == [0, 1, 2]
        assert receiver.state.session_present
        assert receiver.counters.lost_sessions == 0


@pytest.mark.parametrize("refusal", ["connack", "hang up"])
async def test_broker_without_mqtt_5_is_spoken_to_in_3_1_1(
    mosquitto: EmbeddedBroker, topic_base: str, refusal: Refusal
) -> None:
    topic = f"{topic_base}/a/frame"
    async with (
        TcpProxy(mosquitto.port, refuse_5=refusal) as proxy,
        connected(options(proxy.port), topic) as connection,
    ):
        assert connection.state.protocol == "3.1.1"
        await within(connection.publish(topic, b"1", user_properties=(("a", "b"),)))
        [message] = await take(connection, 1)
        assert message.properties.user == ()
        assert connection.acknowledge(message)


async def test_3_1_1_keeps_its_session_too(mosquitto: EmbeddedBroker, topic_base: str) -> None:
    wanted, topic = options(mosquitto.port, protocol="3.1.1"), f"{topic_base}/a/frame"
    async with connected(wanted, topic) as receiver:
        await publish_numbers(mosquitto.port, topic, 2)
        messages = await take(receiver, 2)
        receiver.acknowledge(messages[0])
    async with connected(wanted, topic) as receiver:
        assert receiver.state.session_present
        assert numbers(await take(receiver, 1)) == [1]


async def test_refused_credentials_are_named(
    mosquitto_program: BrokerProgram, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ["allow_anonymous false", f"password_file {tmp_path / 'passwd'}"]
    (tmp_path / "passwd").touch(0o600)
    caplog.set_level(logging.WARNING)
    async with EmbeddedBroker(
        tmp_path / "m", extra_lines=lines, program=mosquitto_program
    ) as broker:
        wanted = options(broker.port, username="camera", password="secret")  # noqa: S106
        async with Connection(wanted) as connection:
            await until(lambda: "mqtt.username" in connection.state.reason)
            assert "'camera'" in connection.state.reason
    assert "check mqtt.username and mqtt.password" in caplog.text
    assert "secret" not in caplog.text


async def test_unknown_host_is_named() -> None:
    async with Connection(options(1883, host="no-such-host.invalid")) as connection:
        await until(lambda: "mqtt.host" in connection.state.reason)
        assert "no-such-host.invalid" in connection.state.reason


async def test_takeover_that_the_broker_tells_ends_the_connection(
    mosquitto: EmbeddedBroker,
) -> None:
    wanted = options(0)
    async with TcpProxy(mosquitto.port) as proxy:
        mine = options(proxy.port, client_id=wanted.client_id)
        async with connected(mine) as connection:
            proxy.say_taken_over()
            with pytest.raises(TakenOverError, match=wanted.client_id):
                await within(connection.watch())
            with pytest.raises(NotConnectedError):
                await connection.publish("a", b"")
        assert proxy.num_connects == 1


async def test_takeover_that_the_broker_does_not_tell_is_found(mosquitto: EmbeddedBroker) -> None:
    wanted = options(mosquitto.port)
    async with connected(wanted) as first, connected(wanted) as second:
        watches = [asyncio.create_task(each.watch()) for each in (first, second)]
        done, rest = await asyncio.wait(watches, timeout=45, return_when=asyncio.FIRST_COMPLETED)
        assert [type(task.exception()) for task in done] == [TakenOverError]
        survivor = second if watches[0] in done else first
        await within(survivor.wait_connected())
        for task in rest:
            task.cancel()
        await asyncio.wait(rest)


async def test_network_that_fails_again_and_again_is_no_takeover(
    mosquitto: EmbeddedBroker,
) -> None:
    async with TcpProxy(mosquitto.port) as proxy, connected(options(proxy.port)) as connection:
        for num_resets in range(1, 7):
            proxy.reset()
            await until_reconnected(connection, num_resets)
        await within(connection.wait_connected())
        await within(connection.publish("a", b""))


async def test_broker_that_restarts_again_and_again_is_no_takeover(
    own_mosquitto: EmbeddedBroker,
) -> None:
    async with connected(options(own_mosquitto.port)) as connection:
        for num_restarts in range(1, 7):
            await own_mosquitto.stop(kill=bool(num_restarts % 2))
            await own_mosquitto.start()
            await until_reconnected(connection, num_restarts)
        await within(connection.wait_connected())
        await within(connection.publish("a", b""))


async def test_end_comes_soon_while_connecting() -> None:
    async with Connection(options(1)) as connection:
        await until(lambda: connection.state.reason != "not connected yet")
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 1.0


async def test_end_that_is_cancelled_leaves_no_socket(mosquitto: EmbeddedBroker) -> None:
    may_leave = asyncio.Event()

    async def connect_and_leave() -> None:
        async with connected(options(mosquitto.port)):
            may_leave.set()

    before = psutil.Process().num_fds()
    for num_rounds in range(8):  # of the event loop, between its beginning to end and our order
        may_leave.clear()
        leaving = asyncio.create_task(connect_and_leave())
        await within(may_leave.wait())
        for _ in range(num_rounds):
            await asyncio.sleep(0)
        leaving.cancel()
        await asyncio.wait([leaving])
    assert psutil.Process().num_fds() == before


# Other transports.


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl is not installed")
    certificate, key = tmp_path / "server.pem", tmp_path / "server.key"
    subprocess.run(
        f"{openssl} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 "
        f"-subj /CN=localhost -addext subjectAltName=DNS:localhost -out {certificate} "
        f"-keyout {key}".split(),
        check=True,
        capture_output=True,
    )
    return certificate, key


@pytest.fixture
async def tls_broker(
    mosquitto_program: BrokerProgram, tmp_path: Path, certificate: tuple[Path, Path]
) -> AsyncIterator[EmbeddedBroker]:
    lines = [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
    async with EmbeddedBroker(
        tmp_path / "m", extra_lines=lines, program=mosquitto_program
    ) as broker:
        yield broker


async def test_tls_carries_large_frames(
    tls_broker: EmbeddedBroker, certificate: tuple[Path, Path]
) -> None:
    trusting = TlsOptions(ca_file=certificate[0])
    wanted = options(tls_broker.port, host="localhost", tls=trusting)
    async with connected(wanted, "a/frame") as connection:
        frames = [b"%d " % i + b"x" * 300_000 for i in range(20)]
        sent = [connection.send(Publish("a/frame", frame)) for frame in frames]
        assert [message.payload for message in await take_all(connection, 20)] == frames
        await within(asyncio.gather(*sent))


# paho leaves the socket of a failed handshake to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_refuses_a_certificate_nobody_vouches_for(tls_broker: EmbeddedBroker) -> None:
    wanted = options(tls_broker.port, host="localhost", tls=TlsOptions())
    async with Connection(wanted) as connection:
        await until(lambda: "mqtt.tls.ca_file" in connection.state.reason)
    gc.collect()


async def take_all(connection: Connection, count: int) -> list[Message]:
    messages = []
    for _ in range(count):
        [message] = await take(connection, 1)
        connection.acknowledge(message)
        connection.release(message)
        messages.append(message)
    return messages


async def test_tls_file_that_is_missing_is_named(tmp_path: Path) -> None:
    wanted = options(1, tls=TlsOptions(ca_file=tmp_path / "none.pem"))
    with pytest.raises(TlsFilesError, match=r"mqtt\.tls"):
        async with Connection(wanted):
            pass


async def test_websockets_carry_frames(
    mosquitto_program: BrokerProgram, tmp_path: Path, unused_tcp_port: int
) -> None:
    lines = [f"listener {unused_tcp_port} 127.0.0.1", "protocol websockets"]
    wanted = options(unused_tcp_port, transport="websockets")
    async with (
        EmbeddedBroker(tmp_path, extra_lines=lines, program=mosquitto_program),
        connected(wanted, "a/frame") as connection,
    ):
        # More would take long: Mosquitto 2.0 reads 4 KiB per 0.1 s from a websocket.
        frames = [b"%d " % i + b"x" * 20_000 for i in range(5)]
        sent = [connection.send(Publish("a/frame", frame)) for frame in frames]
        assert [message.payload for message in await take_all(connection, 5)] == frames
        await within(asyncio.gather(*sent))
