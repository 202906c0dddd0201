"""What Moondream Station has beside Moondream's API, as the gallery's client reads it."""

import base64
import hashlib
import io
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from broker.embedded import EmbeddedBroker
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("station") / "service"
    async with gateway(mosquitto, folder, "http/station") as it:
        yield it


def jpeg(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (shade, 0, 0)).save(file, "JPEG")
    return file.getvalue()


def text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


async def post(service: Gateway, path: str, body: Any) -> tuple[int, Any]:
    answer = await service.client.post(f"/v1/{path}", json=body)
    return answer.status_code, answer.json()


async def test_stats_have_the_keys_of_the_station(service: Gateway) -> None:
    answer = await service.client.get("/v1/stats")

    said = answer.json()
    assert said["status"] == "running"
    assert said["max_queue_size"] == 100
    assert {"workers", "queue_size", "timeouts", "default_timeout"} <= said.keys()
    assert said["processing"] == 0
    assert said["requests_processed"] >= 0
    assert "captions_per_minute" in said


async def test_metrics_are_those_of_the_bridge(service: Gateway) -> None:
    said = (await service.client.get("/v1/metrics")).json()

    assert said.keys() == {"cpu", "memory", "device", "gpus", "loaded_models"}


async def test_captions_come_in_the_order_of_the_pictures(service: Gateway) -> None:
    pictures = [jpeg(shade) for shade in range(0, 250, 25)]

    status, said = await post(
        service, "vision/batch-caption", {"model": "any", "images": [text(p) for p in pictures]}
    )

    assert status == 200
    expected = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    assert [each["text"] for each in said["captions"]] == expected


async def test_a_picture_that_is_bad_costs_the_others_nothing(service: Gateway) -> None:
    images = [text(jpeg(1)), "bm90IGFuIGltYWdl", text(jpeg(2))]

    status, said = await post(service, "vision/batch-caption", {"images": images})
    none, refused = await post(service, "vision/batch-caption", {"images": [images[1]]})

    assert status == 200
    first, bad, last = said["captions"]
    assert first["text"]
    assert last["text"]
    assert (bad["text"], bad["error"]["code"]) == ("", "not_an_image")
    assert (none, refused["error"]["code"]) == (415, "not_an_image")


@pytest.mark.parametrize("images", [None, [], "abc", [1], ["a"] * 17])
async def test_what_is_no_list_of_pictures_is_refused(service: Gateway, images: Any) -> None:
    status, said = await post(service, "vision/batch-caption", {"images": images})

    assert (status, said["error"]["param"]) == (400, "images")


async def test_the_model_is_unloaded_and_loaded_again(service: Gateway) -> None:
    info = (await service.client.get("/v1/stats")).json()["model"]

    unloaded = await post(service, "system/unload", {})
    switched = await post(service, "models/switch", {"model": info})

    assert unloaded[0] in {200, 202}
    assert (unloaded[1]["status"], switched[1]["status"]) == ("success", "success")
    assert {"model", "vram_mb", "ram_mb"} <= switched[1].keys()
    status, said = await post(service, "vision/batch-caption", {"images": [text(jpeg(3))]})
    assert (status, len(said["captions"])) == (200, 1)


async def test_a_model_that_is_not_there_is_not_switched_to(service: Gateway) -> None:
    assert (await post(service, "models/switch", {"model": "nobody/nothing"}))[0] in {400, 404}
    assert (await post(service, "models/switch", {}))[1]["error"]["param"] == "model"


@pytest.mark.parametrize("path", ["generate", "images/generations", "classify"])
async def test_other_models_are_not_here(service: Gateway, path: str) -> None:
    status, said = await post(service, path, {"prompt": "a dog"})

    assert (status, said["error"]["code"]) == (501, "not_implemented")
    assert path in said["message"]
