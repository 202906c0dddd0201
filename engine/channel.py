"""The child's end of the socket.

When the service is gone there is nobody to work for: the process ends at once, whatever it is in
the middle of.
"""

import ctypes
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable

from engine.protocol import (
    PREAMBLE_BYTES,
    Message,
    ToService,
    decode,
    encode,
    lengths,
)

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_EXIT_NOT_UNDERSTOOD = 6  # beside those of `worker`


class Channel:
    """Messages over an inherited socket.

    Args:
        descriptor: Of the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._stream = self._socket.makefile("rb")
        self._lock = threading.Lock()

    def send(self, message: ToService) -> None:
        """Write a message, from any thread; waits while the service does not read."""
        with self._lock:
            try:
                self._socket.sendall(encode(message))
            except OSError:
                os._exit(0)

    def listen(self, take: Callable[[Message], None]) -> None:
        """Hand over what arrives, from a thread of its own, for as long as the service lives."""
        threading.Thread(target=self._listen, args=(take,), name="channel", daemon=True).start()

    def _listen(self, take: Callable[[Message], None]) -> None:
        code = 0
        try:
            while (message := self._receive()) is not None:
                take(message)
        except ValueError as error:
            logger.error("what the service sent is no message: %s", error)
            code = _EXIT_NOT_UNDERSTOOD
        finally:
            # Not an exit of this thread alone, and nothing is worth cleaning up.
            sys.stderr.flush()
            os._exit(code)

    def _receive(self) -> Message | None:
        """Wait for the next message; None when the service has gone, if in the middle of one."""
        preamble = self._stream.read(PREAMBLE_BYTES)
        if len(preamble) < PREAMBLE_BYTES:
            return None
        header_size, body_size = lengths(preamble)
        header, body = self._stream.read(header_size), self._stream.read(body_size)
        if len(header) < header_size or len(body) < body_size:
            return None
        return decode(header, body)


def die_with_parent() -> None:
    """Ask Linux to kill this process with its parent, even where no thread of ours gets to run."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
