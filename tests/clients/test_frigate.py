"""Frigate's own provider classes, three releases, against the gateway."""

from typing import Any

import pytest

from tests.clients.their_code import run_theirs
from tests.frigate.real_frigate import RELEASES, source_of
from tests.support.gateway import Gateway

pytestmark = pytest.mark.asyncio(loop_scope="session")


def ollama_config(url: str) -> dict[str, Any]:
    """The same for its Ollama provider, in every release."""
    return {"provider": "ollama", "base_url": url, "model": "moondream2"}


def openai_config(release: str, url: str) -> tuple[dict[str, Any], dict[str, str]]:
    """How a user of the release points it at us, and what has to be in the environment."""
    config = {"provider": "openai", "api_key": "any", "model": "model"}
    if release.startswith("0.16."):
        return config, {"OPENAI_BASE_URL": url}
    if release.startswith("0.17."):
        return {**config, "provider_options": {"base_url": url}}, {}
    return {**config, "base_url": url}, {}


async def asked(
    service: Gateway, release: str, what: str, *images: bytes, path: str = "/v1"
) -> dict[str, Any]:
    source = source_of(release)
    config, environment = openai_config(release, service.url + path)
    job = {"config": config, "ask": what}
    return await run_theirs("frigate_provider.py", source, job, images, environment)


@pytest.mark.parametrize("path", ["/v1", ""])
@pytest.mark.parametrize("release", RELEASES)
async def test_an_object_is_described(
    service: Gateway, scene: bytes, release: str, path: str
) -> None:
    answer = await asked(service, release, "object", scene, scene, scene, path=path)

    assert answer["said"], answer["log"]


@pytest.mark.parametrize("release", RELEASES)
async def test_an_object_is_described_by_ollama(
    service: Gateway, scene: bytes, release: str
) -> None:
    job = {"config": ollama_config(service.url), "ask": "object"}
    answer = await run_theirs("frigate_provider.py", source_of(release), job, [scene, scene])

    assert answer["said"], answer["log"]


@pytest.mark.parametrize("release", RELEASES[1:])
async def test_its_context_is_the_models(service: Gateway, release: str) -> None:
    assert (await asked(service, release, "context"))["said"] == 2048


@pytest.mark.parametrize("release", RELEASES[2:])
async def test_the_models_can_be_listed(service: Gateway, release: str) -> None:
    assert (await asked(service, release, "models"))["said"] == ["model"]


@pytest.mark.parametrize("release", RELEASES[2:])
async def test_a_review_is_filled(service: Gateway, scene: bytes, release: str) -> None:
    answer = await asked(service, release, "review", scene, scene, scene)

    review = answer["said"]
    assert review is not None, answer["log"]
    assert review["title"][0].isupper()
    assert review["potential_threat_level"] in {0, 1, 2}
    assert 150 <= len(review["scene"]) <= 600
    assert 0 < review["confidence"] <= 1
    assert "soft validation" not in answer["log"]


@pytest.mark.parametrize("release", RELEASES[2:])
async def test_a_review_is_filled_by_ollama(service: Gateway, scene: bytes, release: str) -> None:
    job = {"config": ollama_config(service.url), "ask": "review"}
    answer = await run_theirs("frigate_provider.py", source_of(release), job, [scene] * 3)

    assert answer["said"] is not None, answer["log"]
    assert answer["said"]["title"]
    assert "soft validation" not in answer["log"]


async def test_a_review_of_0_17_is_refused_with_a_sentence(service: Gateway, scene: bytes) -> None:
    answer = await asked(service, RELEASES[1], "review", scene, scene, scene)

    assert answer["said"] is None
    assert "this model has room for 2000" in answer["log"]


@pytest.mark.parametrize("release", RELEASES[1:])
async def test_a_day_is_summarised_from_its_words(service: Gateway, release: str) -> None:
    answer = await asked(service, release, "summary")

    assert "Person at the door" in answer["said"]
    assert "11:30 PM | driveway" in answer["said"]
    assert "1 of them to be reviewed" in answer["said"]
