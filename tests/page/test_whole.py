"""The page on a whole service with the demonstration model: what it says and does is real."""

import base64
from collections.abc import AsyncIterator

import aiomqtt
import pytest
import pytest_asyncio
from playwright.async_api import FilePayload, Page, expect

from broker.embedded import EmbeddedBroker
from demo.camera import default_cameras, frame_document, story
from tests.support.gateway import Gateway, gateway

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(120)]

_CAMERA = default_cameras()[0]
_BASE = "page/whole"


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("page") / "service"
    tasks = {"tasks": ["caption", {"detect": "person"}]}
    cameras = {_CAMERA.camera_id: tasks}
    async with gateway(mosquitto, folder, _BASE, with_model=True, cameras=cameras) as running:
        yield running


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """A story in front of the camera, as JPEG."""
    told = (frame_document(_CAMERA, each) for each in story(_CAMERA, _CAMERA.seed))
    return [base64.b64decode(str(each["frame_data"])) for each in told]


async def test_a_frame_over_mqtt_is_seen_with_its_picture_and_boxes(
    page: Page, service: Gateway, frames: list[bytes]
) -> None:
    await page.goto(f"{service.url}/")
    await expect(page.locator("#state")).to_have_text("Running", timeout=30_000)
    mqtt = service.settings.mqtt
    async with aiomqtt.Client(mqtt.host, mqtt.port) as client:
        await client.publish(f"{_BASE}/{_CAMERA.camera_id}/frame", frames[0], qos=1)
    card = page.locator(".card")
    await expect(card.locator(".caption")).to_contain_text("person", timeout=20_000)
    await expect(card.locator(".picture:not(.is-empty)")).to_be_visible()
    await expect(card.locator("rect.mark")).to_have_count(1)


async def test_a_picture_is_captioned_asked_and_searched(
    page: Page, service: Gateway, frames: list[bytes]
) -> None:
    await page.goto(f"{service.url}/")
    await page.keyboard.press("a")
    chosen = FilePayload(name="door.jpg", mimeType="image/jpeg", buffer=frames[3])
    await page.get_by_label("Choose a picture").set_input_files(chosen)
    await page.get_by_role("button", name="Caption", exact=True).click()
    answer = page.locator(".said-about p").first
    await expect(answer).to_contain_text("package", timeout=20_000)
    for kind, words, said in (
        ("Ask", "Is there a person?", "es"),
        ("Detect", "person", "person"),
        ("Point", "package", "package"),
    ):
        await page.get_by_role("dialog").get_by_text(kind, exact=True).first.click()
        await page.locator(".asking form > input").fill(words)
        await page.keyboard.press("Enter")
        await expect(page.locator(".said-about strong").first).to_have_text(words, timeout=20_000)
        await expect(answer).to_contain_text(said)


async def test_orders_and_settings_reach_the_service(page: Page, service: Gateway) -> None:
    await page.goto(f"{service.url}/")
    await expect(page.locator("#state")).to_have_text("Running")
    await page.keyboard.press("p")
    await expect(page.locator("#state")).to_have_text("Paused")
    assert not (await service.client.get("/queue/stats")).json()["processing"]
    await page.get_by_role("button", name="Clear the queue").click()
    await page.get_by_role("dialog").get_by_role("button", name="Clear").click()
    await expect(page.locator("#toast")).to_contain_text("cancelled")
    await page.keyboard.press("p")
    await expect(page.locator("#state")).to_have_text("Running")

    await page.goto(f"{service.url}/#/camera/{_CAMERA.camera_id}")
    cooldown = page.get_by_label("Seconds between frames", exact=True)
    await expect(cooldown).to_have_value("0")
    await cooldown.fill("7")
    await cooldown.press("Enter")
    await expect(page.get_by_text("Cooldown is saved.")).to_be_visible()
    known = (await service.client.get(f"/cameras/{_CAMERA.camera_id}")).json()
    assert (known["settings"]["cooldown"], known["origins"]["cooldown"]) == (7, "changed")
    await page.get_by_role("button", name="Seconds between frames: as the file says").click()
    await expect(cooldown).to_have_value("0")


async def test_history_has_the_caption_and_finds_it(page: Page, service: Gateway) -> None:
    await page.goto(f"{service.url}/#/camera/{_CAMERA.camera_id}")
    entry = page.locator(".history li")
    await expect(entry).to_have_count(1)
    await expect(entry.locator(".picture:not(.is-empty)")).to_be_visible()
    search = page.get_by_role("searchbox", name="Search in captions")
    await search.fill("unicorn")
    await expect(entry).to_have_count(0)
    await search.fill("pers*")
    await expect(entry).to_have_count(1)
