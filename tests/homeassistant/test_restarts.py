"""Home Assistant, the broker and the service come back in any order, and all states are right."""

import signal

import pytest

from tests.homeassistant.house import BASE, House

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

#: Change by themselves: rates and times of the last minutes, the time when a picture arrived, and
#: what a button's state is: when it was pressed in this life.
_MOVING = ("captions_per_minute", "latency_p50", "latency_p95", "image")


async def steady_states(house: House) -> dict[str, str]:
    """By unique id."""
    states = await house.core.states()
    return {
        unique_id: states[entity.entity_id].state
        for unique_id, entity in (await house.core.entities()).items()
        if not entity.disabled and entity.platform != "button" and not unique_id.endswith(_MOVING)
    }


async def comes_back(house: House, before: dict[str, str]) -> None:
    """Wait until all states are what they were."""
    # Home Assistant looks for its broker every ten seconds.
    await house.eventually(lambda: steady_states(house), before, seconds=60)


async def available(house: House) -> set[str]:
    return set((await steady_states(house)).values()) - {"unavailable"}


async def test_home_assistant_knows_all_after_its_restart(house: House) -> None:
    await house.settles()
    before = await steady_states(house)
    await house.core.restart()
    await comes_back(house, before)


async def test_service_comes_back_as_it_was(house: House) -> None:
    await house.settles()
    before = await steady_states(house)
    await house.service.stop()
    await house.until("connectivity", "off", "bridge")
    assert await available(house) == {"off"}
    await house.service.start()
    await house.listener.ready()
    await comes_back(house, before)


async def test_killed_service_is_seen_to_be_gone(house: House) -> None:
    await house.settles()
    before = await steady_states(house)
    await house.service.stop(signal.SIGKILL)
    await house.until("connectivity", "off", "bridge", seconds=60)
    await house.service.start()
    await house.listener.ready()
    await comes_back(house, before)


async def test_broker_that_keeps_its_messages_comes_back(house: House) -> None:
    await house.settles()
    before = await steady_states(house)
    async with house.without_broker():
        pass
    await comes_back(house, before)


async def test_broker_that_lost_its_messages_gets_them_again(house: House) -> None:
    await house.settles()
    before = await steady_states(house)
    topics = house.listener.discovered()
    async with house.without_broker():
        house.forget_retained()
    await comes_back(house, before)
    assert house.listener.discovered() == topics


async def test_home_assistant_that_was_off_learns_what_has_changed(house: House) -> None:
    """A camera that was forgotten meanwhile stays in its registry, until a person removes it."""
    gone, new = f"{BASE}_attic", f"{BASE}_cellar"
    await house.caption("attic")
    await house.discovered("attic")
    await house.core.stop()
    house.listener.publish_json("bridge/request/camera/forget", {"camera_id": "attic"})
    await house.caption("cellar")
    await house.core.start()
    await house.appears(f"{new}_caption")
    await house.until("caption", "unavailable", "attic")
    await house.core.remove_device(gone)
    await house.is_gone(gone)
    house.listener.publish_json("bridge/request/camera/forget", {"camera_id": "cellar"})
    await house.is_gone(new)
