"""The login in a real browser, which says of itself what no client in Python does."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Page, expect

from broker.embedded import EmbeddedBroker
from tests.support.gateway import Gateway, gateway

pytestmark = [pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(120)]

_TOKEN = "a-token-of-forty-characters-for-this-test"  # noqa: S105 - of this test


@pytest_asyncio.fixture(scope="module", loop_scope="package")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    """Nobody is known without the token."""
    folder = tmp_path_factory.mktemp("login") / "service"
    http = {"token": _TOKEN, "keyless_networks": ["10.255.0.0/16"]}
    async with gateway(mosquitto, folder, "page/login", http=http) as running:
        yield running


async def test_the_token_opens_the_page_until_the_logout(
    page: Page, service: Gateway, errors: list[str]
) -> None:
    await page.goto(f"{service.url}/")
    await page.get_by_label("Token").fill("another")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    errors.clear()  # 401, as the browser tells
    await page.get_by_label("Token").fill(_TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.locator("#state")).to_have_text("Running", timeout=30_000)

    await page.goto(f"{service.url}/logout")
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("Token")).to_be_visible()


async def test_who_opens_a_part_of_the_page_is_there_after_the_login(
    page: Page, service: Gateway, errors: list[str]
) -> None:
    await page.goto(f"{service.url}/#/wall")
    await page.get_by_label("Token").fill("another")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_be_visible()
    errors.clear()  # 401, as the browser tells
    await page.get_by_label("Token").fill(_TOKEN)
    await page.keyboard.press("Enter")
    await expect(page.locator("body")).to_have_attribute("data-page", "wall")
    await page.wait_for_url(f"{service.url}/#/wall")


async def test_a_session_that_ends_is_begun_again_where_it_was(
    page: Page, service: Gateway, errors: list[str]
) -> None:
    await page.goto(f"{service.url}/#/search/a%20dog")
    await page.get_by_label("Token").fill(_TOKEN)
    await page.keyboard.press("Enter")
    words = page.get_by_label("Search in captions")
    await expect(words).to_have_value("a dog")
    await page.context.clear_cookies()
    await words.fill("a cat")
    await page.get_by_label("Token").fill(_TOKEN)
    errors.clear()  # 401, as the browser tells
    await page.keyboard.press("Enter")
    await expect(words).to_have_value("a dog")
    await page.wait_for_url(f"{service.url}/#/search/a%20dog")
