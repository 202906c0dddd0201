"""One connection from CONNECT to its end, over paho-mqtt; lives on the network thread only.

The rule not to miss: an acknowledgement is bound to the connection its message came over. Packet
ids start again on a new one, so a late PUBACK would acknowledge somebody else's frame, which then
is lost. Hence a new `Link` with a new paho client for every connection, and acknowledgements of an
older generation are dropped: the broker delivers those messages again.

paho is driven from here through its interface for foreign event loops: with all calls on this one
thread its locks are never contended, and reading can pause while acknowledgements still leave.
"""

import logging
import os
import selectors
import socket
import ssl
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from paho.mqtt import MQTTException
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties, VariableByteIntegers
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from broker.ending import Course, Reason, not_reached, refused
from broker.errors import NotConnectedError, PublishError
from broker.handover import Ack, Handover, Publish
from broker.message import NO_PROPERTIES, UNREADABLE, Message, Properties5
from broker.options import ConnectionOptions, Protocol, Subscription
from broker.outgoing import Outgoing, lost, unsendable
from broker.reconnect import End
from broker.sockets import Watched, has_pending, is_reset, send_at_once
from broker.state import ConnectionState

logger = logging.getLogger(__name__)

_CONNECT_TIMEOUT_S = 10.0  # from the TCP connection to CONNACK
_PUBACK_TIMEOUT_S = 30.0  # a broker that answers pings but nothing else for so long is stuck
_HANG_UP_TIMEOUT_S = 1.0
_TICK_S = 0.5  # keep-alive and timeouts are looked at this often

_SYS_VERSION = "$SYS/broker/version"
_SYS_DROPPED = "$SYS/broker/publish/messages/dropped"


