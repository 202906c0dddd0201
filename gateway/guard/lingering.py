"""The end of a connection on which something still comes in (a lingering close, RFC 9112, 9.6).

A socket that is closed with unread bytes in it is reset, and the caller may lose the answer.
"""

import asyncio
from typing import Any, Protocol


class Lingering(Protocol):
    """What is asked of the connection when it is to be closed."""

    def expects_body(self) -> bool:
        """Whether the caller is in the middle of a body."""

    def end(self) -> None:
        """Look at nothing that still comes."""

    def wait_for_leftover(self) -> None:
        """Read what is left of a body for a moment, then end the connection."""


class LingeringTransport:
    """A transport whose `close` lets the caller hear what was said before.

    Args:
        transport: asyncio's.
        protocol: Of the connection.
    """

    def __init__(self, transport: asyncio.Transport, protocol: Lingering) -> None:
        self._transport = transport
        self._protocol = protocol
        self._is_closing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def is_closing(self) -> bool:
        """Whether nothing more can be said."""
        return self._is_closing or self._transport.is_closing()

    def close(self) -> None:
        """Close once what the caller is still sending has been read, for a moment."""
        if self.is_closing():
            return
        if not self._protocol.expects_body():
            self._transport.close()
            return
        self._is_closing = True
        self._protocol.end()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._protocol.wait_for_leftover()
