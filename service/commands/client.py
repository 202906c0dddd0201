"""The commands' own connection to the broker.

The service itself speaks through `broker/`; a command is one client more. Most need nothing of
MQTT 5 and connect with 3.1.1, which every broker knows, unless the settings say 5.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, NamedTuple

import aiomqtt

from broker.errors import TlsFilesError
from broker.tls import tls_context
from service.commands.broker_errors import (
    BrokerError,
    HangUpError,
    PublishRefusedError,
    broker_error,
)
from service.errors import ConfigurationError
from service.mqtt_options import tls_options
from service.settings import MqttSettings

_TIMEOUT_S = 10.0
_RETAINED_S = 2.0  # a retained message comes at once, or there is none
_NO_SUBSCRIBERS = 0x10  # MQTT 5, section 3.4.2.1
_V5, _V311 = aiomqtt.ProtocolVersion.V5, aiomqtt.ProtocolVersion.V311


class Client(aiomqtt.Client):
    """Also hears what aiomqtt does not: that a publish was refused, that nobody answers CONNECT.

    Publishes come one after the other here, so a refusal is of the one that is waited for.
    """

    #: Whether anybody has subscribed to what was published last, as far as the broker says so.
    is_heard = True
    _refusal: Any = None  # a ReasonCode

    async def publish(self, /, topic: str, *args: Any, **words: Any) -> None:
        """Publish.

        Raises:
            PublishRefusedError: The broker did not take it, and said so.
        """
        try:
            await super().publish(topic, *args, **words)
        except aiomqtt.MqttError:
            if self._refusal is None:
                raise  # else Mosquitto before 2.1 has hung up after it
        if self._refusal is not None:
            raise PublishRefusedError(self._refusal, topic)

    def _on_publish(
        self, client: Any, userdata: Any, mid: int, reason_code: Any, properties: Any
    ) -> None:
        if reason_code.is_failure:
            self._refusal = reason_code
        self.is_heard = reason_code.value != _NO_SUBSCRIBERS
        super()._on_publish(client, userdata, mid, reason_code, properties)

    def _on_disconnect(
        self, client: Any, userdata: Any, flags: Any, reason_code: Any, properties: Any = None
    ) -> None:
        if not self._connected.done():  # else it would be waited for until the time is up
            self._connected.set_exception(HangUpError("it hung up without an answer"))
        super()._on_disconnect(client, userdata, flags, reason_code, properties)


@asynccontextmanager
async def connect(
    mqtt: MqttSettings, protocol: aiomqtt.ProtocolVersion | None = None
) -> AsyncIterator[Client]:
    """Be connected to the operator's broker.

    Args:
        mqtt: Where it is and who we are.
        protocol: Version to use; None for what the settings say.

    Raises:
        BrokerError: No connection, or it was lost inside the block.
        ConfigurationError: A certificate or key cannot be read.
    """
    default = _V5 if mqtt.protocol == "5" else _V311
    try:
        tls = tls_context(tls_options(mqtt.tls))
    except TlsFilesError as error:
        raise ConfigurationError(str(error)) from error
    client = Client(
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
    except aiomqtt.MqttError as error:
        raise broker_error(mqtt, error) from error


class Connected(NamedTuple):
    """A connection, and what can be said over it."""

    client: Client
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
        try:
            return Connected(await stack.enter_async_context(connect(mqtt, _V5)), is_5=True)
        except BrokerError as error:
            if not error.may_be_version:
                raise
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
