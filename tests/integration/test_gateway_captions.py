"""Search in captions of a whole service, over HTTP and over MQTT."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.integration.test_requests import Asking
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "http/captions"
CAMERAS = ("front", "back", "front")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("captions") / "service"
    async with gateway(mosquitto, folder, BASE) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(mosquitto: EmbeddedBroker, service: Gateway) -> AsyncIterator[Asking]:
    """After three captions, each the SHA-256 of its picture."""
    async with Asking(mosquitto.port, BASE) as talk:
        for number, camera_id in enumerate(CAMERAS):
            frame = json_frame(make_image(number), job_id=f"job-{number}")
            await talk.send(camera_id, frame)
            await talk.wait_for(f"{camera_id}/caption", job_id=f"job-{number}")
        yield talk


async def test_the_history_is_paged_newest_first(service: Gateway, talk: Asking) -> None:
    first = (await service.client.get("/captions?limit=2")).json()
    second = (await service.client.get(f"/captions?limit=2&before={first['next_before']}")).json()

    assert [each["job_id"] for each in first["items"]] == ["job-2", "job-1"]
    assert [each["job_id"] for each in second["items"]] == ["job-0"]
    assert second["next_before"] is None
    assert first["is_complete"]
    assert first["items"][0]["has_image"]


async def test_a_word_of_a_caption_finds_it(service: Gateway, talk: Asking) -> None:
    known = (await service.client.get("/captions?camera=back")).json()["items"]
    word = known[0]["result"]["caption"].split()[0].strip(".,:")
    found = (await service.client.get("/captions", params={"q": word[:8] + "*"})).json()["items"]

    assert [each["camera_id"] for each in known] == ["back"]
    assert known[0] in found


async def test_mqtt_answers_the_same(service: Gateway, talk: Asking) -> None:
    over_http = (await service.client.get("/captions?camera=front&limit=1")).json()

    assert await talk.data("caption/search", {"camera_id": "front", "limit": 1}) == over_http


async def test_hostile_words_are_words(service: Gateway, talk: Asking) -> None:
    for words in ('" OR 1', "NEAR(a b)", "caption_words:x", "';--", "\x00", "*", "a AND NOT"):
        answer = await service.client.get("/captions", params={"q": words})
        assert (answer.status_code, answer.json()["items"]) == (200, [])


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "since=now", "camera=a/b", "before=-1"])
async def test_what_is_wrong_is_named(service: Gateway, query: str) -> None:
    answer = await service.client.get(f"/captions?{query}")

    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["message"]
