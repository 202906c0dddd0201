"""paho-mqtt as one connection uses it; the one file that knows paho.

paho is driven from outside through its interface for foreign event loops: with all calls on one
thread its locks are never contended, and reading can pause while acknowledgements still leave. What
it calls back with arrives at a `Listener` as plain data.
"""

import logging
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.ending import Reason
from broker.errors import NotConnectedError, PublishError
from broker.handover import Publish
from broker.message import NO_PROPERTIES, UNREADABLE, Message, Properties5
from broker.options import ConnectionOptions, Subscription
from broker.options import Protocol as MqttVersion

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The CONNACK of a broker that lets us in."""

    session_present: bool
    receive_maximum: int | None
    max_packet_size: int | None


class Listener(Protocol):
    """What the broker says; called from `loop_read`, and `on_disconnect` from wherever it shows."""

    def on_accepted(self, accepted: Accepted) -> None:
        """The connection is open."""

    def on_refused(self, reason: Reason) -> None:
        """It will not be."""

    def on_disconnect(self, reason: Reason) -> None:
        """The broker ends it, and says why."""

    def on_subscribed(self, mid: int, are_refused: Sequence[bool]) -> None:
        """The subscriptions are made, those apart that are refused."""

    def on_published(self, mid: int, refusal: Reason | None) -> None:
        """A message at QoS 1 is acknowledged, or refused."""

    def on_message(self, message: Message) -> None:
        """A message arrives."""


class Client:
    """One client for one connection.

    Args:
        options: Where and how.
        protocol: Of MQTT.
        tls: How to encrypt.
        listener: Is told what the broker says.

    Attributes:
        generation: Given to the messages that arrive.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        protocol: MqttVersion,
        tls: ssl.SSLContext | None,
        listener: Listener,
    ) -> None:
        self.generation = 0
        self._options = options
        self._is_5 = protocol == "5"
        self._listener = listener
        self._paho = self._make(tls)

    def _make(self, tls: ssl.SSLContext | None) -> "_Paho":
        options = self._options
        client = _Paho(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if self._is_5 else not options.keeps_session,
            protocol=MQTTProtocolVersion.MQTTv5 if self._is_5 else MQTTProtocolVersion.MQTTv311,
            transport=options.transport,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0  # counted by us; paho looks at each at every PUBACK
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_publish = self._on_publish
        if options.username is not None:
            client.username_pw_set(options.username, options.password)
        if tls is not None:
            client.tls_set_context(tls)
        if options.transport == "websockets":
            client.ws_set_options(path=options.websocket_path)
        if options.state_topic is not None:
            client.will_set(options.state_topic, options.will, qos=1, retain=True)
        return client

    # The socket and what it needs

    def connect(self) -> None:
        """Open the socket and write CONNECT.

        Raises:
            OSError, ValueError: There is no broker there.
        """
        options = self._options
        if not self._is_5:
            self._paho.connect(options.host, options.port, options.keepalive)
            return
        # No Maximum Packet Size: the broker would skip larger frames, and nobody would know.
        properties = _make_properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=options.session_expiry if options.keeps_session else 0,
            ReceiveMaximum=options.receive_maximum,
        )
        self._paho.connect(
            options.host,
            options.port,
            options.keepalive,
            clean_start=not options.keeps_session,
            properties=properties,
        )

    @property
    def socket(self) -> Any:
        """The socket, or what a websocket puts in its place; None once it is closed."""
        return self._paho.socket()

    @property
    def has_to_write(self) -> bool:
        """Whether something waits for the socket to be writable."""
        return self._paho.want_write()

    def read(self) -> None:
        """Take what has arrived, some at a time."""
        self._paho.loop_read()

    def write(self) -> None:
        """Write what waits."""
        self._paho.loop_write()

    def keep_alive(self) -> None:
        """Send a ping when it is time; close the socket when none was answered."""
        self._paho.loop_misc()

    def disconnect(self) -> None:
        """Write DISCONNECT behind what waits; the socket is closed then."""
        self._paho.disconnect()

    # What we say

    def acknowledge(self, mid: int) -> None:
        """Send PUBACK."""
        self._paho.ack(mid, 1)

    def publish(self, message: Publish) -> int | None:
        """Send a message.

        Returns:
            Its packet id, under which it is acknowledged; None at QoS 0, when it has left.

        Raises:
            NotConnectedError: Writing has found the connection broken.
            PublishError: paho cannot write this message.
        """
        try:
            info = self._paho.publish(
                message.topic,
                message.payload,
                message.qos,
                message.retain,
                publish_properties(message) if self._is_5 else None,
            )
        except (ValueError, TypeError) as error:
            raise PublishError("bad_topic", f"cannot be published: {error}") from error
        except Exception as error:
            # Whatever paho finds in one message ends that one.
            logger.exception("a message for %s cannot be published", message.topic)
            problem = "cannot be published; the log has the reason"
            raise PublishError("unsendable", problem) from error
        is_broken = info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN  # by the one before it
        if is_broken or (not message.qos and info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS):
            raise NotConnectedError("the connection was lost")
        return info.mid if message.qos else None

    def subscribe(self, subscriptions: Sequence[Subscription]) -> int | None:
        """Send SUBSCRIBE; returns the packet id of its answer, None if it could not be sent."""
        if self._is_5:
            _, mid = self._paho.subscribe(
                [(each.topic_filter, _subscribe_options(each)) for each in subscriptions]
            )
        else:
            pairs: list[tuple[str, int]] = [(each.topic_filter, each.qos) for each in subscriptions]
            _, mid = self._paho.subscribe(pairs)
        return mid

    # What paho calls

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._listener.on_refused(_plain(reason))
            return
        accepted = Accepted(
            flags.session_present,
            _get(properties, "ReceiveMaximum"),
            _get(properties, "MaximumPacketSize"),
        )
        self._listener.on_accepted(accepted)

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._listener.on_disconnect(_plain(reason))

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        self._listener.on_subscribed(mid, [reason.is_failure for reason in reasons])

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._listener.on_published(mid, _plain(reason) if reason.is_failure else None)

    def _on_message(
        self, client: paho.Client, userdata: object, received: paho.MQTTMessage
    ) -> None:
        try:
            topic = received.topic
        except UnicodeDecodeError:  # the broker should not have let it in
            logger.warning("a message whose topic is not UTF-8 is ignored")
            client.ack(received.mid, received.qos)
            return
        self._listener.on_message(
            Message(
                topic,
                bytes(received.payload),  # bytes already: not copied
                received.qos,
                received.retain,
                received.dup,
                self.generation,
                received.mid,
                datetime.now(UTC),
                time.monotonic(),
                UNREADABLE
                if self._paho.has_lost_properties
                else _read_properties(received.properties),
            )
        )


