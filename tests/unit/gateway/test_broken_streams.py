"""A stream that breaks behind its first piece: no client takes what it has for the whole answer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import ollama
import pytest

from gateway.app import make_app
from gateway.problems import Problem
from gateway.server import listen, serving
from schemas.requests.models import ModelInfo
from schemas.status import ModelStatus
from tests.unit.gateway.apps import options

OPTIONS = options(
    max_image_bytes=1 << 20,
    max_in_flight=8,
    timeout_s=5,
    model_name="hub/moondream2",
    model_revision="main",
)
PICTURE = "data:image/jpeg;base64,/9j/AAAA"
FAILURES = (Problem("engine_lost", "the engine\nhas died"), KeyError("nobody foresaw this"))


class Model:
    """Knows what it is, and nothing else."""

    async def call(self, operation: str, content: dict[str, Any]) -> ModelInfo:
        assert operation == "model/info"
        status = ModelStatus(
            name="hub/moondream2", revision="main", device="cpu", dtype="float32", state="ready"
        )
        return ModelInfo(model=status, engines=(status,), loaded_models=(), switch=None)


class Breaking:
    """Says two words, and fails."""

    document = None

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    async def begin(self, *_: Any) -> "Breaking":
        return self

    async def pieces(self) -> AsyncIterator[str]:
        yield "A "
        yield "dog"
        raise self._failure


@asynccontextmanager
async def served(failure: Exception) -> AsyncIterator[str]:
    """Where it is listened."""
    backend: Any = Model()
    app = make_app(backend, OPTIONS)
    app.state.asker = Breaking(failure)
    listener = listen("127.0.0.1", 0)
    async with serving(app, listener):
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_moondreams_client_raises(failure: Exception) -> None:
    md = pytest.importorskip("moondream", reason="pip install --no-deps moondream")
    heard: list[str] = []

    def read(url: str) -> None:
        picture = md.types.Base64EncodedImage(image_url=PICTURE)
        for piece in md.vl(endpoint=f"{url}/v1").caption(picture, stream=True)["caption"]:
            heard.append(piece)  # noqa: PERF402 - those before the failure

    async with served(failure) as url:
        with pytest.raises(ValueError, match="JSON"):
            await asyncio.to_thread(read, url)
    assert heard == ["A ", "dog"]


@pytest.mark.parametrize("failure", FAILURES, ids=repr)
async def test_ollamas_client_raises(failure: Exception) -> None:
    heard: list[str | None] = []

    async with served(failure) as url, ollama.AsyncClient(host=url) as client:
        with pytest.raises(ollama.ResponseError, match=r"the engine\nhas died|unexpected error"):
            async for part in await client.generate(
                "any", "Why?", images=[b"picture"], stream=True
            ):
                heard.append(part.response)  # noqa: PERF401 - those before the failure
    assert heard == ["A ", "dog"]
