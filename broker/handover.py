"""What crosses between the event loop and the network thread, and the gate that bounds it.

Two deques carry everything, each with a flag that says whether the other side has been woken: one
wake-up, a system call and a switch of threads, serves whatever has gathered by then. A side clears
its flag first and empties its deque then, so what is appended in between is seen now or wakes it
again.
"""

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from broker.errors import BrokerError, NotConnectedError, TakenOverError
from broker.message import Message
from broker.state import ConnectionState, Counters


@dataclass(slots=True)
class Publish:
    """A message to send."""

    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False
    user_properties: tuple[tuple[str, str], ...] = ()
    correlation_data: bytes | None = None
    content_type: str | None = None
    message_expiry: int | None = None  #: seconds
    response_topic: str | None = None
    num_lost: int = 0  #: connections that ended while it was on its way
    done: asyncio.Future[None] | None = None  #: None: nobody waits for it


@dataclass(slots=True)
class Ack:
    """A message to acknowledge."""

    generation: int
    mid: int


@dataclass(slots=True)
class Finished:
    """A `Publish` that has been acknowledged or has failed."""

    done: asyncio.Future[None]
    error: BrokerError | None


Command = Publish | Ack
Event = Message | ConnectionState | Finished | TakenOverError


class Handover:
    """Commands one way, events the other.

    Args:
        capacity_bytes: Of messages that were received and not yet released.
    """

    def __init__(self, capacity_bytes: int) -> None:
        self.counters = Counters()
        self.commands: deque[Command] = deque()  # bounded by who waits for them
        self.is_stopping = False
        self.is_announced = False  # written by the event loop only
        self._capacity_bytes = capacity_bytes
        self._events: deque[Event] = deque()  # messages by the gate, the others by the commands
        self._received_bytes = 0  # written by the thread only
        self._released_bytes = 0  # written by the event loop only
        self._is_gate_closed = False
        self._is_loop_woken = False
        self._is_thread_woken = False
        self._has_ended = False

    def open(self, loop: asyncio.AbstractEventLoop, take_events: Callable[[], None]) -> None:
        """Begin; `take_events` is called on the loop when there are some."""
        self._loop = loop
        self._take_events = take_events
        self.wake_receiver, self._wake_sender = socket.socketpair()
        self.wake_receiver.setblocking(False)
        self._wake_sender.setblocking(False)

    def close(self) -> None:
        """End; the thread has gone."""
        self.wake_receiver.close()
        self._wake_sender.close()

    @property
    def held_bytes(self) -> int:
        """Bytes received and not yet released."""
        return self._received_bytes - self._released_bytes

    # On the event loop.

    def command(self, command: Command) -> None:
        """Ask the thread for something; in the order of the calls."""
        self.commands.append(command)
        self._wake_thread()

    def stop(self) -> None:
        """Ask the thread to end, after the commands it has."""
        self.is_stopping = True
        self._wake_thread()

    def release(self, num_bytes: int) -> None:
        """Make room for what has not been read yet."""
        self._released_bytes += num_bytes
        if self._is_gate_closed and self.held_bytes < self._capacity_bytes:
            self._wake_thread()

    def take(self) -> Iterator[Event]:
        """What has happened since the last call."""
        self._is_loop_woken = False
        if self._has_ended:  # a command can have come after the thread's last look
            self.refuse_commands("the connection is closed")
        while self._events:
            yield self._events.popleft()

    def _wake_thread(self) -> None:
        if not self._is_thread_woken:
            self._is_thread_woken = True
            with suppress(OSError):  # closed: the thread has ended
                self._wake_sender.send(b"\0")

    # On the network thread.

    def clear_wake(self) -> None:
        """Be woken again by the next command."""
        if self._is_thread_woken:
            self._is_thread_woken = False
            with suppress(BlockingIOError):
                self.wake_receiver.recv(64)

    def is_gate_open(self) -> bool:
        """Whether there is room for another message; if not, `release` wakes the thread."""
        if self.held_bytes < self._capacity_bytes:
            self._is_gate_closed = False
            return True
        # Set before the second look: a release in between is seen or wakes us.
        self._is_gate_closed = True
        return self.held_bytes < self._capacity_bytes

    def receive(self, message: Message) -> None:
        """Hand over a message; its bytes count until they are released."""
        self._received_bytes += message.num_bytes
        self.report(message)

    def finish(self, publish: Publish, error: BrokerError | None = None) -> None:
        """Tell who waits for a message how it ended."""
        if publish.done is not None:
            self.report(Finished(publish.done, error))

    def report(self, event: Event) -> None:
        """Hand over an event; in the order of the calls."""
        self._events.append(event)
        if not self._is_loop_woken:
            self._is_loop_woken = True
            with suppress(RuntimeError):  # the loop is closed: nobody is left to care
                self._loop.call_soon_threadsafe(self._take_events)

    def refuse_commands(self, reason: str) -> None:
        """Refuse what was asked for while there is no connection."""
        while self.commands:
            command = self.commands.popleft()
            if isinstance(command, Publish):
                self.finish(command, NotConnectedError(reason))
            else:
                self.counters.stale_acks += 1

    def end(self) -> None:
        """Say that the thread does nothing more."""
        self._has_ended = True
