"""What stands in Home Assistant once a camera has had its first caption."""

import re

import pytest

from tests.homeassistant.core import Entity
from tests.homeassistant.environments import Version
from tests.homeassistant.house import BASE, CAMERA, House, picture_hash

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]

#: Platform, category, unit, device class.
CAMERA_ENTITIES = {
    "caption": ("sensor", None, None, None),
    "image": ("image", None, None, None),
    "captioned": ("event", None, None, None),
    "confidence": ("sensor", "diagnostic", "%", None),
    "processing_time": ("sensor", "diagnostic", "s", "duration"),
    "motion_intensity": ("sensor", "diagnostic", "%", None),
    "priority": ("sensor", "diagnostic", None, "enum"),
    "last_seen": ("sensor", "diagnostic", None, "timestamp"),
    "count_person": ("sensor", None, None, None),
    "count_red_car": ("sensor", None, None, None),
    "prompt": ("text", "config", None, None),
    "location": ("text", "config", None, None),
    "length": ("select", "config", None, None),
    "min_priority": ("select", "config", None, None),
    "enabled": ("switch", "config", None, None),
    "newest_wins": ("switch", "config", None, None),
    "publish_image": ("switch", "config", None, None),
    "cooldown": ("number", "config", "s", "duration"),
    "min_intensity": ("number", "config", None, None),
    "describe": ("button", None, None, None),
}
BRIDGE_ENTITIES = {
    "connectivity": ("binary_sensor", "diagnostic", None, "connectivity"),
    "problem": ("binary_sensor", "diagnostic", None, "problem"),
    "model_state": ("sensor", "diagnostic", None, "enum"),
    "model": ("select", "config", None, None),
    "queue_size": ("sensor", "diagnostic", None, None),
    "queue_critical": ("sensor", "diagnostic", None, None),
    "queue_high": ("sensor", "diagnostic", None, None),
    "queue_normal": ("sensor", "diagnostic", None, None),
    "queue_low": ("sensor", "diagnostic", None, None),
    "captions_per_minute": ("sensor", "diagnostic", "/min", None),
    "latency_p50": ("sensor", "diagnostic", "s", "duration"),
    "latency_p95": ("sensor", "diagnostic", "s", "duration"),
    "processing": ("switch", None, None, None),
    "clear_queue": ("button", "config", None, None),
    "load_model": ("button", "config", None, None),
    "unload_model": ("button", "config", None, None),
    "version": ("sensor", "diagnostic", None, None),
}


async def test_after_one_caption_no_entity_is_unknown(house: House) -> None:
    await house.settles()


async def test_every_entity_is_there_as_what_it_is(house: House) -> None:
    entities = await house.core.entities()
    wanted = {f"{CAMERA}_{key}": facts for key, facts in CAMERA_ENTITIES.items()}
    wanted |= {f"bridge_{key}": facts for key, facts in BRIDGE_ENTITIES.items()}
    found = {
        unique_id.removeprefix(f"{BASE}_"): (
            each.platform,
            each.category,
            each.unit,
            each.device_class,
        )
        for unique_id, each in entities.items()
        if not re.search(r"_gpu_\d+_", unique_id)
    }
    assert found == wanted


async def test_entities_are_called_by_camera_and_key(house: House, version: Version) -> None:
    if not version.takes_entity_ids:
        pytest.skip("this version calls entities by their names")
    entities = (await house.core.entities()).values()
    assert {each.entity_id for each in entities} == {_entity_id(each) for each in entities}


def _entity_id(entity: Entity) -> str:
    name = entity.unique_id.removeprefix(f"{BASE}_").replace("bridge_", f"{BASE}_", 1)
    return f"{entity.platform}.{name}"


async def test_every_entity_has_a_name_and_something_to_be_drawn_by(house: House) -> None:
    entities = (await house.core.entities()).values()
    own_icon = {"image", "event", "button"}  # Home Assistant draws these by their platform
    bare = [
        each.entity_id
        for each in entities
        if not each.name or not (each.icon or each.device_class or each.platform in own_icon)
    ]
    assert not bare


async def test_camera_is_connected_via_the_bridge(house: House) -> None:
    devices = {device["identifiers"][0]: device for device in await house.core.devices()}
    assert devices.keys() == {f"{BASE}_bridge", f"{BASE}_{CAMERA}"}
    camera = devices[f"{BASE}_{CAMERA}"]
    assert camera["name"] == "Front door"
    assert camera["via_device"] == [f"{BASE}_bridge"]
    assert devices[f"{BASE}_bridge"]["sw_version"] == await house.state("version", "bridge")


async def test_caption_is_what_was_published(house: House) -> None:
    result = await house.caption()
    await house.until("caption", result["result"]["short_caption"])
    entity = await house.entity("caption")
    await house.core.until(f"state_attr({entity.entity_id!r}, 'job_id') == {result['job_id']!r}")
    attributes = (await house.core.states())[entity.entity_id].attributes
    assert attributes["caption"] == result["result"]["caption"]
    assert attributes["location"] == "Front door"


async def test_picture_is_what_was_published(house: House) -> None:
    result = await house.caption()
    entity = await house.entity("caption")
    await house.core.until(f"state_attr({entity.entity_id!r}, 'job_id') == {result['job_id']!r}")
    await house.shown_picture(picture_hash(house.listener, CAMERA))
