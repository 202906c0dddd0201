"""Frigate's and LLM Vision's own classes for Ollama, against the gateway."""

from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.clients.their_code import llmvision_source, run_theirs
from tests.frigate.real_frigate import RELEASES, source_of
from tests.support.gateway import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")

STRUCTURE = {
    "type": "object",
    "properties": {
        "count_dogs": {"type": "number", "description": "How many dogs are there?"},
        "is_cat": {"type": "boolean", "description": "Is there a cat?"},
    },
    "required": ["count_dogs", "is_cat"],
}


async def frigate(service: Gateway, release: str, what: str, *images: bytes) -> dict[str, Any]:
    """What a release makes of our answer, set up as its documentation says."""
    config = {"provider": "ollama", "base_url": service.url, "model": "moondream2"}
    job = {"config": config, "ask": what}
    return await run_theirs("frigate_provider.py", source_of(release), job, images)


async def llm_vision(service: Gateway, *images: bytes, **job: Any) -> dict[str, Any]:
    where = urlsplit(service.url)
    config = {
        "ip_address": where.hostname,
        "port": where.port,
        "https": False,
        "keep_alive": 5,
        "context_window": 2048,
        "think": False,
    }
    told = {"provider": "Ollama", "config": config, **job}
    return await run_theirs("llmvision_provider.py", llmvision_source(), told, images)


@pytest.mark.parametrize("release", RELEASES)
async def test_frigate_describes_an_object(service: Gateway, scene: bytes, release: str) -> None:
    answer = await frigate(service, release, "object", scene, scene, scene)

    assert answer["said"], answer["log"]


@pytest.mark.parametrize("release", RELEASES[2:])
async def test_frigate_fills_a_review(service: Gateway, scene: bytes, release: str) -> None:
    answer = await frigate(service, release, "review", scene, scene, scene)

    review = answer["said"]
    assert review is not None, answer["log"]
    assert review["title"]
    assert review["potential_threat_level"] in {0, 1, 2}
    assert "soft validation" not in answer["log"]


@pytest.mark.parametrize("release", RELEASES[2:])
async def test_frigate_lists_the_model(service: Gateway, release: str) -> None:
    assert (await frigate(service, release, "models"))["said"] == ["model:local"]


async def test_llm_visions_setup_accepts_us(service: Gateway) -> None:
    answer = await llm_vision(service, ask="validate")

    assert answer["said"] is None, answer


async def test_llm_vision_asks_about_a_picture(service: Gateway, scene: bytes) -> None:
    answer = await llm_vision(
        service, scene, ask="vision", message="Is there a dog?", names=["door"]
    )

    assert answer["said"], answer


async def test_llm_vision_fills_a_structure(service: Gateway, scene: bytes) -> None:
    answer = await llm_vision(
        service, scene, ask="vision", message="Look.", names=["door"], structure=STRUCTURE
    )

    said = answer["said"]
    assert "count_dogs" in said
    assert "is_cat" in said


async def test_llm_vision_gets_a_title(service: Gateway) -> None:
    text = "Create a title for this text: A man in a red coat walks to the door and rings the bell."
    answer = await llm_vision(service, ask="title", message=text)

    assert answer["said"] == "A man in a red coat"
