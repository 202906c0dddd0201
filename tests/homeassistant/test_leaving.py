"""Discovery that is switched off, or changes its form, leaves nothing behind."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.homeassistant.environments import NEWEST, Version
from tests.homeassistant.house import House

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def restart_with(house: House, **settings: object) -> None:
    """Restart the service with these settings of `homeassistant`."""
    await house.service.stop()
    house.service.settings["homeassistant"] = settings
    await house.service.start()
    await house.listener.ready()


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def as_at_the_start(house: House) -> AsyncIterator[None]:
    """Restarts the service with its own settings where a test has failed."""
    before = house.service.settings["homeassistant"]
    yield
    if house.service.settings["homeassistant"] != before:
        await restart_with(house, **before)


async def known(house: House) -> dict[str, str]:
    """Entity ids by unique id."""
    entities = await house.core.entities()
    return {unique_id: entity.entity_id for unique_id, entity in entities.items()}


async def forms(house: House) -> set[str]:
    """Of what is retained of discovery."""
    levels = [topic.split("/")[1] for topic in house.listener.discovered()]
    return {"device" if level == "device" else "components" for level in levels}


async def test_switched_off_leaves_nothing(house: House) -> None:
    before = await known(house)
    assert before
    settings = house.service.settings["homeassistant"]
    await restart_with(house, enabled=False)
    await house.eventually(lambda: known(house), {})
    assert not await house.core.devices()
    assert not house.listener.discovered()
    await restart_with(house, **settings)
    await house.eventually(lambda: known(house), before)
    await house.settles()


async def test_other_form_of_discovery_keeps_entities(house: House, version: Version) -> None:
    if version != NEWEST:
        pytest.skip("this version knows one form only, or is not the newest")
    # It says so when the old topics are emptied, which is the last step of its own recipe.
    house.expected = ["Received a conflicting MQTT discovery message"]
    before = await known(house)
    for form in ("components", "device"):
        await restart_with(house, discovery=form)
        await house.eventually(lambda: forms(house), {form})
        await house.settles()
        assert await known(house) == before
        await house.core.restart()
        await house.settles()
        assert await known(house) == before, "an entity was kept by nothing but memory"
