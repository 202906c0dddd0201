"""The broker: reached as the service reaches it, and asked for each topic whether we may.

Whether a message may be published shows only when it is: so each topic of ours gets one that is not
retained. What is retained on a topic is said once more there, which tells nobody anything new; the
topics of cameras get an empty message of a camera named `doctor`.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from broker.connection import Connection
from broker.errors import NotConnectedError, PublishError, TlsFilesError
from broker.options import Subscription
from broker.state import ConnectionState
from broker.topics import TABLE, Topics
from service.commands.checks.finding import Finding
from service.mqtt_options import connection_options
from service.settings import Settings
from service.sources import overlaps

_CONNECT_S = 10.0
_GRACE_S = 1.0  # a broker that knows no MQTT 5 lets the second attempt in
_RETAINED_S = 0.3  # they come with the answer to the subscription
_TRIES = 3  # some brokers hang up on who publishes what he may not
_CAMERA = "doctor"


async def check_broker(settings: Settings) -> list[Finding]:
    """Whether it lets us in, and whether we may read and write what we need."""
    mqtt = settings.mqtt
    where = f"{mqtt.host}:{mqtt.port}"
    wanted = [*subscriptions(settings), *_retained_ones(settings)]
    try:
        async with _connected(settings, wanted) as (connection, reason):
            if reason is not None:
                return [Finding("broker", "TODO", f"{where}: {reason}")]
            refused = await _refused_writes(connection, settings)
            state = connection.state  # now it has its release as well
            refused = [*_refused_reads(state), *refused]
    except TlsFilesError as error:
        return [Finding("broker", "TODO", str(error))]
    text = f"{where}, MQTT {state.protocol}"
    text += f", {state.server_version}" if state.server_version else ""
    if state.protocol != "5":
        text += ", which does not say what we may not publish"
    return [Finding("broker", "ok", text), *refused]


def subscriptions(settings: Settings) -> list[Subscription]:
    """What the service listens to, as far as it does with these settings."""
    base, home = settings.mqtt.base_topic, settings.homeassistant
    filters = [each.topic_filter(base) for each in TABLE if each.direction == "in"]
    for source in settings.sources:
        filters += [overlaps.filter_of(each) for each in (source.topic, source.attributes) if each]
    filters += [overlaps.filter_of(each.topic) for each in settings.triggers if each.topic]
    filters += [topic_filter for _, topic_filter in overlaps.frigates(settings)]
    filters += [home.birth_topic] if home.enabled else []
    return [Subscription(each) for each in dict.fromkeys(filters)]


def published(settings: Settings) -> Iterator[tuple[str, str]]:
    """A topic of each kind that the service publishes on, and the filter that means all of them."""
    topics, home = Topics(settings.mqtt.base_topic), settings.homeassistant
    for spec in TABLE:
        if spec.direction == "out":
            topic_filter = spec.topic_filter(topics.base)
            yield topic_filter.replace("+", _CAMERA).replace("#", _CAMERA), topic_filter
    if home.enabled:
        levels = "+/+" if home.discovery == "device" else "+/+/+"
        named = levels.replace("+", f"moondream2mqtt_{_CAMERA}")
        yield f"{home.discovery_prefix}/{named}/config", f"{home.discovery_prefix}/{levels}/config"


def _retained_ones(settings: Settings) -> list[Subscription]:
    """What was said last on the topics that are ours alone, which is said again."""
    topics = [topic for topic, topic_filter in published(settings) if topic == topic_filter]
    return [Subscription(each, accept_retained=True, is_optional=True) for each in topics]


@asynccontextmanager
async def _connected(
    settings: Settings, wanted: Sequence[Subscription]
) -> AsyncIterator[tuple[Connection, str | None]]:
    """A connection like the service's, but of its own name; or the reason why there is none."""
    failed = asyncio.Event()

    def on_change(state: ConnectionState) -> None:
        if not state.is_connected:
            failed.set()

    name = f"moondream2mqtt-doctor-{uuid.uuid4().hex[:6]}"
    options = replace(connection_options(settings.mqtt, name), keeps_session=False)
    async with Connection(options, wanted, on_change=on_change) as connection:
        connecting = asyncio.create_task(connection.wait_connected())
        failing = asyncio.create_task(failed.wait())
        await asyncio.wait(
            {connecting, failing}, timeout=_CONNECT_S, return_when=asyncio.FIRST_COMPLETED
        )
        if not connecting.done():
            await asyncio.wait({connecting}, timeout=_GRACE_S)
        is_connected = connecting.done()
        connecting.cancel()
        failing.cancel()
        yield connection, None if is_connected else connection.state.reason or "no answer"


def _refused_reads(state: ConnectionState) -> Iterator[Finding]:
    for each in state.refused_subscriptions:
        yield _to_allow(f"refuses the subscription to {each}", "read", each)


async def _refused_writes(connection: Connection, settings: Settings) -> list[Finding]:
    """Of MQTT 5 alone: 3.1.1 has no word for it."""
    if connection.state.protocol != "5":
        return []
    retained = await _take_retained(connection)
    found: list[Finding] = []
    for topic, topic_filter in published(settings):
        if not await _may_publish(connection, topic, retained.get(topic, b"")):
            found.append(
                _to_allow(f"refuses what we publish on {topic_filter}", "write", topic_filter)
            )
    return found


async def _take_retained(connection: Connection) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        async with asyncio.timeout(_RETAINED_S):
            while True:
                message = await connection.inbox.get()
                connection.acknowledge(message)
                connection.release(message)
                if message.retain:
                    found[message.topic] = message.payload
    except TimeoutError:
        return found


async def _may_publish(connection: Connection, topic: str, payload: bytes) -> bool:
    for _ in range(_TRIES):
        try:
            await connection.publish(topic, payload)
        except NotConnectedError:
            async with asyncio.timeout(_CONNECT_S):
                await connection.wait_connected()
        except PublishError:
            return False
        else:
            return True
    return False


def _to_allow(problem: str, right: str, topic_filter: str) -> Finding:
    text = f"{problem}: allow it to mqtt.username, with Mosquitto by `topic {right} {topic_filter}`"
    return Finding("broker", "TODO", text)
