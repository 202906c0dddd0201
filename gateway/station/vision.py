"""`/v1/vision/batch-caption`, and the paths of models that make or sort pictures."""

import asyncio
import time
from functools import partial
from typing import Any

from fastapi import APIRouter, Request

from broker.codec import read_json
from broker.pieces import split_array
from gateway.access import TheAsker, TheOptions
from gateway.asking import first_text, frame_of
from gateway.bodies import read_body, take_apart
from gateway.frames import max_frame_bytes
from gateway.problems import Problem
from schemas.requests.batches import MAX_BATCH_BYTES

router = APIRouter(prefix="/v1", include_in_schema=False)

_MOST_PICTURES = 16
_AT_ONCE = 4  # of one caller: cameras come between them
_LEAST_S = 0.1  # of a picture that comes after others


@router.post("/vision/batch-caption")
async def captions(request: Request, asker: TheAsker, options: TheOptions) -> dict[str, Any]:
    """A caption for each picture, in their order; one that cannot be had says why.

    Raises:
        Problem: There is none at all.
    """
    body = await read_body(request, MAX_BATCH_BYTES)
    pictures = await take_apart(body, partial(_read, body, max_frame_bytes(options)))
    del body
    ends = time.monotonic() + options.timeout_s
    turn = asyncio.Semaphore(min(_AT_ONCE, options.max_in_flight))

    async def caption(place: int) -> str | Problem:
        async with turn:
            picture, pictures[place] = pictures[place], ""
            if isinstance(picture, Problem):
                return picture
            try:
                frame = frame_of(picture, {"tasks": ["caption"]}, request, options)
                asking = asker.ask(request, frame, max(_LEAST_S, ends - time.monotonic()))
                del picture, frame  # not kept while the caption is waited for
                return first_text(await asking)
            except Problem as problem:
                return problem

    async with asyncio.TaskGroup() as tasks:
        asked = [tasks.create_task(caption(place)) for place in range(len(pictures))]
    found = [each.result() for each in asked]
    if all(isinstance(each, Problem) for each in found) and isinstance(found[0], Problem):
        raise found[0]
    return {"captions": [_told(each) for each in found]}


@router.post("/generate")
@router.post("/images/generations")
@router.post("/classify")
async def other_models(request: Request) -> None:
    """What a gallery asks of other models."""
    name = request.url.path.removeprefix("/v1/")
    raise Problem("not_implemented", f"{name}: this model describes pictures, nothing else")


def _read(body: bytes, max_bytes: int) -> list[str | Problem]:
    """Base64 texts, each by itself, so that none takes long; in place of one too large, why.

    Raises:
        PayloadError, Problem: It is no JSON object with a list of texts.
    """
    rest, elements = split_array(body, "images")
    read_json(rest)
    if elements is None:
        raise Problem("bad_field", "images: must be a list of base64 texts", param="images")
    if not 0 < len(elements) <= _MOST_PICTURES:
        raise Problem("bad_field", f"images: 1 to {_MOST_PICTURES} pictures", param="images")
    return [_picture(element, max_bytes) for element in elements]


def _picture(element: memoryview, max_bytes: int) -> str | Problem:
    if len(element) > max_bytes:
        return Problem("payload_too_large", f"a picture may have {max_bytes} bytes as base64")
    text = read_json(bytes(element), max_bytes=max_bytes)
    if not isinstance(text, str):
        raise Problem("bad_field", "images: must be a list of base64 texts", param="images")
    return text


def _told(caption: str | Problem) -> dict[str, Any]:
    if isinstance(caption, Problem):
        return {"text": "", "error": {"code": caption.code, "message": str(caption)}}
    return {"text": caption}
