"""Bodies that are one JSON object, as clients of other servers send them, of whatever type."""

import asyncio
import re
from collections.abc import Callable
from typing import Any, TypeVar

from fastapi import Request

from broker.codec import PayloadError
from gateway import bodies
from gateway.options import GatewayOptions
from gateway.problems import Problem

_OTHER_BYTES = 64 * 1024  # of a body beside its pictures
_QUICK_BYTES = 32 * 1024  # read at once in less time than a thread takes to begin
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")

_T = TypeVar("_T")


async def read_object(
    request: Request, options: GatewayOptions, max_images: int = 1
) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty one.

    Args:
        request: Its body is forgotten.
        options: Has the greatest size of a picture.
        max_images: Most pictures in it, as base64.

    Raises:
        Problem: `payload_too_large`, or `bad_json` with the place of the mistake.
    """
    max_bytes = max_images * (options.max_image_bytes + 2) // 3 * 4 + _OTHER_BYTES
    return await read_with(request, max_bytes, _as_it_is)


async def read_with(
    request: Request,
    max_bytes: int,
    read: Callable[[dict[str, Any]], _T],
    *,
    may_be_empty: bool = True,
) -> _T:
    """What a function makes of that object; called beside the event loop where it is large.

    Raises:
        Problem: As in `read_object`, or of the function; `bad_json` where nothing was sent and
            something has to be.
    """
    body = await bodies.read_body(request, max_bytes)
    if not (body or may_be_empty):
        raise Problem("bad_json", "the body: must be a JSON object")
    if len(body) <= _QUICK_BYTES:
        return read(_object_of(body, max_bytes))
    return await asyncio.to_thread(lambda: read(_object_of(body, max_bytes)))


def _as_it_is(content: dict[str, Any]) -> dict[str, Any]:
    return content


def _object_of(body: bytes, max_bytes: int) -> dict[str, Any]:
    try:
        content = bodies.read_object(body, max_bytes)
    except PayloadError as error:
        raise Problem(error.code, f"the body: {error}") from error
    found: dict[str, Any] = _encodable(content) if _SURROGATE.search(body) else content
    return found


def _encodable(value: Any) -> Any:
    """The same without halves of characters, which no answer could be encoded with."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [_encodable(each) for each in value]
    if isinstance(value, dict):
        return {_encodable(name): _encodable(each) for name, each in value.items()}
    return value
