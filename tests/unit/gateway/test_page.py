"""The live page as it is sent: small, cached, without foreign hosts, legible."""

import gzip
import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import BaseModel

from gateway.problems import Problem, answer_problem
from gateway.routes import page
from schemas.requests.bridge import HealthAnswer
from tests.support.scripted_service import options

_MOST_BYTES = 60_000
_BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
_PARTS = {each.name: each.read_text() for each in (files("gateway") / "page").iterdir()}
_FORBIDDEN = (
    "innerHTML",
    "outerHTML",
    "insertAdjacentHTML",
    "document.write",
    "eval(",
    "new Function",
    "setAttribute('style'",
    "postMessage",
)
_PAIRS = [
    *(("text", on) for on in ("page", "surface", "sunken")),
    *(("muted", on) for on in ("page", "surface", "sunken")),
    *(("accent", on) for on in ("page", "surface")),
    *((name, on) for name in ("critical", "high", "normal", "low") for on in ("surface", "page")),
    *((name, f"{name}-tint") for name in ("critical", "high", "normal", "low")),
    ("on-accent", "accent"),
    ("page", "text"),
]


class Healthy:
    """Is healthy."""

    async def call(self, _operation: str, _content: dict[str, object]) -> BaseModel:
        return HealthAnswer(status="healthy", checks={})


@pytest_asyncio.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.backend, app.state.options = Healthy(), options()
    app.include_router(page.router)
    app.add_exception_handler(Problem, answer_problem)  # type: ignore[arg-type]
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test/") as client:
        yield client


async def test_start_is_a_page_for_browsers_and_a_status_for_programs(
    client: httpx.AsyncClient,
) -> None:
    shown = await client.get("/", headers=_BROWSER)
    assert shown.headers["Content-Type"] == "text/html; charset=utf-8"
    assert shown.text.startswith("<!doctype html>")

    said = await client.get("/", headers={"Accept": "*/*"})
    assert said.json() == {"name": "moondream2mqtt", "version": "0", "status": "healthy"}

    ollama = await client.get("/", headers={"User-Agent": "ollama-python/0.6.3"})
    assert ollama.text == "Ollama is running"


async def test_all_that_the_page_names_is_there_and_kept_for_ever(
    client: httpx.AsyncClient,
) -> None:
    shown = await client.get("/", headers=_BROWSER)
    assert shown.headers["Cache-Control"] == "no-cache"
    named = re.findall(r'(?:href|src)="(page/[^"]+)"', shown.text)
    assert len(named) == 4
    folder = named[0].rpartition("/")[0]
    for name in sorted({*named, *(f"{folder}/{name}" for name in _PARTS if name.endswith(".js"))}):
        part = await client.get(name)
        assert part.status_code == 200
        assert part.headers["Cache-Control"] == "public, max-age=31536000, immutable"
    again = await client.get(named[0], headers={"If-None-Match": shown.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get("page/of-before/main.js")
    assert (other.status_code, other.headers["Cache-Control"]) == (200, "no-cache")


@pytest.mark.parametrize("name", ["nothing.js", "index.html", "..%2fapp.py", "%00", "main.js%00"])
async def test_no_other_file_is_sent(client: httpx.AsyncClient, name: str) -> None:
    assert (await client.get(f"page/0/{name}")).status_code == 404


async def test_it_is_the_same_with_and_without_gzip(client: httpx.AsyncClient) -> None:
    plain = await client.get("page/0/main.js", headers={"Accept-Encoding": "identity"})
    packed = await client.get("page/0/main.js", headers={"Accept-Encoding": "gzip"})
    assert plain.text == packed.text == _PARTS["main.js"]
    assert packed.headers["Content-Encoding"] == "gzip"
    assert "Accept-Encoding" in packed.headers["Vary"]


def test_all_of_it_is_small() -> None:
    assert sum(len(gzip.compress(text.encode())) for text in _PARTS.values()) < _MOST_BYTES


def test_nothing_comes_from_elsewhere_and_nothing_is_markup_or_inline() -> None:
    for name, text in _PARTS.items():
        hosts = set(re.findall(r"https?://[^\s'\"]+", text)) - {"http://www.w3.org/2000/svg"}
        assert not hosts, name
        for word in _FORBIDDEN:
            assert word not in text, (name, word)
    start = _PARTS["index.html"]
    assert not re.search(r'<style|\sstyle=|\son\w+=|<script(?![^>]* src=)|="/|="\.\.', start)


def test_paths_are_relative_below_any_address() -> None:
    for name, text in _PARTS.items():
        for path in re.findall(r"(?:call\('\w+',|fetch\(|EventSource\()\s*['`]([^'`]+)", text):
            assert not path.startswith("/"), (name, path)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), _PAIRS)
def test_text_stands_out_from_its_ground(theme: str, text: str, ground: str) -> None:
    """4.5 to 1, as WCAG 2.2 AA has it for text of any size."""
    colours = _palettes()[theme]
    assert _contrast(colours[text], colours[ground]) >= 4.5


def test_both_ways_to_darkness_are_the_same() -> None:
    palettes = _palettes()
    assert palettes["dark"] == palettes["chosen dark"]
    assert palettes["dark"].keys() == palettes["light"].keys()


def _palettes() -> dict[str, dict[str, str]]:
    blocks = re.findall(r":root[^{]*\{([^}]*)\}", _PARTS["page.css"])
    found = [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in blocks]
    return dict(zip(("light", "dark", "chosen dark"), found, strict=True))


def _contrast(one: str, other: str) -> float:
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
