"""An MQTT client that is none of ours: paho's own loop, its own reconnects, its own session.

The checker and the cameras use it, so that a mistake in our connection cannot hide itself.
"""

import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Self

from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

_SESSION_S = 600  # longer than any broker is away in a test
_RECONNECT_S = (0.05, 0.5)


def properties(packet_type: int, **values: object) -> Properties:
    made = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(made, name, value)
    return made


class Client:
    """One connection with a session that outlives it; `on_message` is called on its thread."""

    def __init__(
        self,
        port: int,
        name: str,
        *,
        filters: tuple[str, ...] = (),
        on_message: Callable[[paho.MQTTMessage], None] | None = None,
        on_puback: Callable[[int, ReasonCode], None] | None = None,
    ) -> None:
        self._port = port
        self._filters = filters
        self.num_subscribed = 0
        self.num_drops = 0
        client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=f"{name}-{uuid.uuid4().hex[:8]}",
            protocol=MQTTProtocolVersion.MQTTv5,
        )
        client.reconnect_delay_set(*_RECONNECT_S)  # type: ignore[arg-type]
        client.max_inflight_messages_set(50)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_disconnect = self._on_disconnect
        if on_message is not None:
            client.on_message = lambda _client, _data, message: on_message(message)
        if on_puback is not None:
            client.on_publish = lambda _client, _data, mid, reason, _props: on_puback(mid, reason)
        self.paho = client

    def __enter__(self) -> Self:
        self.paho.connect(
            "127.0.0.1",
            self._port,
            clean_start=False,
            properties=properties(PacketTypes.CONNECT, SessionExpiryInterval=_SESSION_S),
        )
        self.paho.loop_start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # The broker of several tests shall not keep what nobody will fetch.
        self.paho.disconnect(properties=properties(PacketTypes.DISCONNECT, SessionExpiryInterval=0))
        self.paho.loop_stop()

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        announced: Properties | None,
    ) -> None:
        if self._filters:
            client.subscribe([(each, SubscribeOptions(qos=1)) for each in self._filters])

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        announced: Properties | None,
    ) -> None:
        self.num_subscribed += 1

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        announced: Properties | None,
    ) -> None:
        self.num_drops += 1
