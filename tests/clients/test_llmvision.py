"""LLM Vision's own provider classes against the gateway."""

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.their_code import llmvision_source, run_theirs
from tests.support.gateway import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRUCTURE = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "count_dogs": {"type": "number", "description": "How many dogs are there?"},
        "is_cat": {"type": "boolean", "description": "Is there a cat?"},
    },
    "required": ["title", "count_dogs", "is_cat"],
}


@pytest.fixture(scope="session")
def source() -> Path:
    return llmvision_source()


def config_of(provider: str, service: Gateway) -> dict[str, Any]:
    """What a user fills in."""
    if provider == "Custom OpenAI":
        return {"custom_openai_endpoint": f"{service.url}/v1", "api_key": "any"}
    where = urlsplit(service.url)
    return {"ip_address": where.hostname, "port": where.port, "https": False}


async def asked(
    service: Gateway, source: Path, provider: str, *images: bytes, **job: Any
) -> dict[str, Any]:
    told = {"provider": provider, "config": config_of(provider, service), **job}
    return await run_theirs("llmvision_provider.py", source, told, images)


@pytest.fixture(params=["Custom OpenAI", "LocalAI", "Ollama"])
def provider(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


async def test_its_setup_accepts_us(service: Gateway, source: Path, provider: str) -> None:
    answer = await asked(service, source, provider, ask="validate")

    assert answer["said"] is None, answer


async def test_a_picture_is_answered(
    service: Gateway, source: Path, scene: bytes, provider: str
) -> None:
    answer = await asked(
        service, source, provider, scene, ask="vision", message="Is there a dog?", names=["door"]
    )

    assert answer["said"]


async def test_a_title_is_made_of_the_text(service: Gateway, source: Path, provider: str) -> None:
    text = "Create a title for this text: A man in a red coat walks to the door and rings the bell."
    answer = await asked(service, source, provider, ask="title", message=text)

    assert answer["said"] == "A man in a red coat"


@pytest.mark.parametrize("structured", ["Custom OpenAI", "Ollama"])
async def test_a_structure_is_filled(
    service: Gateway, source: Path, scene: bytes, structured: str
) -> None:
    answer = await asked(
        service,
        source,
        structured,
        scene,
        ask="vision",
        message="Look at the door.",
        structure=json.dumps(STRUCTURE),
    )

    found = json.loads(answer["said"])
    assert (found["count_dogs"], found["is_cat"]) == (1, False)
    assert found["title"]


async def test_a_refusal_is_shown_to_the_user(service: Gateway, source: Path) -> None:
    answer = await asked(
        service, source, "Custom OpenAI", b"no picture", ask="vision", message="What is it?"
    )

    assert "JPEG, PNG or WebP" in answer["refused"]
