"""A browser for all tests of the page, and for each a page whose console must stay empty."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, ViewportSize, async_playwright

from tests.support.browser import browser_or_none
from tests.support.scripted_service import ScriptedService, scripted_service

_DESK = ViewportSize(width=1440, height=900)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def browser() -> AsyncIterator[Browser]:
    program = browser_or_none()
    if program is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    async with async_playwright() as playwright:
        # The page is our own; as root Chromium has no sandbox.
        browser = await playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--js-flags=--expose-gc"]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def scripted() -> AsyncIterator[ScriptedService]:
    async with scripted_service() as service:
        yield service


@pytest_asyncio.fixture(loop_scope="package")
async def service(scripted: ScriptedService) -> AsyncIterator[ScriptedService]:
    """The one of all tests, as if it were new."""
    scripted.reset()
    yield scripted
    scripted.hang_up()


@pytest.fixture
def errors() -> list[str]:
    """What the page's console has said that it should not; a test takes out what it provokes."""
    return []


@pytest_asyncio.fixture(loop_scope="package")
async def page(browser: Browser, errors: list[str]) -> AsyncIterator[Page]:
    """A page at the size of a desk; at the end nothing may be wrong in its console."""

    def note(message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            errors.append(message.text)

    context = await browser.new_context(viewport=_DESK, color_scheme="light")
    page = await context.new_page()
    page.set_default_timeout(5000)
    page.on("console", note)
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    await context.close()
    assert not errors
