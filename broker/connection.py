"""A connection to the broker for asyncio: it comes back by itself, for ever.

Nothing is kept for later here. A message that cannot go out now is refused, and the outbox keeps
it; what is unacknowledged when the connection ends fails, and the outbox sends it again. In the
other direction a message stays the broker's until `acknowledge`, which is void once the connection
it came over has gone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import NoReturn, Self

from broker.errors import (
    BrokerError,
    NotConnectedError,
    PublishError,
    TakenOverError,
)
from broker.handover import Ack, Finished, Handover, Publish
from broker.link import Link
from broker.message import Message
from broker.network import NetworkThread
from broker.options import ConnectionOptions, Subscription
from broker.state import ConnectionState, Counters
from broker.tls import tls_context

logger = logging.getLogger(__name__)

_OFFLINE_TIMEOUT_S = 2.0
_JOIN_TIMEOUT_S = 7.0  # paho's TCP connect takes at most 5
_PACKET_OVERHEAD_BYTES = 128  # headers and fixed properties, generously


class Connection:
    """One session with the broker.

    Args:
        options: Where and how.
        subscriptions: Made on each connect; what matches arrives in `inbox`.
        on_change: Called on the event loop with each new state.

    Attributes:
        inbox: What has arrived, in order. Bounded by `max_inflight_bytes`: above it nothing more
            is read until `release` is called, while acknowledgements and pings still leave.
    """

    _make_link: type[Link] = Link

    def __init__(
        self,
        options: ConnectionOptions,
        subscriptions: Iterable[Subscription] = (),
        *,
        on_change: Callable[[ConnectionState], None] | None = None,
    ) -> None:
        self.inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._options = options
        self._on_change = on_change
        self._state = ConnectionState()
        self._connected = asyncio.Event()
        self._taken_over: TakenOverError | None = None
        self._has_failed = asyncio.Event()
        self._handover = Handover(options.max_inflight_bytes)
        self._thread = NetworkThread(options, tuple(subscriptions), self._handover, self._make_link)

    async def __aenter__(self) -> Self:
        """Begin to connect; `wait_connected` waits for it.

        Raises:
            TlsFilesError: A certificate or key cannot be read.
        """
        tls = tls_context(self._options.tls)
        self._handover.open(asyncio.get_running_loop(), self._take_events)
        self._thread.start(tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            await self._publish_offline()
        finally:
            closing = asyncio.create_task(self._close(), name="mqtt close")
            try:
                await asyncio.shield(closing)
            except asyncio.CancelledError:
                await closing  # the thread ends soon, and its sockets are nobody else's to close
                raise

    async def _close(self) -> None:
        self._handover.stop()
        await asyncio.to_thread(self._thread.join, _JOIN_TIMEOUT_S)
        self._take_events()
        self._handover.close()

    @property
    def state(self) -> ConnectionState:
        """What is known now."""
        return self._state

    @property
    def counters(self) -> Counters:
        """What has happened so far."""
        return self._handover.counters

    @property
    def is_connected(self) -> bool:
        """Whether the broker has accepted us, and nothing else is known."""
        return self._state.is_connected

    @property
    def held_bytes(self) -> int:
        """Bytes received and not yet released."""
        return self._handover.held_bytes

    async def wait_connected(self) -> None:
        """Wait until there is a connection and the subscriptions are made.

        The answer to a subscription can come behind messages of the session: where there can be
        many, they must be taken and released meanwhile.
        """
        await self._connected.wait()

    def announce(self) -> None:
        """Say the birth message from now on: at once, and after each new connect.

        Who sends at its sight must be heard, so it waits until everything listens.
        """
        topic = self._options.state_topic
        if topic is None or self._handover.is_announced:
            return
        self._handover.is_announced = True
        # Refused where there is no connection: the next one says it by itself.
        self._handover.command(Publish(topic, self._options.birth, retain=True))

    async def watch(self) -> NoReturn:
        """Wait for what connecting again cannot mend.

        Raises:
            TakenOverError: Another client uses our client id.
        """
        await self._has_failed.wait()
        assert self._taken_over is not None  # noqa: S101 - set before the event
        raise self._taken_over

    def acknowledge(self, message: Message) -> bool:
        """Send PUBACK for a message whose job is committed; in the order of the calls.

        Returns:
            Whether it can still be sent. If not, the connection it came over has gone, and the
            broker delivers it again.
        """
        if message.qos == 0:
            return True
        self._handover.command(Ack(message.generation, message.mid))
        return self._state.is_connected and message.generation == self._state.generation

    def release(self, message: Message) -> None:
        """Give back the bytes of a message that is committed or dropped; once for each."""
        self._handover.release(message.num_bytes)

    async def publish(
        self,
        topic: str,
        payload: bytes,
        *,
        qos: int = 1,
        retain: bool = False,
        user_properties: tuple[tuple[str, str], ...] = (),
        correlation_data: bytes | None = None,
        content_type: str | None = None,
        message_expiry: int | None = None,
    ) -> None:
        """Publish, and return when the broker has acknowledged (at QoS 0: when it is sent).

        Properties are left out on MQTT 3.1.1; `message_expiry` is in seconds.

        Raises:
            NotConnectedError: There is no connection, or it ended first: the message may have
                arrived or not.
            PublishError: This message is refused.
        """
        await self.send(
            Publish(
                topic,
                payload,
                qos,
                retain,
                user_properties,
                correlation_data=correlation_data,
                content_type=content_type,
                message_expiry=message_expiry,
            )
        )

    def send(self, message: Publish) -> asyncio.Future[None]:
        """Like `publish`, but return at once with a future of the acknowledgement.

        Messages leave in the order of the calls. A sender of many needs no task for each this way,
        and bounds how many are under way by the futures it keeps.

        Raises:
            NotConnectedError: There is no connection. Later errors are set on the future.
            PublishError: It is larger than the broker allows.
        """
        if not self._state.is_connected:
            raise NotConnectedError(self._state.reason)
        _check_size(message, self._state.max_packet_size)
        message.done = asyncio.get_running_loop().create_future()
        self._handover.command(message)
        return message.done

    def _take_events(self) -> None:
        """Take what the network thread has left."""
        for event in self._handover.take():
            if isinstance(event, Message):
                self.inbox.put_nowait(event)
            elif isinstance(event, Finished):
                _settle(event)
            elif isinstance(event, ConnectionState):
                self._change(event)
            else:
                self._taken_over = event
                self._has_failed.set()

    def _change(self, state: ConnectionState) -> None:
        before, self._state = self._state, state
        if state.is_connected and not before.is_connected:
            self._greet(state)
        if state.is_connected and state.is_subscribed:
            self._connected.set()
        else:
            self._connected.clear()
        if self._on_change is not None:
            self._on_change(state)

    def _greet(self, state: ConnectionState) -> None:
        logger.info(
            "connected to the broker at %s:%d with MQTT %s",
            self._options.host,
            self._options.port,
            state.protocol,
            extra={"action": "broker_connected"},
        )

    async def _publish_offline(self) -> None:
        """A wanted end sends no last will, so it is published."""
        if self._options.state_topic is None or not self.is_connected:
            return
        with suppress(BrokerError, TimeoutError):
            async with asyncio.timeout(_OFFLINE_TIMEOUT_S):
                await self.publish(self._options.state_topic, self._options.will, retain=True)


def _settle(finished: Finished) -> None:
    if finished.done.done():  # who waited was cancelled
        return
    if finished.error is None:
        finished.done.set_result(None)
    else:
        finished.done.set_exception(finished.error)


def _check_size(message: Publish, limit: int | None) -> None:
    """A larger packet closes the connection, at every try."""
    if limit is None:
        return
    num_bytes = _PACKET_OVERHEAD_BYTES + len(message.payload) + len(message.topic.encode())
    num_bytes += len(message.correlation_data or b"")
    num_bytes += sum(
        5 + len(name.encode()) + len(value.encode()) for name, value in message.user_properties
    )
    if num_bytes > limit:
        raise PublishError(
            "too_large", f"{num_bytes} bytes for {message.topic}; the broker takes at most {limit}"
        )
