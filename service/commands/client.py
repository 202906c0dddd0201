"""The commands' own connection to the broker.

The service itself speaks through `broker/`; a command is one client more. Most need nothing of
MQTT 5 and connect with 3.1.1, which every broker knows, unless the settings say 5.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple

import aiomqtt

from broker.errors import TlsFilesError
from broker.tls import tls_context
from service.errors import ConfigurationError, ServiceError
from service.mqtt_options import tls_options
from service.settings import MqttSettings

_TIMEOUT_S = 10.0
_RETAINED_S = 2.0  # a retained message comes at once, or there is none
_V5, _V311 = aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311


class BrokerError(ServiceError):
    """The broker cannot be reached, refuses, or went away."""

    code = "broker"


@asynccontextmanager
async def connect(
    mqtt: MqttSettings, protocol: aiomqtt.ProtocolVersion | None = None
) -> AsyncIterator[aiomqtt.Client]:
    """Be connected to the operator's broker.

    Args:
        mqtt: Where it is and who we are.
        protocol: Version to use; None for what the settings say.

    Raises:
        BrokerError: No connection, or it was lost inside the block.
        ConfigurationError: A certificate or key cannot be read.
    """
    where = f"broker {mqtt.host}:{mqtt.port}"
    default = _V5 if mqtt.protocol == "5" else _V311
    try:
        tls = tls_context(tls_options(mqtt.tls))
    except TlsFilesError as error:
        raise ConfigurationError(str(error)) from error
    client = aiomqtt.Client(
        mqtt.host,
        mqtt.port,
        username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        protocol=protocol or default,
        transport=mqtt.transport,
        websocket_path=mqtt.websocket_path,
        keepalive=mqtt.keepalive,
        tls_context=tls,
        timeout=_TIMEOUT_S,
    )
    try:
        async with client:
            yield client
    except aiomqtt.MqttCodeError as error:
        raise BrokerError(f"{where}: {error}{_advice(error)}") from error
    except aiomqtt.MqttError as error:
        raise BrokerError(
            f"{where}: {error}; is it running, and are mqtt.host and mqtt.port right?"
        ) from error


class Connected(NamedTuple):
    """A connection, and what can be said over it."""

    client: aiomqtt.Client
    is_5: bool  #: MQTT 5, not 3.1.1


@asynccontextmanager
async def connect_newest(mqtt: MqttSettings) -> AsyncIterator[Connected]:
    """Be connected with MQTT 5, or with 3.1.1 where the broker or the settings have no more.

    Raises:
        BrokerError, ConfigurationError: See `connect`.
    """
    async with AsyncExitStack() as stack:
        yield await _enter_newest(stack, mqtt)


async def _enter_newest(stack: AsyncExitStack, mqtt: MqttSettings) -> Connected:
    if mqtt.protocol == "auto":
        # What is wrong besides the version is wrong with 3.1.1 as well, which then says so.
        with suppress(BrokerError):
            return Connected(await stack.enter_async_context(connect(mqtt, _V5)), is_5=True)
    return Connected(await stack.enter_async_context(connect(mqtt)), is_5=mqtt.protocol == "5")


async def retained(client: aiomqtt.Client, topic: str) -> str:
    """The retained message of a topic; empty where there is none."""
    await client.subscribe(topic)
    with suppress(TimeoutError):
        async with asyncio.timeout(_RETAINED_S):
            async for message in client.messages:
                if message.topic.value == topic:  # not one that was asked for before
                    return bytes(message.payload).decode(errors="replace")
    return ""


def _advice(error: aiomqtt.MqttCodeError) -> str:
    # 3.1.1 refuses with 4 and 5, MQTT 5 with 134 and 135: bad password, not authorized.
    code = getattr(error.rc, "value", error.rc)
    return "; check mqtt.username and mqtt.password" if code in {4, 5, 134, 135} else ""
