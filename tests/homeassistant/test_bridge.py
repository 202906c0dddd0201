"""The service's own switches and buttons, used in Home Assistant."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.homeassistant.house import BASE, CAMERA, GUEST, MODEL, House, picture_hash

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(300)]


async def press(house: House, key: str, device: str = "bridge") -> None:
    await house.core.call("button.press", (await house.entity(key, device)).entity_id)


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def as_at_the_start(house: House) -> AsyncIterator[None]:
    """Lets the service go on with its own model, whatever a test has left."""
    yield
    house.listener.publish("bridge/request/queue/processing", "ON")
    if house.listener.document("bridge/info")["model"]["name"] != str(MODEL):
        house.listener.publish_json("bridge/request/model/load", {"model": str(MODEL)})
    await house.listener.stats(processing=True)


async def test_processing_off_lets_frames_wait(house: House) -> None:
    processing = (await house.entity("processing", "bridge")).entity_id
    await house.core.call("switch.turn_off", processing)
    await house.listener.stats(processing=False)
    await house.until("processing", "off", "bridge")
    job_id = house.send()
    await house.listener.queued(job_id)
    await house.until("queue_size", "1", "bridge")
    await house.core.call("switch.turn_on", processing)
    assert (await house.listener.end(job_id))["status"] == "completed"
    await house.until("processing", "on", "bridge")
    await house.until("queue_size", "0", "bridge")


async def test_clear_queue_cancels_what_waits(house: House) -> None:
    async with house.paused():
        jobs = [house.send(), house.send()]
        for job_id in jobs:
            await house.listener.queued(job_id)
        await press(house, "clear_queue")
        ends = [await house.listener.end(job_id) for job_id in jobs]
    assert {end["status"] for end in ends} == {"cancelled"}
    await house.until("queue_size", "0", "bridge")


async def test_unload_frees_the_model_and_load_brings_it_back(house: House) -> None:
    await press(house, "unload_model")
    await house.until("model_state", "unloaded", "bridge", seconds=60)
    await press(house, "load_model")
    await house.until("model_state", "ready", "bridge", seconds=60)
    assert await house.fate() == "completed"


async def test_model_is_chosen_from_those_on_this_machine(house: House) -> None:
    model = (await house.entity("model", "bridge")).entity_id
    for chosen in (house.other_model, MODEL):
        await house.core.call("select.select_option", model, option=str(chosen))
        await house.until("model", str(chosen), "bridge", seconds=60)
        await house.until("model_state", "ready", "bridge", seconds=60)
        assert house.listener.document("bridge/info")["model"]["name"] == str(chosen)
        assert await house.fate() == "completed"


async def test_describe_now_captions_the_camera_s_present_picture(house: House) -> None:
    before = (await house.caption())["job_id"]
    caption = (await house.entity("caption")).entity_id
    await house.core.until(f"state_attr({caption!r}, 'job_id') == {before!r}")
    await press(house, "describe", CAMERA)
    await house.core.until(f"state_attr({caption!r}, 'job_id') != {before!r}")
    await house.until("priority", "high")
    await house.shown_picture(picture_hash(house.listener, CAMERA))


async def test_problem_says_what_is_wrong(house: House) -> None:
    await house.until("problem", "off", "bridge")
    entity = await house.entity("problem", "bridge")
    attributes = (await house.core.states())[entity.entity_id].attributes
    assert attributes["broker"].startswith("healthy")


async def test_forgotten_camera_leaves_no_entity_and_no_device(house: House) -> None:
    await house.caption(GUEST)
    await house.discovered(GUEST)
    entity = await house.entity("forget", GUEST)
    assert entity.disabled
    await house.core.enable(entity.entity_id)
    await house.core.restart()
    await house.core.until(f"states[{entity.entity_id!r}] is not none")
    await house.core.call("button.press", entity.entity_id)
    await house.is_gone(f"{BASE}_{GUEST}")
    assert not [topic for topic in house.listener.discovered() if GUEST in topic]


async def test_camera_without_a_name_is_called_by_its_id(house: House) -> None:
    await house.caption(GUEST)
    await house.discovered(GUEST)
    names = {each["identifiers"][0]: each["name"] for each in await house.core.devices()}
    assert names[f"{BASE}_{GUEST}"] == "Garage"
    house.listener.publish_json("bridge/request/camera/forget", {"camera_id": GUEST})
    await house.is_gone(f"{BASE}_{GUEST}")
