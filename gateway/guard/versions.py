"""What the parser takes for more than HTTP/1.1, or less.

It reads the versions 0.9 and 2.0 too, and leaves what follows a request for another protocol
(Upgrade) to that one, also where it is the request's body: it would be taken for the next request.
Nothing else is spoken here, so Upgrade is ignored, which every server may (RFC 9110, 7.8).
"""

from collections.abc import Iterable
from typing import Any

from gateway.guard.asgi import Message

#: Others are refused.
VERSIONS = frozenset({"1.0", "1.1"})


def head_without_upgrade(
    method: bytes, target: bytes, version: str, headers: Iterable[tuple[bytes, bytes]]
) -> bytes:
    """The line and headers of a request as if it had not asked for another protocol."""
    lines = [b"%s %s HTTP/%s" % (method, target, version.encode())]
    lines += [b"%s: %s" % header for header in headers if header[0] != b"upgrade"]
    return b"\r\n".join((*lines, b"", b""))


def answer_as_1_0(exchange: Any) -> None:
    """Let the end of the connection be the end of an answer whose length nobody knows.

    HTTP/1.0 has no chunks, and does not know 100 (RFC 9112, 6.1; RFC 9110, 10.1.1); uvicorn says
    both to it.

    Args:
        exchange: uvicorn's, before it begins.
    """
    exchange.waiting_for_100_continue = False
    send = exchange.send
    is_measured = True

    async def send_unframed(message: Message) -> None:
        nonlocal is_measured
        if message["type"] == "http.response.start":
            names = [name.lower() for name, _ in message.get("headers", ())]
            is_measured = b"content-length" in names
            exchange.chunked_encoding = None if is_measured else False
        elif not is_measured:
            exchange.expected_content_length = len(message.get("body", b""))
        await send(message)

    exchange.send = send_unframed
