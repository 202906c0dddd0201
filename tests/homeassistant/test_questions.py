"""The blueprints that ask, in a real Home Assistant: what is asked, and what becomes of it."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.result import Answer
from tests.homeassistant.home import ACT, ASK, DONE, TABLET, Home

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


@pytest_asyncio.fixture(autouse=True, loop_scope="session")
async def silence(home: Home) -> AsyncIterator[None]:
    """A test fails in which Home Assistant's integrations complain about anything."""
    yield
    await home.has_not_complained()


async def test_the_question_is_asked_when_motion_ends(home: Home) -> None:
    def describe(request: dict[str, Any]) -> dict[str, Any]:
        reply = Answer(question="Is there a package?", answer="Yes, a box.", confidence=0.9)
        home.service.caption("front_door", "A door.", job_id=request["job_id"], answers=(reply,))
        return {"status": "ok", "data": {"job_id": request["job_id"], "status": "queued"}}

    home.service.describe = describe
    name = await home.use(
        ASK,
        motion=[home.motion_sensor],
        caption=home.caption,
        notifiers=[TABLET],
        ended_for=0,
        silent_answers=["No"],
    )
    await home.motion("ON")
    home.service.caption("front_door", "Somebody else asked.")
    assert home.service.asked == []
    await home.motion("OFF")
    [shown] = await home.messages("Yes, a box.")
    assert shown["title"] == "Front door: Is there a package?"
    assert shown["data"]["image"] == home.picture
    asked = await home.asked()
    assert asked.pop("job_id").startswith("ask_")
    assert asked == {
        "camera_id": "front_door",
        "tasks": ["caption", {"query": "Is there a package?"}],
        "transaction": name,
    }


async def test_an_answer_that_nobody_needs_is_not_sent(home: Home) -> None:
    answers = iter(["no, there is not", "5"])

    def describe(request: dict[str, Any]) -> dict[str, Any]:
        reply = Answer(question="?", answer=next(answers), confidence=0.9)
        home.service.caption("front_door", "A door.", job_id=request["job_id"], answers=(reply,))
        return {"status": "ok", "data": {}}

    home.service.describe = describe
    await home.use(
        ASK,
        motion=[home.motion_sensor],
        caption=home.caption,
        notifiers=[TABLET],
        ended_for=0,
        silent_answers=["No"],
    )
    for _ in range(2):
        await home.motion("ON")
        await home.motion("OFF")
        await home.core.until(f"(state_attr({home.caption!r}, 'job_id') or '').startswith('ask_')")
    await home.messages("5")


@pytest.mark.parametrize("blueprint", [ASK, ACT], ids=["ask", "act"])
async def test_a_refused_question_is_said_in_home_assistant(home: Home, blueprint: Path) -> None:
    error = {"code": "wrong_state", "message": "front_door has no snapshot_url"}
    home.service.describe = lambda request: {"status": "error", "error": error}
    await home.core.register("persistent_notification.create")
    inputs: dict[str, Any] = {
        "motion": [home.motion_sensor],
        "notifiers": [TABLET],
        "ended_for": 0,
    }
    if blueprint == ACT:
        inputs = {
            "start": [{"trigger": "state", "entity_id": home.motion_sensor, "to": "off"}],
            "when_yes": [{"action": DONE}],
            "timeout": 5,
            "when_unsure": [{"action": DONE, "data": {"is": "unsure"}}],
        }
    name = await home.use_to_ask(blueprint, caption=home.caption, **inputs)
    await home.motion("ON")
    await home.motion("OFF")
    calls = await home.calls(2 if blueprint == ACT else 1)
    assert calls[0]["data"]["notification_id"] == name
    assert calls[0]["data"]["message"].endswith("front_door has no snapshot_url")
    assert [call["data"] for call in calls[1:]] == [{"is": "unsure"}] * (blueprint == ACT)


@pytest.mark.parametrize(
    ("answer", "confidence", "done"),
    [("Yes", 0.93, "yes 0.93"), ("No", 0.8, "no 0.8"), ("Yes", 0.79, "unsure 0.79")],
)
async def test_what_the_answer_asks_for_is_done(
    home: Home, answer: str, confidence: float, done: str
) -> None:
    def describe(request: dict[str, Any]) -> dict[str, Any]:
        reply = Answer(question="Is the gate open?", answer=answer, confidence=confidence)
        home.service.caption("front_door", "A gate.", job_id=request["job_id"], answers=(reply,))
        return {"status": "ok", "data": {}}

    def action(word: str) -> list[dict[str, Any]]:
        return [{"action": DONE, "data": {"is": f"{word} {{{{ confidence }}}}"}}]

    home.service.describe = describe
    await home.use(
        ACT,
        start=[{"trigger": "state", "entity_id": home.motion_sensor, "to": "on"}],
        caption=home.caption,
        confidence=0.8,
        when_yes=action("yes"),
        when_no=action("no"),
        when_unsure=action("unsure"),
    )
    await home.motion("OFF")
    await home.motion("ON")
    [call] = await home.calls(1)
    assert call["data"] == {"is": done}
    choose = {"question": "Is the gate open?", "choices": ["Yes", "No"]}
    assert (await home.asked())["tasks"] == ["caption", {"choose": choose}]


async def test_a_caption_right_behind_the_answer_is_not_taken_for_it(home: Home) -> None:
    def describe(request: dict[str, Any]) -> dict[str, Any]:
        no = Answer(question="Is the gate open?", answer="No", confidence=0.9)
        yes = Answer(question="Is somebody there?", answer="Yes", confidence=0.9)
        home.service.caption("front_door", "A gate.", job_id=request["job_id"], answers=(no,))
        home.service.caption("front_door", "Somebody.", answers=(yes,))  # of the same batch
        return {"status": "ok", "data": {}}

    home.service.describe = describe
    await home.use(
        ACT,
        start=[{"trigger": "state", "entity_id": home.motion_sensor, "to": "on"}],
        caption=home.caption,
        when_yes=[{"action": DONE, "data": {"is": "yes"}}],
        when_no=[{"action": DONE, "data": {"is": "no"}}],
        when_unsure=[{"action": DONE, "data": {"is": "unsure"}}],
        timeout=5,
    )
    for _ in range(5):
        await home.motion("OFF")
        await home.motion("ON")
        [call] = await home.calls(1)
        assert call["data"]["is"] != "yes"


async def test_an_answer_that_was_overtaken_is_said_to_be(home: Home) -> None:
    def describe(request: dict[str, Any]) -> dict[str, Any]:
        right = Answer(question="Is there a package?", answer="A box.", confidence=0.9)
        other = Answer(question="Is it raining?", answer="It rains.", confidence=0.9)
        home.service.caption("front_door", "A door.", job_id=request["job_id"], answers=(right,))
        home.service.caption("front_door", "Rain.", answers=(other,))
        return {"status": "ok", "data": {}}

    home.service.describe = describe
    await home.core.register("persistent_notification.create")
    await home.use(
        ASK, motion=[home.motion_sensor], caption=home.caption, notifiers=[TABLET], ended_for=0
    )
    await home.motion("ON")
    await home.motion("OFF")
    [call] = await home.calls(1)
    assert call["data"]["message"] in {  # or it was read in time
        "Another caption came at the same moment as the answer.",
        "A box.",
    }
