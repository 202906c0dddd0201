"""A camera's settings, changed in Home Assistant: each changes what becomes of the next frame."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.homeassistant.house import BASE, CAMERA, House, picture_hash

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def as_in_the_file(house: House) -> AsyncIterator[None]:
    """Takes back what a test has changed."""
    before = house.listener.document(f"{CAMERA}/settings")
    yield
    house.listener.publish_json("bridge/request/camera/reset", {"camera_id": CAMERA})
    await house.listener.settings(CAMERA, **before)


async def change(house: House, name: str, value: Any) -> None:
    """Change a setting by its entity, as a person does, and wait until both sides say so."""
    entity = await house.entity(name)
    action, data = {
        "switch": ("turn_on" if value else "turn_off", {}),
        "number": ("set_value", {"value": value}),
        "text": ("set_value", {"value": value}),
        "select": ("select_option", {"option": value}),
    }[entity.platform]
    await house.core.call(f"{entity.platform}.{action}", entity.entity_id, **data)
    await house.listener.settings(CAMERA, **{name: value})
    await house.core.until(_shows(entity.platform, entity.entity_id, value))


def _shows(platform: str, entity_id: str, value: Any) -> str:
    if platform == "number":
        return f"states({entity_id!r}) | float(-1) == {value}"
    state = {True: "on", False: "off"}[value] if platform == "switch" else value
    return f"states({entity_id!r}) == {state!r}"


async def test_enabled_off_drops_every_frame(house: House) -> None:
    await change(house, "enabled", False)
    assert await house.fate() == "camera_disabled"
    await change(house, "enabled", True)
    assert await house.fate() == "completed"


async def test_cooldown_drops_what_follows(house: House) -> None:
    await change(house, "cooldown", 3600)
    await house.fate()  # the one before it, if none was accepted yet
    assert await house.fate() == "cooldown"
    await change(house, "cooldown", 0)
    assert await house.fate() == "completed"


async def test_min_intensity_drops_lesser_motion(house: House) -> None:
    await change(house, "min_intensity", 0.6)
    assert await house.fate(motion_intensity=0.55) == "low_intensity"
    assert await house.fate(motion_intensity=0.65) == "completed"


async def test_min_priority_drops_lesser_frames(house: House) -> None:
    await change(house, "min_priority", "high")
    assert await house.fate(priority="normal") == "low_priority"
    assert await house.fate(priority="high") == "completed"


async def test_newest_wins_replaces_what_waits(house: House) -> None:
    await change(house, "newest_wins", True)
    async with house.paused():
        first = house.send()
        await house.listener.queued(first)
        second = house.send()
        assert (await house.listener.end(first))["error"]["code"] == "conflated"
    assert (await house.listener.end(second))["status"] == "completed"


async def test_length_changes_the_caption(house: House) -> None:
    await change(house, "length", "short")
    frame = house.frame()
    short = await house.caption(**frame)
    await change(house, "length", "long")
    long = await house.caption(**frame)
    assert len(short["result"]["caption"]) < len(long["result"]["caption"])


async def test_prompt_is_asked_until_it_is_emptied(house: House) -> None:
    frame = house.frame()
    plain = (await house.caption(**frame))["result"]["caption"]
    await change(house, "prompt", 'Wer ist "da", und warum? {{ 1 + 1 }}')
    await change(house, "prompt", "Is it day or night?")
    answer = (await house.caption(**frame))["result"]["caption"]
    assert "day" in answer.lower() or "night" in answer.lower()
    assert answer != plain
    prompt = await house.entity("prompt")
    await house.core.call("text.set_value", prompt.entity_id, value="")
    await house.listener.settings(CAMERA, prompt=None)
    await house.core.until(f"states({prompt.entity_id!r}) == ''")
    assert (await house.caption(**frame))["result"]["caption"] == plain


async def test_location_stands_in_the_result_and_names_the_device(house: House) -> None:
    await change(house, "location", "Hinter dem Gartentörchen")
    assert (await house.caption())["location"] == "Hinter dem Gartentörchen"
    location = await house.entity("location")
    await house.core.until(
        f"device_attr({location.entity_id!r}, 'name') == 'Hinter dem Gartentörchen'"
    )


async def test_publish_image_lets_the_picture_come_and_go(house: House) -> None:
    await house.caption()
    image = (await house.entity("image")).entity_id
    await change(house, "publish_image", False)
    assert house.listener.newest[f"{BASE}/{CAMERA}/image"] == b"", "it stays on the broker"
    await house.core.until(f"states[{image!r}] is none")
    assert f"{BASE}_{CAMERA}_image" not in await house.core.entities()
    await change(house, "publish_image", True)
    await house.core.until(f"states[{image!r}] is not none")
    await house.caption()
    await house.shown_picture(picture_hash(house.listener, CAMERA))


async def test_refused_value_leaves_the_setting(house: House) -> None:
    before = await house.state("length")
    house.listener.publish(f"{CAMERA}/set/length", "endless")
    await house.caption()
    await asyncio.sleep(0.5)
    assert await house.state("length") == before
