"""Captions that are kept: a search in them, and what a camera has seen."""

from typing import Annotated, cast

from fastapi import APIRouter, Query

from gateway.access import TheBackend
from schemas.requests.captions import CAPTION_SEARCH, CaptionPage

router = APIRouter(tags=["captions"])

Text = Annotated[str | None, Query()]


@router.get(
    "/captions",
    description=CAPTION_SEARCH.description,
    openapi_extra={"x-operation": CAPTION_SEARCH.name},
)
async def captions(
    backend: TheBackend,
    q: Text = None,
    camera: Text = None,
    since: Text = None,
    until: Text = None,
    limit: Text = None,
    before: Text = None,
) -> CaptionPage:
    """See `caption/search`."""
    said = {
        "q": q,
        "camera_id": camera,
        "since": since,
        "until": until,
        "limit": _number(limit),
        "before": before,
    }
    content = {name: value for name, value in said.items() if value not in {None, ""}}
    return cast("CaptionPage", await backend.call(CAPTION_SEARCH.name, content))


def _number(text: str | None) -> int | str | None:
    """A whole number where it is one; else the operation says what is wrong with it."""
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 10
    return int(text) if text is not None and is_number else text
