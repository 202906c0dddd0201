"""One connection from CONNECT to its end; lives on the network thread only.

The rule not to miss: an acknowledgement is bound to the connection its message came over. Packet
ids start again on a new one, so a late PUBACK would acknowledge somebody else's frame, which then
is lost. Hence a new `Link` with a new client for every connection, and acknowledgements of an older
generation are dropped: the broker delivers those messages again.
"""

import logging
import os
import selectors
import socket
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from broker.client import Accepted, Client
from broker.ending import Course, Reason, not_reached, refused
from broker.errors import BrokerError, NotConnectedError, PublishError
from broker.handover import Ack, Handover, Publish
from broker.message import Message
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
        self._subscribing: dict[int, Sequence[Subscription]] = {}
        self._course = Course()
        self._client = Client(options, protocol, tls, self)

    def run(self) -> End:
        """Connect, and serve until the connection ends or the service stops."""
        try:
            self._client.connect()
        except (OSError, ValueError) as error:
            return not_reached(error, self._options)
        send_at_once(self._client.socket)
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
        sock = self._client.socket
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

    def _serve(self, watched: Watched) -> str | None:
        """Read, write and keep alive until the connection ends; return why, if we end it."""
        client, handover = self._client, self._handover
        started_at = time.monotonic()
        next_tick = started_at
        while (sock := client.socket) is not None:
            # 1. What the event loop wants.
            is_stopping = handover.is_stopping  # before the commands, which came earlier
            handover.clear_wake()
            self._obey()
            if is_stopping:
                return "the service is stopping"
            if client.socket is not sock:  # writing found it broken
                continue
            # 2. Wait, unless TLS has decrypted bytes that the selector does not see.
            may_read = self._course.connected_at is None or handover.is_gate_open()
            is_pending = may_read and has_pending(sock)
            watched.change(sock, may_read, client.has_to_write)
            can_read, can_write = watched.wait(0.0 if is_pending else _TICK_S)
            # 3. The socket; an error closes it, which ends the loop.
            if can_read or is_pending:
                self._course.was_reset = is_reset(sock)
                client.read()
            if can_write and client.socket is not None:
                client.write()
            # 4. Time.
            if (now := time.monotonic()) >= next_tick:
                next_tick = now + _TICK_S
                client.keep_alive()
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
            self._client.acknowledge(ack.mid)
        else:
            self._handover.counters.stale_acks += 1

    def _publish(self, publish: Publish) -> None:
        try:
            mid = self._client.publish(publish)
        except BrokerError as error:
            self._handover.finish(publish, error)
            return
        except Exception:  # whatever is found in one message ends that one
            logger.exception("a message for %s cannot be published", publish.topic)
            problem = PublishError("unsendable", "cannot be published; the log has the reason")
            self._handover.finish(publish, problem)
            return
        if mid is None:
            self._handover.finish(publish)
        else:
            self._outgoing.sent(mid, publish, time.monotonic())

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
            while self._client.socket is not None and time.monotonic() < until:
                self._client.write()
                time.sleep(0.001)
            keeper.shutdown(socket.SHUT_WR)
            while (left := until - time.monotonic()) > 0:
                keeper.settimeout(left)
                if not keeper.recv(65536):
                    break

    def _change(self, state: ConnectionState) -> None:
        self.state = state
        self._handover.report(state)

    # What the client is told, all of it while `_serve` reads.

    def on_refused(self, reason: Reason) -> None:
        """The broker does not let us in."""
        self._course.refusal = reason

    def on_accepted(self, accepted: Accepted) -> None:
        """The broker lets us in: say that we are here, if that is so, and subscribe."""
        self._course.connected_at = time.monotonic()
        self._count(accepted.session_present)
        if self._quarantined is not None:
            self._handover.finish(self._quarantined, unsendable(self._quarantined))
            self._quarantined = None
        self._outgoing.accepted(self._course.connected_at, accepted.receive_maximum)
        if self._handover.is_announced and self._options.state_topic is not None:
            self._publish(Publish(self._options.state_topic, self._options.birth, retain=True))
        self._client.generation = self.state.generation + 1
        self._subscribe()
        self._change(
            ConnectionState(
                is_connected=True,
                is_subscribed=not self._subscriptions,
                protocol=self._protocol,
                session_present=accepted.session_present,
                generation=self._client.generation,
                server_version=self.state.server_version,
                max_packet_size=accepted.max_packet_size,
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

    def on_disconnect(self, reason: Reason) -> None:
        """The broker ends the connection."""
        self._course.disconnect = reason

    def _subscribe(self) -> None:
        if self._subscriptions:
            self._send_subscribe(*self._subscriptions)
        # Mosquitto tells; others refuse or say nothing, which does no harm.
        self._send_subscribe(
            Subscription(_SYS_VERSION, 0, accept_retained=True),
            Subscription(_SYS_DROPPED, 0, accept_retained=True),
        )

    def _send_subscribe(self, *subscriptions: Subscription) -> None:
        if (mid := self._client.subscribe(subscriptions)) is not None:
            self._subscribing[mid] = subscriptions

    def on_subscribed(self, mid: int, are_refused: Sequence[bool]) -> None:
        """The broker answers a subscription."""
        subscriptions = self._subscribing.pop(mid, ())
        if any(each.topic_filter.startswith("$SYS/") for each in subscriptions):
            return
        answers = zip(subscriptions, are_refused, strict=False)
        missing = [subscription for subscription, is_refused in answers if is_refused]
        for each in missing:
            logger.log(
                logging.WARNING if each.is_optional else logging.ERROR,
                "the broker refuses the subscription to %s: check the rights of mqtt.username",
                each.topic_filter,
                extra={"action": "subscription_refused"},
            )
        refused_filters = tuple(each.topic_filter for each in missing if not each.is_optional)
        self._change(replace(self.state, is_subscribed=True, refused_subscriptions=refused_filters))

    def on_published(self, mid: int, refusal: Reason | None) -> None:
        """The broker answers a message."""
        publish = self._outgoing.answered(mid)
        if publish is None:  # QoS 0, finished when it was sent
            return
        if refusal is None:
            self._course.was_useful = True
            self._handover.finish(publish)
            return
        self._course.was_denied = True
        problem = f"the broker refuses a message on {publish.topic}: {refusal.text}"
        if publish.done is None:
            logger.error("%s", problem, extra={"action": "publish_refused"})
        self._handover.finish(publish, PublishError("refused", problem))

    def on_message(self, message: Message) -> None:
        """A message has arrived."""
        if message.topic.startswith("$SYS/"):
            self._learn(message.topic, message.payload[:128].decode("utf-8", "replace"))
        else:
            self._handover.receive(message)

    def _learn(self, topic: str, text: str) -> None:
        if topic == _SYS_VERSION:
            self._change(replace(self.state, server_version=text))
        elif topic == _SYS_DROPPED and text.isdecimal():
            self._handover.counters.broker_dropped = int(text)