class _Paho(paho.Client):
    """paho, to which a message is one even when it cannot read the properties.

    Brokers pass on what paho refuses: Mosquitto a payload format of 2, and U+FEFF in a text. paho
    ends the connection over it, and on the next one the broker delivers the message again, for
    ever: nothing behind it would arrive any more.

    Attributes:
        has_lost_properties: Those of the message that `on_message` is called with.
    """

    has_lost_properties = False

    def _handle_publish(self) -> MQTTErrorCode:
        try:
            return super()._handle_publish()
        except MQTTException:
            if self.protocol != MQTTProtocolVersion.MQTTv5:
                raise
            self._in_packet["packet"] = _without_properties(
                self._in_packet["packet"], has_id=bool(self._in_packet["command"] & 0x06)
            )
        self.has_lost_properties = True
        try:
            return super()._handle_publish()
        finally:
            self.has_lost_properties = False


def publish_properties(publish: Publish) -> Properties | None:
    """The MQTT 5 properties of a message as paho takes them; None for one without any."""
    values: dict[str, Any] = {
        "UserProperty": list(publish.user_properties) or None,
        "ResponseTopic": publish.response_topic,
        "CorrelationData": publish.correlation_data,
        "ContentType": publish.content_type,
        "MessageExpiryInterval": publish.message_expiry,
    }
    found = {name: value for name, value in values.items() if value is not None}
    return _make_properties(PacketTypes.PUBLISH, **found) if found else None


def _make_properties(packet_type: int, **values: Any) -> Properties:
    properties = Properties(packet_type)  # type: ignore[no-untyped-call]
    for name, value in values.items():
        setattr(properties, name, value)
    return properties


def _get(properties: Properties | None, name: str) -> int | None:
    # What did not come is not an attribute.
    value: int | None = getattr(properties, name, None)
    return value


def _read_properties(properties: Properties | None) -> Properties5:
    if properties is None:
        return NO_PROPERTIES
    found = vars(properties)
    return Properties5(
        user=tuple(found.get("UserProperty", ())),
        response_topic=found.get("ResponseTopic"),
        correlation_data=found.get("CorrelationData"),
        message_expiry=found.get("MessageExpiryInterval"),
        content_type=found.get("ContentType"),
    )


def _without_properties(packet: bytearray, *, has_id: bool) -> bytearray:
    """A PUBLISH packet of MQTT 5, from its topic on, with an empty list of properties."""
    start = 2 + int.from_bytes(packet[:2]) + (2 if has_id else 0)
    num_bytes, end = VariableByteIntegers.decode(packet[start:])  # type: ignore[no-untyped-call]
    return packet[:start] + b"\0" + packet[start + end + num_bytes :]


def _subscribe_options(subscription: Subscription) -> SubscribeOptions:
    return SubscribeOptions(
        subscription.qos,
        retainHandling=(
            SubscribeOptions.RETAIN_SEND_IF_NEW_SUB
            if subscription.accept_retained
            else SubscribeOptions.RETAIN_DO_NOT_SEND
        ),
    )


def _plain(reason: ReasonCode) -> Reason:
    return Reason(reason.value, str(reason))
