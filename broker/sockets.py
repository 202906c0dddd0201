"""Waiting for one socket and a wake-up, and what paho does not say of its socket."""

import selectors
import socket
import ssl
from typing import Any


class Watched:
    """The selector's view of one socket, with the wake-up besides.

    Args:
        selector: The wake-up is registered in it.
    """

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._sock: Any = None
        self._events = 0

    def change(self, sock: Any, read: bool, write: bool) -> None:
        """Wait for these; for neither means that only a wake-up or the time ends the wait."""
        events = (selectors.EVENT_READ if read else 0) | (selectors.EVENT_WRITE if write else 0)
        if events == self._events:
            return
        if self._events:
            self._selector.unregister(self._sock)
        if events:
            self._selector.register(sock, events)
        self._sock, self._events = sock, events

    def wait(self, timeout_s: float) -> tuple[bool, bool]:
        """Wait; tell whether the socket can be read and written."""
        for key, events in self._selector.select(timeout_s):
            if key.fileobj is self._sock:
                return bool(events & selectors.EVENT_READ), bool(events & selectors.EVENT_WRITE)
        return False, False


def has_pending(sock: Any) -> bool:
    """Whether TLS has decrypted bytes that the selector does not see."""
    return isinstance(sock, ssl.SSLSocket) and sock.pending() > 0


def is_reset(sock: Any) -> bool:
    """Whether the network cut the connection, which paho does not tell from a close."""
    if not isinstance(sock, socket.socket):  # a websocket hides it
        return False
    try:
        socket.socket.recv(sock, 1, socket.MSG_PEEK)  # below TLS, which cannot peek
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False


def send_at_once(sock: Any) -> None:
    """Switch off Nagle's algorithm.

    Or a PUBACK can wait 40 ms for the broker's delayed ACK of the one before.
    """
    if isinstance(sock, socket.socket):  # a websocket hides it
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
