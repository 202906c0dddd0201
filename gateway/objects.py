"""Bodies of requests, read without holding up the event loop that MQTT shares."""

import asyncio
from typing import Any

from fastapi import Request

from broker.codec import PayloadError, read_json
from gateway.options import GatewayOptions
from gateway.problems import Problem

_OTHER_BYTES = 64 * 1024  # of a body beside its pictures
_QUICK_BYTES = 32 * 1024  # read at once in less time than a thread takes to begin


async def read_object(
    request: Request, options: GatewayOptions, max_images: int = 1
) -> dict[str, Any]:
    """The JSON object of a body; an empty body is an empty one.

    Args:
        request: Whatever its content type: many clients say none.
        options: Has the greatest size of a picture.
        max_images: Most pictures in it, as base64.

    Raises:
        Problem: `payload_too_large`, or `bad_json` with the place of the mistake.
    """
    body = await request.body()
    if not body.strip():
        return {}
    max_bytes = max_images * (options.max_image_bytes * 4 // 3 + 4) + _OTHER_BYTES
    try:
        if len(body) <= _QUICK_BYTES:
            value = read_json(body, max_bytes=max_bytes)
        else:
            value = await asyncio.to_thread(read_json, body, max_bytes=max_bytes)
    except PayloadError as error:
        raise Problem(error.code, f"the body: {error}") from error
    if not isinstance(value, dict):
        raise Problem("bad_request", "the body must be a JSON object")
    return value
