"""Pictures of cameras and of jobs, from a whole service."""

import io
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from PIL import Image

from broker.embedded import EmbeddedBroker
from tests.integration.test_requests import Asking
from tests.support.conversation import json_frame
from tests.support.event_stream import listening
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "http/pictures"
JPEG, PNG = make_image(1, (800, 600)), make_image(2, form="PNG")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("pictures") / "service"
    async with gateway(mosquitto, folder, BASE) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def versions(mosquitto: EmbeddedBroker, service: Gateway) -> AsyncIterator[dict[str, str]]:
    """After a JPEG and then a PNG of one camera: their versions by job."""
    found = {}
    async with (
        Asking(mosquitto.port, BASE) as talk,
        listening(service.client, "/events?types=result") as events,
    ):
        for job_id, picture in (("jpeg", JPEG), ("png", PNG)):
            await talk.send("front", json_frame(picture, job_id=job_id))
            found[job_id] = (await events.next()).data["image"]
        yield found


async def test_the_newest_frame_is_served_as_it_was_sent(
    service: Gateway, versions: dict[str, str]
) -> None:
    answer = await service.client.get("/cameras/front/image.jpg")

    assert answer.content == PNG
    assert answer.headers["content-type"] == "image/png"
    assert "no-cache" in answer.headers["cache-control"]


async def test_a_version_is_that_picture_for_ever(
    service: Gateway, versions: dict[str, str]
) -> None:
    url = f"/cameras/front/image.jpg?v={versions['jpeg']}"
    answer = await service.client.get(url)
    tag = answer.headers["etag"]
    again = await service.client.get(url, headers={"If-None-Match": tag})

    assert answer.content == JPEG
    assert "immutable" in answer.headers["cache-control"]
    assert (again.status_code, again.content) == (304, b"")


async def test_a_jobs_picture_is_served(service: Gateway, versions: dict[str, str]) -> None:
    answer = await service.client.get("/jobs/jpeg/image.jpg?camera=front")

    assert answer.content == JPEG
    assert answer.headers["etag"]


@pytest.mark.parametrize("path", ["/cameras/front/image.jpg?v=VERSION&", "/jobs/jpeg/image.jpg?"])
async def test_a_smaller_one_is_made(service: Gateway, versions: dict[str, str], path: str) -> None:
    url = f"{path}width=300".replace("VERSION", versions["jpeg"])
    answer = await service.client.get(url)

    with Image.open(io.BytesIO(answer.content)) as image:
        assert image.size == (320, 240)
    assert answer.headers["content-type"] == "image/jpeg"
    assert (await service.client.get(url)).content == answer.content


async def test_none_is_made_larger(service: Gateway, versions: dict[str, str]) -> None:
    assert (await service.client.get("/jobs/png/image.jpg?width=640")).content == PNG


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/cameras/nowhere/image.jpg", 404),
        ("/cameras/front/image.jpg?v=0123456789abcdef", 410),
        ("/jobs/none/image.jpg", 404),
        ("/jobs/jpeg/image.jpg?camera=back", 404),
    ],
)
async def test_what_is_not_there_is_said(
    service: Gateway, versions: dict[str, str], path: str, status: int
) -> None:
    answer = await service.client.get(path)

    assert answer.status_code == status
    assert answer.json()["message"]
