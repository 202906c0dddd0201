"""The page that tries the interface, in a browser: what is listed, typed, sent and said."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Page, async_playwright, expect

from broker.embedded import EmbeddedBroker
from tests.support.browser import browser_or_none
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

BROWSER = browser_or_none()
pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(BROWSER is None, reason="no Chromium: sudo apt-get install chromium"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("explorer") / "service"
    async with gateway(mosquitto, folder, "http/explorer") as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def page(service: Gateway) -> AsyncIterator[Page]:
    """Open, with nothing said in its console."""
    said: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"]
        )
        found = await browser.new_page()
        found.set_default_timeout(5000)
        found.on("console", lambda each: said.append(each.text))
        found.on("pageerror", lambda each: said.append(str(each)))
        await found.goto(f"{service.url}/docs")
        yield found
        await browser.close()
    assert [each for each in said if "status of 400" not in each] == []


async def test_every_operation_is_listed(page: Page, service: Gateway) -> None:
    paths = (await service.client.get("/openapi.json")).json()["paths"]
    await expect(page.locator("main > section > details")).to_have_count(
        sum(len(methods) for methods in paths.values())
    )


async def test_filter_leaves_what_is_looked_for(page: Page) -> None:
    await page.get_by_label("Filter").fill("/queue/stats")
    await expect(page.locator("main > section > details:visible")).to_have_count(2)
    await page.get_by_label("Filter").fill("")


async def test_example_is_sent_and_answered(page: Page) -> None:
    operation = page.locator("details.post", has_text="/caption").first
    await operation.locator("summary").first.click()
    await operation.get_by_role("button", name="Send").click()
    await expect(operation.locator("form > div p")).to_contain_text("200")
    curl, answer = await operation.locator("form > div pre").all_inner_texts()
    assert curl.startswith("curl -X POST 'http://127.0.0.1:")
    assert json.loads(answer)["status"] == "completed"


async def test_file_is_sent_in_a_form(page: Page, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(make_image(1))
    operation = page.locator("details.post", has_text="/motion/detect").first
    await operation.locator("summary").first.click()
    await operation.locator("input[type=file]").set_input_files(tmp_path / "photo.jpg")
    await operation.get_by_placeholder("camera_id=front_door").fill("camera_id=yard&job_id=mine")
    await operation.get_by_role("button", name="Send").click()
    await expect(operation.locator("form > div p")).to_contain_text("202")
    curl = await operation.locator("form > div pre").first.inner_text()
    assert curl.endswith("-F 'file=@photo.jpg' -F 'camera_id=yard' -F 'job_id=mine'")


async def test_problem_is_shown(page: Page) -> None:
    operation = page.locator("details.get", has_text="/queue/job/{job_id}").first
    await operation.locator("summary").first.click()
    await operation.locator("input[name=job_id]").fill("no body")
    await operation.get_by_role("button", name="Send").click()
    await expect(operation.locator("form > div p")).to_contain_text("400")
    await expect(operation.locator("form > div p")).to_have_class("bad")
