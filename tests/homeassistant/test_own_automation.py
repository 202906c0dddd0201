"""The automation that the page has for copying tells of new captions and of nothing else."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
import pytest_asyncio
import yaml

from tests.homeassistant.environments import ROOT
from tests.homeassistant.home import Home

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

_PAGE = (ROOT / "docs" / "how-to" / "home-assistant.md").read_text(encoding="utf-8")
_QUIET_S = 1.0  # an automation that is triggered acts at once


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def silence(home: Home) -> AsyncIterator[None]:
    """A test fails in which Home Assistant's integrations complain about anything."""
    yield
    await home.has_not_complained()


@pytest_asyncio.fixture(loop_scope="session")
async def told(home: Home) -> AsyncIterator[Home]:
    """With the automation of the page and no other."""
    [code] = re.findall(r"```yaml\n(alias: .*?)```", _PAGE, re.DOTALL)
    await home.core.automate([])
    await home.core.calls()
    await home.core.automate([{"id": "page", **yaml.safe_load(code)}])
    yield home
    await home.core.automate([])


async def test_each_new_caption_is_told_with_its_picture(told: Home) -> None:
    for text in ("A man rings.", "A man rings.", "A man leaves."):  # the same words again are news
        told.service.caption("front_door", text)
        [shown] = await told.messages(text)
        assert shown["data"]["image"] == told.picture


async def test_what_comes_back_is_not_told(told: Home) -> None:
    told.service.caption("front_door", "Before.")
    await told.messages("Before.")
    told.service.is_online(False)
    await told.core.until(f"is_state({told.front!r}, 'unavailable')")
    told.service.is_online(True)
    await told.core.until(f"has_value({told.front!r})")
    await told.core.restart()
    await told.core.until(f"has_value({told.front!r})")
    await asyncio.sleep(_QUIET_S)
    assert await told.core.calls() == []
    told.service.caption("front_door", "After.")
    await told.messages("After.")


async def test_old_caption_of_a_camera_that_is_new_to_home_assistant_is_not_told(
    told: Home,
) -> None:
    """The broker has it retained, and the entity was unknown until it came."""
    told.service.caption("front_door", "Old.", at=datetime.now(UTC) - timedelta(hours=1))
    told.service.caption("front_door", "New.")
    await told.messages("New.")
