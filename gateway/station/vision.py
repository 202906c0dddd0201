"""`/v1/vision/batch-caption`, and the paths of models that make or sort pictures."""

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request

from gateway.access import TheAsker, TheOptions
from gateway.asking import first_text, frame_of
from gateway.objects import read_object
from gateway.problems import Problem

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
    said = await read_object(request, options, _MOST_PICTURES)
    pictures = said.pop("images", None)
    if not isinstance(pictures, list) or not all(isinstance(each, str) for each in pictures):
        raise Problem("bad_field", "images: must be a list of base64 texts", param="images")
    if not 0 < len(pictures) <= _MOST_PICTURES:
        raise Problem("bad_field", f"images: 1 to {_MOST_PICTURES} pictures", param="images")
    ends = time.monotonic() + options.timeout_s
    turn = asyncio.Semaphore(min(_AT_ONCE, options.max_in_flight))

    async def caption(place: int) -> str | Problem:
        async with turn:
            picture, pictures[place] = pictures[place], ""
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


def _told(caption: str | Problem) -> dict[str, Any]:
    if isinstance(caption, Problem):
        return {"text": "", "error": {"code": caption.code, "message": str(caption)}}
    return {"text": caption}
