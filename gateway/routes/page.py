"""The live page: a few files of the package, as they are, and what `/` says to programs."""

import gzip
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath
from typing import cast

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from gateway.access import TheBackend, TheOptions
from gateway.problems import Problem
from schemas.requests.bridge import HealthAnswer

router = APIRouter(tags=["page"])

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_START = "index.html"
_PLACE = "page/0/"  # of the other files in it: in place of 0 stands what they are
_YEAR_S = 31_536_000
_VARY = "Accept, Accept-Encoding, User-Agent"


@dataclass(frozen=True, slots=True)
class _Page:
    """All files by name, and a name for all of them together that changes with any."""

    files: dict[str, bytes]
    packed: dict[str, bytes]  #: the same, gzipped
    version: str


@cache
def _page() -> _Page:
    folder = files("gateway") / "page"
    found = {each.name: each.read_bytes() for each in folder.iterdir() if each.is_file()}
    digest = hashlib.blake2s(digest_size=8)
    for name in sorted(found):
        digest.update(name.encode() + b"\0" + found[name])
    version = digest.hexdigest()
    start = found[_START].replace(_PLACE.encode(), f"page/{version}/".encode())
    found[_START] = start
    packed = {name: gzip.compress(content, mtime=0) for name, content in found.items()}
    return _Page(found, packed, version)


@router.get("/", response_model=None)
async def start(request: Request, backend: TheBackend, options: TheOptions) -> Response:
    """The live page for a browser, the status for a program, its sentence for Ollama's clients."""
    if "text/html" in request.headers.get("accept", ""):
        return _answer(request, _START, "no-cache", {"Vary": _VARY})
    if request.headers.get("user-agent", "").lower().startswith("ollama"):
        return PlainTextResponse("Ollama is running", headers={"Vary": _VARY})
    health = cast("HealthAnswer", await backend.call("health", {}))
    said = {"name": "moondream2mqtt", "version": options.version, "status": health.status}
    return JSONResponse(said, headers={"Vary": _VARY, "Cache-Control": "no-store"})


@router.get("/page/{version}/{name}", include_in_schema=False)
async def part(request: Request, version: str, name: str) -> Response:
    """A file of the page; under the name of what it is now it never changes."""
    if name not in _page().files or name == _START:
        raise Problem("not_found", "the page has no such file")
    is_current = version == _page().version
    kept = f"public, max-age={_YEAR_S}, immutable" if is_current else "no-cache"
    return _answer(request, name, kept, {})


def _answer(request: Request, name: str, kept: str, more: dict[str, str]) -> Response:
    page = _page()
    tag = f'W/"{page.version}"'  # weak: the same, packed or not
    headers = {"ETag": tag, "Cache-Control": kept, "Vary": "Accept-Encoding", **more}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    kind = _TYPES[PurePosixPath(name).suffix]
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        return Response(page.packed[name], media_type=kind, headers=headers)
    return Response(page.files[name], media_type=kind, headers=headers)
