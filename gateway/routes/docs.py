"""What there is, for programs and for people: OpenAPI, and a page of our own that tries it."""

import asyncio
import json
from importlib.resources import files

from fastapi import APIRouter, Request, Response

from gateway.problems import Problem

#: Files of the page by their names in the address, with their types.
_TYPES = {"explorer.css": "text/css", "explorer.js": "text/javascript"}

router = APIRouter()


@router.get("/openapi.json", include_in_schema=False)
async def describe(request: Request) -> Response:
    """The description of every operation; made at the first call, a tenth of a second of a core."""
    state = request.app.state
    if not hasattr(state, "described"):
        state.described = await asyncio.to_thread(lambda: json.dumps(request.app.openapi()))
    return Response(state.described, media_type="application/json")


@router.get("/docs", include_in_schema=False)
async def show() -> Response:
    """The page."""
    return Response(_read("index.html"), media_type="text/html")


@router.get("/docs/{name}", include_in_schema=False)
async def show_part(name: str) -> Response:
    """Style and script of the page."""
    if name not in _TYPES:
        raise Problem("not_found", f"/docs has no {name[:64]}")
    return Response(_read(name), media_type=_TYPES[name])


def _read(name: str) -> bytes:
    return (files("gateway") / "explorer" / name).read_bytes()
