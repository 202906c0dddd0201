"""The commands' own connection to the broker.

The service itself speaks through `broker/`; a command is one client more and needs nothing of
MQTT 5, so it connects with 3.1.1, which every broker knows, unless the settings say 5.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiomqtt

from broker.errors import TlsFilesError
from broker.tls import tls_context
from service.errors import ConfigurationError, ServiceError
from service.mqtt_options import tls_options
from service.settings import MqttSettings

_TIMEOUT_S = 10.0


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
    default = aiomqtt.ProtocolVersion.V5 if mqtt.protocol == "5" else aiomqtt.ProtocolVersion.V311
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


def _advice(error: aiomqtt.MqttCodeError) -> str:
    # 3.1.1 refuses with 4 and 5, MQTT 5 with 134 and 135: bad password, not authorized.
    code = getattr(error.rc, "value", error.rc)
    return "; check mqtt.username and mqtt.password" if code in {4, 5, 134, 135} else ""
