"""Bodies that are one JSON object, read without holding up the event loop that MQTT shares."""

import asyncio
import re
from typing import Any

from fastapi import Request

from broker.codec import PayloadError, read_json
from gateway.bodies import read_body
from gateway.options import GatewayOptions
from gateway.problems import Problem

_OTHER_BYTES = 64 * 1024  # of a body beside its pictures
_QUICK_BYTES = 32 * 1024  # read at once in less time than a thread takes to begin
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


async def read_object(
    request: Request, options: GatewayOptions, max_images: int = 1
) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty one.

    Args:
        request: Whatever its content type: many clients say none. Its body is forgotten.
        options: Has the greatest size of a picture.
        max_images: Most pictures in it, as base64.

    Raises:
        Problem: `payload_too_large`, or `bad_json` with the place of the mistake.
    """
    max_bytes = max_images * (options.max_image_bytes + 2) // 3 * 4 + _OTHER_BYTES
    body = await read_body(request, max_bytes)
    if len(body) <= _QUICK_BYTES:
        return _read(body, max_bytes)
    return await asyncio.to_thread(_read, body, max_bytes)


def _read(body: bytes, max_bytes: int) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        value = read_json(body, max_bytes=max_bytes)
    except PayloadError as error:
        raise Problem(error.code, f"the body: {error}") from error
    if not isinstance(value, dict):
        raise Problem("bad_request", "the body must be a JSON object")
    found: dict[str, Any] = _encodable(value) if _SURROGATE.search(body) else value
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