class Link:
    """One connection.

    Args:
        before: The state that the connection before this one has left.
        quiet_s: See `Outgoing`.
        quarantined: What was on its way alone when the broker ended the connection before this
            one. If it answers at once, it was there all the time and has hung up on the message.
    """

    def __init__(
        self,
        options: ConnectionOptions,
        subscriptions: tuple[Subscription, ...],
        handover: Handover,
        before: ConnectionState,
        *,
        protocol: Protocol,
        quiet_s: float,
        quarantined: Publish | None,
        tls: ssl.SSLContext | None,
    ) -> None:
        self.state = before
        self._options = options
        self._subscriptions = subscriptions
        self._handover = handover
        self._protocol = protocol
        self._outgoing = Outgoing(quiet_s)
        self._quarantined = quarantined
        self._subscribing: dict[int, tuple[str, ...]] = {}
        self._course = Course()
        self._client = self._make_client(tls)

    def run(self) -> End:
        """Connect, and serve until the connection ends or the service stops."""
        try:
            self._connect()
        except (OSError, ValueError) as error:
            return not_reached(error, self._options)
        send_at_once(self._client.socket())
        with selectors.DefaultSelector() as selector:
            selector.register(self._handover.wake_receiver, selectors.EVENT_READ)
            problem = self._serve(Watched(selector))
        if self._course.refusal is not None:
            return refused(self._course.refusal, self._options)
        return self._course.end(
            problem,
            time.monotonic(),
            is_busy=self._outgoing.is_busy,
            is_alone=self._outgoing.quarantined is not None,
            is_gate_open=self._handover.is_gate_open(),
        )

    def close(self, reason: str) -> Publish | None:
        """Close what is open, and fail what is not acknowledged.

        Returns:
            The message for the next link's `quarantined`.
        """
        sock = self._client.socket()
        if sock is not None:
            self._hang_up(sock)
        not_sent = NotConnectedError(reason)
        is_stopping = self._handover.is_stopping
        on_trial = None if is_stopping or self._course.was_ours else self._outgoing.quarantined
        in_flight, waiting = self._outgoing.end()
        if self._quarantined is not None:  # no answer: the broker may have gone for any reason
            in_flight.append(self._quarantined)
        for publish in in_flight:
            if publish is not on_trial:
                self._handover.finish(publish, not_sent if is_stopping else lost(publish, reason))
        for publish in waiting:
            self._handover.finish(publish, not_sent)
        return on_trial

    def _make_client(self, tls: ssl.SSLContext | None) -> "_Client":
        options = self._options
        is_5 = self._protocol == "5"
        client = _Client(
            CallbackAPIVersion.VERSION2,
            client_id=options.client_id,
            clean_session=None if is_5 else False,
            protocol=MQTTProtocolVersion.MQTTv5 if is_5 else MQTTProtocolVersion.MQTTv311,
            transport=options.transport,
            reconnect_on_failure=False,
            manual_ack=True,
        )
        client.max_inflight_messages = 0  # counted here; paho looks at each at every PUBACK
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

    def _connect(self) -> None:
        options = self._options
        if self._protocol == "3.1.1":
            self._client.connect(options.host, options.port, options.keepalive)
            return
        # No Maximum Packet Size: the broker would skip larger frames, and nobody would know.
        properties = _make_properties(
            PacketTypes.CONNECT,
            SessionExpiryInterval=options.session_expiry,
            ReceiveMaximum=options.receive_maximum,
        )
        self._client.connect(
            options.host,
            options.port,
            options.keepalive,
            clean_start=False,
            properties=properties,
        )

    def _serve(self, watched: Watched) -> str | None:
        """Read, write and keep alive until the connection ends; return why, if we end it."""
        client, handover = self._client, self._handover
        started_at = time.monotonic()
        next_tick = started_at
        while (sock := client.socket()) is not None:
            # 1. What the event loop wants.
            is_stopping = handover.is_stopping  # before the commands, which came earlier
            handover.clear_wake()
            self._obey()
            if is_stopping:
                return "the service is stopping"
            if client.socket() is not sock:  # writing found it broken
                continue
            # 2. Wait, unless TLS has decrypted bytes that the selector does not see.
            may_read = self._course.connected_at is None or handover.is_gate_open()
            is_pending = may_read and has_pending(sock)
            watched.change(sock, may_read, client.want_write())
            can_read, can_write = watched.wait(0.0 if is_pending else _TICK_S)
            # 3. The socket; an error closes it, which ends the loop.
            if can_read or is_pending:
                self._course.was_reset = is_reset(sock)
                client.loop_read()
            if can_write and client.socket() is not None:
                client.loop_write()
            # 4. Time.
            if (now := time.monotonic()) >= next_tick:
                next_tick = now + _TICK_S
                client.loop_misc()
                if problem := self._find_overdue(now, started_at):
                    return problem
        return None

    def _obey(self) -> None:
        """Carry out the commands of the event loop."""
        commands = self._handover.commands
        while commands:
            command = commands.popleft()
            if isinstance(command, Ack):
                self._acknowledge(command)
            elif self._course.connected_at is None:
                problem = NotConnectedError("the broker has not answered yet")
                self._handover.finish(command, problem)
            elif command.topic == self._options.state_topic:
                self._publish(command)  # the last word: nothing may hold it up
            else:
                self._outgoing.add(command)
        while publish := self._outgoing.take(time.monotonic()):
            self._publish(publish)

    def _acknowledge(self, ack: Ack) -> None:
        if self._course.connected_at is not None and ack.generation == self.state.generation:
            self._client.ack(ack.mid, 1)
        else:
            self._handover.counters.stale_acks += 1

    def _publish(self, publish: Publish) -> None:
        try:
            info = self._client.publish(
                publish.topic,
                publish.payload,
                publish.qos,
                publish.retain,
                self._properties_of(publish),
            )
        except (ValueError, TypeError) as error:
            problem = PublishError("bad_topic", f"cannot be published: {error}")
            self._handover.finish(publish, problem)
            return
        except Exception:  # whatever paho finds in one message ends that one
            logger.exception("a message for %s cannot be published", publish.topic)
            problem = PublishError("unsendable", "cannot be published; the log has the reason")
            self._handover.finish(publish, problem)
            return
        if info.rc == MQTTErrorCode.MQTT_ERR_NO_CONN:  # writing the one before it found it broken
            self._handover.finish(publish, NotConnectedError("the connection was lost"))
        elif publish.qos:
            self._outgoing.sent(info.mid, publish, time.monotonic())
        elif info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._handover.finish(publish)
        else:
            self._handover.finish(publish, NotConnectedError("the connection was lost"))

    def _properties_of(self, publish: Publish) -> Properties | None:
        wanted: dict[str, Any] = {
            "UserProperty": list(publish.user_properties) or None,
            "CorrelationData": publish.correlation_data,
            "ContentType": publish.content_type,
            "MessageExpiryInterval": publish.message_expiry,
        }
        found = {name: value for name, value in wanted.items() if value is not None}
        if not found or self._protocol == "3.1.1":
            return None
        return _make_properties(PacketTypes.PUBLISH, **found)

    def _find_overdue(self, now: float, started_at: float) -> str | None:
        if self._course.connected_at is None and now - started_at > _CONNECT_TIMEOUT_S:
            return f"the broker did not answer within {_CONNECT_TIMEOUT_S:.0f} s"
        oldest = self._outgoing.oldest_sent_at
        if oldest is not None and now - oldest > _PUBACK_TIMEOUT_S:
            return f"the broker acknowledged nothing for {_PUBACK_TIMEOUT_S:.0f} s"
        return None

    def _hang_up(self, sock: Any) -> None:
        """Write what is queued and DISCONNECT, and let the broker read it all.

        paho closes its socket right after DISCONNECT. Were ours the only one, bytes that we have
        not read would turn that into a reset, and the broker would never see the acknowledgements
        it has not read yet: all those messages would come again.
        """
        until = time.monotonic() + _HANG_UP_TIMEOUT_S
        with suppress(OSError), socket.socket(fileno=os.dup(sock.fileno())) as keeper:
            self._client.disconnect()
            while self._client.socket() is not None and time.monotonic() < until:
                self._client.loop_write()
                time.sleep(0.001)
            keeper.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                keeper.settimeout(left)
                if not keeper.recv(65536):
                    break

    def _change(self, state: ConnectionState) -> None:
        self.state = state
        self._handover.report(state)

    # paho's callbacks, all called from `_serve`.

    def _on_connect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._course.refusal = Reason(reason.value, str(reason))
            return
        self._course.connected_at = time.monotonic()
        self._count(flags.session_present)
        if self._quarantined is not None:
            self._handover.finish(self._quarantined, unsendable(self._quarantined))
            self._quarantined = None
        self._outgoing.accepted(self._course.connected_at, _get(properties, "ReceiveMaximum"))
        if self._options.state_topic is not None:
            self._publish(Publish(self._options.state_topic, self._options.birth, retain=True))
        self._subscribe()
        self._change(
            ConnectionState(
                is_connected=True,
                is_subscribed=not self._subscriptions,
                protocol=self._protocol,
                session_present=flags.session_present,
                generation=self.state.generation + 1,
                server_version=self.state.server_version,
                max_packet_size=_get(properties, "MaximumPacketSize"),
                reason="",
            )
        )

    def _count(self, session_present: bool) -> None:
        if self.state.generation == 0:
            return
        counters = self._handover.counters
        counters.reconnects += 1
        if self._subscriptions and not session_present:
            counters.lost_sessions += 1
            logger.warning(
                "the broker has forgotten our session: what was sent while we were away is lost",
                extra={"action": "session_lost"},
            )

    def _on_disconnect(
        self,
        client: paho.Client,
        userdata: object,
        flags: paho.DisconnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server:
            self._course.disconnect = Reason(reason.value, str(reason))

    def _subscribe(self) -> None:
        if self._subscriptions:
            self._send_subscribe(*self._subscriptions)
        # Mosquitto tells; others refuse or say nothing, which does no harm.
        self._send_subscribe(
            Subscription(_SYS_VERSION, 0, accept_retained=True),
            Subscription(_SYS_DROPPED, 0, accept_retained=True),
        )

    def _send_subscribe(self, *wanted: Subscription) -> None:
        if self._protocol == "5":
            _, mid = self._client.subscribe(
                [(each.topic_filter, _subscribe_options(each)) for each in wanted]
            )
        else:
            pairs: list[tuple[str, int]] = [(each.topic_filter, each.qos) for each in wanted]
            _, mid = self._client.subscribe(pairs)
        if mid is not None:
            self._subscribing[mid] = tuple(each.topic_filter for each in wanted)

    def _on_subscribe(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        properties: Properties | None,
    ) -> None:
        filters = self._subscribing.pop(mid, ())
        if any(topic_filter.startswith("$SYS/") for topic_filter in filters):
            return
        refused = tuple(
            topic_filter
            for topic_filter, reason in zip(filters, reasons, strict=False)
            if reason.is_failure
        )
        if refused:
            logger.error(
                "the broker refuses the subscription to %s: check the rights of mqtt.username",
                ", ".join(refused),
                extra={"action": "subscription_refused"},
            )
        self._change(replace(self.state, is_subscribed=True, refused_subscriptions=refused))

    def _on_publish(
        self,
        client: paho.Client,
        userdata: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        publish = self._outgoing.answered(mid)
        if publish is None:  # QoS 0, finished when it was sent
            return
        if not reason.is_failure:
            self._course.was_useful = True
            self._handover.finish(publish)
            return
        self._course.was_denied = True
        problem = f"the broker refuses a message on {publish.topic}: {reason}"
        if publish.done is None:
            logger.error("%s", problem, extra={"action": "publish_refused"})
        self._handover.finish(publish, PublishError("refused", problem))

    def _on_message(
        self, client: paho.Client, userdata: object, received: paho.MQTTMessage
    ) -> None:
        try:
            topic = received.topic
        except UnicodeDecodeError:  # the broker should not have let it in
            logger.warning("a message whose topic is not UTF-8 is ignored")
            client.ack(received.mid, received.qos)
            return
        if topic.startswith("$SYS/"):
            self._learn(topic, bytes(received.payload[:128]).decode("utf-8", "replace"))
            return
        self._handover.receive(
            Message(
                topic,
                bytes(received.payload),  # bytes already: not copied
                received.qos,
                received.retain,
                received.dup,
                self.state.generation,
                received.mid,
                datetime.now(UTC),
                time.monotonic(),
                UNREADABLE
                if self._client.has_lost_properties
                else _read_properties(received.properties),
            )
        )

    def _learn(self, topic: str, text: str) -> None:
        if topic == _SYS_VERSION:
            self._change(replace(self.state, server_version=text))
        elif topic == _SYS_DROPPED and text.isdecimal():
            self._handover.counters.broker_dropped = int(text)


class _Client(paho.Client):
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
