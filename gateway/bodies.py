"""Bodies of requests: read once, and taken apart where MQTT does not wait for it.

How large, slow and many they may be is seen to before any route is reached (`gateway.guard`).
"""

import asyncio
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request

from broker.codec import PayloadError, read_json
from broker.pieces import split_array
from gateway.problems import Problem, refused
from schemas.requests.operation import MAX_REQUEST_BYTES, Operation

_SMALL_BYTES = 32 * 1024  # read in place, where the worst takes as long as a thread to begin
_SMALL_COPY = 1 << 20  # the same for bytes that are only put together

_JSON = "application/json"

_T = TypeVar("_T")


async def read_body(request: Request, max_bytes: int) -> bytes:
    """The body of a request, which does not keep it: it may be a picture, and the answer far away.

    Raises:
        Problem: `payload_too_large`.
    """
    pieces: list[bytes] = []
    num_bytes = 0
    async for piece in request.stream():
        num_bytes += len(piece)
        if num_bytes > max_bytes:
            raise Problem("payload_too_large", f"at most {max_bytes} bytes are taken here")
        pieces.append(piece)
    if num_bytes <= _SMALL_COPY:
        return b"".join(pieces)
    return await asyncio.to_thread(b"".join, pieces)  # 60 MiB take a tenth of a second


def check_is_json(request: Request, body: bytes) -> None:
    """Refuse a body of a type that is not read here.

    Raises:
        Problem: `unsupported_type`.
    """
    media_type = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if body and media_type != _JSON and not media_type.endswith("+json"):
        raise Problem("unsupported_type", f"{media_type[:64]} is not taken here; send {_JSON}")


async def take_apart(body: bytes, read: Callable[[], _T]) -> _T:
    """Read a body, a large one elsewhere, so that frames go on meanwhile.

    Raises:
        Problem: It is not what it should be.
    """
    try:
        return read() if len(body) <= _SMALL_BYTES else await asyncio.to_thread(read)
    except PayloadError as error:
        raise refused(error) from error


def read_object(body: bytes, max_bytes: int = MAX_REQUEST_BYTES) -> dict[str, Any]:
    """A JSON object; nothing is an empty one.

    Raises:
        PayloadError: `bad_json` or `payload_too_large`.
    """
    if not body.strip():
        return {}
    content = read_json(body, max_bytes=max_bytes)
    if not isinstance(content, dict):
        raise PayloadError("bad_json", "must be a JSON object")
    return content


def read_request(body: bytes, operation: Operation[Any, Any]) -> dict[str, Any]:
    """The fields of an operation's request; those of an array are left unread, as bytes.

    Raises:
        PayloadError: `bad_json` or `payload_too_large`.
    """
    name = operation.array_field
    if name is None or not body.lstrip().startswith((b"{", b"\xef\xbb\xbf{")):
        return read_object(body, operation.max_bytes)
    rest, elements = split_array(body, name)
    content = read_object(rest)
    return content if elements is None else {**content, name: elements}
