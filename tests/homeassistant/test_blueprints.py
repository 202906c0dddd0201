"""Blueprints with everything real: the service tells of frames of the demonstration."""

import asyncio
from typing import Any

import pytest
import pytest_asyncio

from tests.homeassistant.environments import Version
from tests.homeassistant.home import ACT, DONE, NOTIFY, PATIENCE_S, TABLET, skip_old, sounds, tags
from tests.homeassistant.house import House

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(loop_scope="session")
async def with_service(house: House, version: Version) -> House:
    """Everything real: the service with the demonstration model tells of its frames."""
    skip_old(version)
    await house.core.register(TABLET)
    await house.core.register(DONE)
    return house


async def test_frames_of_a_story_are_one_notification(with_service: House) -> None:
    core = with_service.core
    camera = (await with_service.entity("captioned")).entity_id
    image = (await with_service.entity("image")).entity_id
    await core.automate_blueprint(NOTIFY, {"cameras": [camera], "notifiers": [TABLET]})
    captions = [(await with_service.caption())["result"]["caption"] for _ in range(4)]
    calls: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not calls or calls[-1]["data"]["message"] != captions[-1]:
            calls += await core.calls()
            await asyncio.sleep(0.05)
    await core.automate([])
    shown = [call["data"] for call in calls]
    assert len(set(tags(shown))) == 1
    assert sum(sounds(shown)) == 1
    assert {each["data"]["image"] for each in shown} == {f"/api/image_proxy/{image}"}


async def test_the_service_answers_yes_or_no(with_service: House) -> None:
    core = with_service.core
    caption = (await with_service.entity("caption")).entity_id
    await core.automate_blueprint(
        ACT,
        {
            "start": [{"trigger": "event", "event_type": "never"}],
            "caption": caption,
            "question": "Is there a package?",
            "confidence": 0.5,
            "when_yes": [{"action": DONE, "data": {"is": "{{ answer }} {{ confidence }}"}}],
            "when_no": [{"action": DONE, "data": {"is": "{{ answer }} {{ confidence }}"}}],
        },
    )
    await core.call("automation.trigger", "automation.act_when_yes", skip_condition=True)
    calls: list[dict[str, Any]] = []
    async with asyncio.timeout(PATIENCE_S):
        while not calls:
            calls = await core.calls()
            await asyncio.sleep(0.05)
    await core.automate([])
    answer, confidence = calls[0]["data"]["is"].split()
    assert answer in {"Yes", "No"}
    assert 0.5 <= float(confidence) <= 1
