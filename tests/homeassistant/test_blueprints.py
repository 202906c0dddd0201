"""The blueprints in a real Home Assistant: what the phone shows and hears, and what is done."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import BrokerProgram, EmbeddedBroker
from schemas.result import Answer
from tests.homeassistant.core import Core
from tests.homeassistant.environments import ROOT, Version
from tests.homeassistant.house import House
from tests.homeassistant.stand_in import StandIn
from tests.support.checker import until

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]

_FOLDER = ROOT / "homeassistant" / "blueprints" / "automation" / "moondream2mqtt"
_NOTIFY = _FOLDER / "notify_caption.yaml"
_ASK = _FOLDER / "ask_when_motion_ends.yaml"
_ACT = _FOLDER / "act_when_yes.yaml"
#: The blueprints name 2025.4: from there on variables outlive a round of a loop.
_OLDEST = (2025, 4)
_PATIENCE_S = 20.0

_PHONE = "notify.mobile_app_anna_s_phone"
_TABLET = "notify.tablet"
_DONE = "test.done"


@dataclass(slots=True)
class Home:
    """A Home Assistant that has heard of two cameras, a motion sensor and a phone."""

    core: Core
    service: StandIn
    #: Entity ids by the end of the unique id: those of older versions come from names.
    ids: dict[str, str] = field(default_factory=dict)

    @property
    def front(self) -> str:
        return self.ids["front_door_captioned"]

    @property
    def garden(self) -> str:
        return self.ids["garden_captioned"]

    @property
    def caption(self) -> str:
        return self.ids["front_door_caption"]

    @property
    def motion_sensor(self) -> str:
        return self.ids["motion"]

    @property
    def picture(self) -> str:
        """As phones fetch it."""
        return f"/api/image_proxy/{self.ids['front_door_image']}"

    async def learn(self, *keys: str) -> None:
        """Wait until these are discovered."""
        wanted = set(keys)
        async with asyncio.timeout(_PATIENCE_S):
            while not wanted <= self.ids.keys():
                found = await self.core.entities()
                self.ids = {
                    unique_id.removeprefix("moondream2mqtt_"): entity.entity_id
                    for unique_id, entity in found.items()
                }
        for entity_id in (self.ids[key] for key in keys):
            await self.core.until(
                f"states[{entity_id!r}] is not none and states({entity_id!r}) != 'unavailable'"
            )

    async def use(self, blueprint: Path, **inputs: Any) -> str:
        """The only automation from now on; returns its entity id."""
        await self.core.automate([])
        await self.core.calls()
        return await self.core.automate_blueprint(blueprint, inputs)

    async def calls(self, num: int) -> list[dict[str, Any]]:
        """Wait for so many calls, all that there are."""
        calls: list[dict[str, Any]] = []
        async with asyncio.timeout(_PATIENCE_S):
            while len(calls) < num:
                calls += await self.core.calls()
                await asyncio.sleep(0.05)
        assert len(calls) == num, calls
        return calls

    async def messages(self, *expected: str) -> list[dict[str, Any]]:
        """Wait for these notifications and return their data; no others have come."""
        calls = await self.calls(len(expected))
        assert [call["data"]["message"] for call in calls] == list(expected)
        return [call["data"] for call in calls]

    async def motion(self, state: str) -> None:
        self.service.publish("motion/state", state)
        await self.core.until(f"is_state({self.motion_sensor!r}, {state.lower()!r})")

    async def use_to_ask(self, blueprint: Path, **inputs: Any) -> str:
        """The same, and wait until it has subscribed to what is refused."""
        await self.core.automate([])
        topic = "moondream2mqtt/bridge/response/camera/describe"
        transaction = f"automation.{blueprint.stem}"
        refusal = {"status": "error", "error": {"message": "a try"}, "transaction": transaction}
        self.service.publish(topic, json.dumps(refusal))  # retained: heard once it subscribes
        name = await self.use(blueprint, **inputs)
        [call] = await self.calls(1)
        assert call["data"]["message"].endswith("a try")
        self.service.publish(topic, "")
        return name

    async def asked(self) -> dict[str, Any]:
        """Wait for a question to the camera."""
        await until(lambda: bool(self.service.asked), _PATIENCE_S)
        [asked] = self.service.asked
        return asked


def _tags(messages: list[dict[str, Any]]) -> list[str]:
    return [each["data"]["tag"] for each in messages]


def _sounds(messages: list[dict[str, Any]]) -> list[bool]:
    """What is heard, on iOS by what is sent and on Android by what has been shown already."""
    heard, shown = [], set()
    for each in messages:
        is_heard = each["data"]["push"]["sound"] != "none"
        assert is_heard == (each["data"]["tag"] not in shown or not each["data"]["alert_once"])
        shown.add(each["data"]["tag"])
        heard.append(is_heard)
    return heard


def _skip_old(version: Version) -> None:
    if tuple(int(part) for part in version.number.split(".")[:2]) < _OLDEST:
        pytest.skip(f"the blueprints need Home Assistant 2025.4, this is {version.number}")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def home_of_version(
    version: Version, mosquitto_program: BrokerProgram, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Home]:
    if not version.is_installed:
        pytest.skip(f"Home Assistant {version.number} needs Python {version.python}")
    _skip_old(version)
    folder = tmp_path_factory.mktemp("blueprints")
    async with EmbeddedBroker(folder / "mosquitto", program=mosquitto_program) as broker:
        with StandIn(broker.port, "moondream2mqtt") as service:
            service.discover("front_door", location="Front door")
            service.discover("garden")
            service.discover_other(
                "binary_sensor/motion",
                name="Motion",
                unique_id="motion",
                state_topic="motion/state",
                device={"identifiers": ["phone"], "name": "Anna's phone"},
            )
            service.publish("motion/state", "OFF")
            async with Core(version, folder / "core", broker.port) as core:
                for action in (_PHONE, _TABLET, _DONE):
                    await core.register(action)
                made = Home(core, service)
                await made.learn(
                    "front_door_captioned", "front_door_image", "garden_captioned", "motion"
                )
                yield made


@pytest.fixture
def home(home_of_version: Home) -> Home:
    """The same for all, with nothing asked."""
    home_of_version.service.asked.clear()
    home_of_version.service.describe = None
    return home_of_version


async def test_a_visit_is_one_notification_that_changes(home: Home) -> None:
    await home.use(_NOTIFY, cameras=[home.front], notifiers=[_TABLET], visit_gap=3, open="/cameras")
    job_id = home.service.caption("front_door", "A car stops.")
    shown = await home.messages("A car stops.")
    for text in ("A man gets out.", "A man rings."):
        await asyncio.sleep(2)  # together longer than the gap, which begins anew each time
        home.service.caption("front_door", text)
        shown += await home.messages(text)
    assert _tags(shown) == [f"moondream2mqtt_{job_id}"] * 3
    assert _sounds(shown) == [True, False, False]
    assert {each["title"] for each in shown} == {"Front door"}
    assert {each["data"]["image"] for each in shown} == {home.picture}
    assert {each["data"]["url"] for each in shown} == {"/cameras"}
    await asyncio.sleep(3.5)
    home.service.caption("front_door", "A cat sits there.")
    shown += await home.messages("A cat sits there.")
    assert len(set(_tags(shown))) == 2
    assert _sounds(shown) == [True, False, False, True]


async def test_captions_of_one_moment_are_all_one_visit(home: Home) -> None:
    """While a notification is on its way the newest caption takes the place of others."""
    await home.use(_NOTIFY, cameras=[home.front], notifiers=[_TABLET], visit_gap=2)
    for number in range(20):
        home.service.caption("front_door", f"A man {number}.")
    shown: list[dict[str, Any]] = []
    async with asyncio.timeout(_PATIENCE_S):
        while not shown or shown[-1]["message"] != "A man 19.":
            shown += [call["data"] for call in await home.core.calls()]
    assert len(set(_tags(shown))) == 1
    assert _sounds(shown) == [True, *[False] * (len(shown) - 1)]


async def test_cameras_have_visits_of_their_own(home: Home) -> None:
    await home.use(_NOTIFY, cameras=[home.front, home.garden], notifiers=[_TABLET])
    shown = []
    for camera_id, text in [("front_door", "A."), ("garden", "B."), ("front_door", "C.")]:
        home.service.caption(camera_id, text)
        shown += await home.messages(text)
    assert [each["title"] for each in shown] == ["Front door", "Garden", "Front door"]
    assert _tags(shown)[0] == _tags(shown)[2] != _tags(shown)[1]
    assert _sounds(shown) == [True, True, False]


async def test_phones_are_found_by_their_device(home: Home) -> None:
    [phone] = [each for each in await home.core.devices() if each["identifiers"] == ["phone"]]
    await home.use(_NOTIFY, cameras=[home.front], phones=[phone["id"], "gone"], notifiers=[_TABLET])
    home.service.caption("front_door", "A man.")
    assert [call["action"] for call in await home.calls(2)] == [_PHONE, _TABLET]


async def test_captions_that_do_not_match_are_left_out(home: Home) -> None:
    await home.use(
        _NOTIFY,
        cameras=[home.front],
        notifiers=[_TABLET],
        min_priority="normal",
        words=["person", "Straße", "", "delivery van"],
        words_not=["cat"],
        max_age=10,
    )
    long_ago = datetime.now(UTC) - timedelta(minutes=11)
    home.service.caption("front_door", "A person.", priority="low")
    home.service.caption("front_door", "A personal computer.")
    home.service.caption("front_door", "A person with a cat.")
    home.service.caption("front_door", "A person.", taken_at=long_ago)
    home.service.caption("front_door", "A delivery\nVAN.")
    await home.messages("A delivery\nVAN.")
    home.service.caption("front_door", "Nobody.")
    home.service.caption("front_door", "Auf der STRASSE; auf der Straße!")
    await home.messages("Auf der STRASSE; auf der Straße!")


async def test_what_a_restart_brings_back_is_not_told_again(home: Home) -> None:
    await home.use(_NOTIFY, cameras=[home.front], notifiers=[_TABLET])
    home.service.caption("front_door", "Before.")
    await home.messages("Before.")
    await home.core.restart()
    await home.core.until(f"has_value({home.front!r})")
    home.service.is_online(False)
    await home.core.until(f"is_state({home.front!r}, 'unavailable')")
    home.service.is_online(True)
    await home.core.until(f"has_value({home.front!r})")
    home.service.caption("front_door", "After.")
    await home.messages("After.")


async def test_a_camera_that_comes_back_during_a_visit_is_not_told_again(home: Home) -> None:
    await home.use(_NOTIFY, cameras=[home.front, home.garden], notifiers=[_TABLET])
    home.service.caption("garden", "Before.")
    home.service.caption("front_door", "Before, too.")
    await home.calls(2)
    home.service.is_online(False)
    await home.core.until(f"is_state({home.garden!r}, 'unavailable')")
    home.service.is_online(True)
    await home.core.until(f"has_value({home.garden!r})")
    home.service.caption("front_door", "After.")
    await home.messages("After.")


async def test_the_first_caption_of_a_camera_is_told(home: Home) -> None:
    home.service.discover("new_one")
    await home.learn("new_one_captioned")
    camera = home.ids["new_one_captioned"]
    await home.use(_NOTIFY, cameras=[camera], notifiers=[_TABLET])
    home.service.caption("new_one", "A man.")
    [shown] = await home.messages("A man.")
    assert shown["title"] == "New one"


async def test_a_visit_that_becomes_critical_sounds_again(home: Home) -> None:
    await home.use(_NOTIFY, cameras=[home.front], notifiers=[_TABLET])
    shown = []
    for text, priority in [("A.", "high"), ("B.", "critical"), ("C.", "critical"), ("D.", "low")]:
        home.service.caption("front_door", text, priority=priority)
        shown += await home.messages(text)
    assert len(set(_tags(shown))) == 1
    assert _sounds(shown) == [True, True, False, False]
    loud = shown[1]["data"]
    assert loud["push"]["sound"] == {"name": "default", "critical": 1, "volume": 1.0}
    assert loud["push"]["interruption-level"] == "critical"
    assert loud["channel"] == "alarm_stream"
    assert [each["data"]["channel"] for each in shown].count("alarm_stream") == 1


async def test_every_update_sounds_if_wanted(home: Home) -> None:
    await home.use(
        _NOTIFY, cameras=[home.front], notifiers=[_TABLET], sound_once=False, critical_sound=False
    )
    home.service.caption("front_door", "A.", priority="critical")
    shown = await home.messages("A.")
    home.service.caption("front_door", "B.")
    shown += await home.messages("B.")
    assert _sounds(shown) == [True, True]
    assert {each["data"]["push"]["sound"] for each in shown} == {"default"}


@pytest.mark.parametrize("hours", [(-1, 1), (-1, -2)], ids=["in_a_day", "over_midnight"])
async def test_in_quiet_hours_only_critical_captions_come(
    home: Home, hours: tuple[int, int]
) -> None:
    begin, end = (
        (datetime.now(UTC) + timedelta(hours=each)).strftime("%H:%M:%S") for each in hours
    )
    wanted = {"cameras": [home.front], "notifiers": [_TABLET], "quiet_from": begin, "quiet_to": end}
    await home.use(_NOTIFY, **wanted)
    home.service.caption("front_door", "A man.", priority="high")
    home.service.caption("front_door", "A burglar.", priority="critical")
    await home.messages("A burglar.")
    await home.use(_NOTIFY, **wanted, quiet_critical=False)
    home.service.caption("front_door", "Another.", priority="critical")
    await home.use(_NOTIFY, **{**wanted, "quiet_from": end, "quiet_to": begin})
    home.service.caption("front_door", "A man.", priority="low")
    await home.messages("A man.")


async def test_visits_within_the_cooldown_are_left_out(home: Home) -> None:
    await home.use(_NOTIFY, cameras=[home.front], notifiers=[_TABLET], visit_gap=0, cooldown=4)
    home.service.caption("front_door", "A man.")
    shown = await home.messages("A man.")
    await asyncio.sleep(1)
    home.service.caption("front_door", "A postman.")
    home.service.caption("garden", "Not asked for.")
    await asyncio.sleep(1)
    home.service.caption("front_door", "A burglar.", priority="critical")
    shown += await home.messages("A burglar.")
    await asyncio.sleep(4.5)
    home.service.caption("front_door", "A neighbour.")
    shown += await home.messages("A neighbour.")
    assert len(set(_tags(shown))) == 3


@pytest.mark.parametrize(
    "text",
    ["[1, 2]", "{'a': 1}", "None", "5", "{{ 1 / 0 }}", "\"Halt!\" 'sagt' er: größer als 5 \\ {%"],
)
async def test_a_caption_is_sent_as_it_is(home: Home, text: str) -> None:
    await home.use(_NOTIFY, cameras=[home.front], notifiers=[_TABLET])
    home.service.caption("front_door", text)
    await home.messages(text)


async def test_the_question_is_asked_when_motion_ends(home: Home) -> None:
    def describe(request: dict[str, Any]) -> dict[str, Any]:
        reply = Answer(question="Is there a package?", answer="Yes, a box.", confidence=0.9)
        home.service.caption("front_door", "A door.", job_id=request["job_id"], answers=(reply,))
        return {"status": "ok", "data": {"job_id": request["job_id"], "status": "queued"}}

    home.service.describe = describe
    name = await home.use(
        _ASK,
        motion=[home.motion_sensor],
        caption=home.caption,
        notifiers=[_TABLET],
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
        _ASK,
        motion=[home.motion_sensor],
        caption=home.caption,
        notifiers=[_TABLET],
        ended_for=0,
        silent_answers=["No"],
    )
    for _ in range(2):
        await home.motion("ON")
        await home.motion("OFF")
        await home.core.until(f"(state_attr({home.caption!r}, 'job_id') or '').startswith('ask_')")
    await home.messages("5")


@pytest.mark.parametrize("blueprint", [_ASK, _ACT], ids=["ask", "act"])
async def test_a_refused_question_is_said_in_home_assistant(home: Home, blueprint: Path) -> None:
    error = {"code": "wrong_state", "message": "front_door has no snapshot_url"}
    home.service.describe = lambda request: {"status": "error", "error": error}
    await home.core.register("persistent_notification.create")
    inputs: dict[str, Any] = {
        "motion": [home.motion_sensor],
        "notifiers": [_TABLET],
        "ended_for": 0,
    }
    if blueprint == _ACT:
        inputs = {
            "start": [{"trigger": "state", "entity_id": home.motion_sensor, "to": "off"}],
            "when_yes": [{"action": _DONE}],
            "timeout": 5,
            "when_unsure": [{"action": _DONE, "data": {"is": "unsure"}}],
        }
    name = await home.use_to_ask(blueprint, caption=home.caption, **inputs)
    await home.motion("ON")
    await home.motion("OFF")
    calls = await home.calls(2 if blueprint == _ACT else 1)
    assert calls[0]["data"]["notification_id"] == name
    assert calls[0]["data"]["message"].endswith("front_door has no snapshot_url")
    assert [call["data"] for call in calls[1:]] == [{"is": "unsure"}] * (blueprint == _ACT)


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
        return [{"action": _DONE, "data": {"is": f"{word} {{{{ confidence }}}}"}}]

    home.service.describe = describe
    await home.use(
        _ACT,
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


async def test_the_log_has_no_complaint(home: Home) -> None:
    await home.core.take_log()
    assert home.core.complaints == []


@pytest_asyncio.fixture(loop_scope="session")
async def with_service(house: House, version: Version) -> House:
    """Everything real: the service with the demonstration model tells of its frames."""
    _skip_old(version)
    await house.core.register(_TABLET)
    await house.core.register(_DONE)
    return house


async def test_frames_of_a_story_are_one_notification(with_service: House) -> None:
    core = with_service.core
    camera = (await with_service.entity("captioned")).entity_id
    image = (await with_service.entity("image")).entity_id
    await core.automate_blueprint(_NOTIFY, {"cameras": [camera], "notifiers": [_TABLET]})
    captions = [(await with_service.caption())["result"]["caption"] for _ in range(4)]
    calls: list[dict[str, Any]] = []
    async with asyncio.timeout(_PATIENCE_S):
        while not calls or calls[-1]["data"]["message"] != captions[-1]:
            calls += await core.calls()
            await asyncio.sleep(0.05)
    await core.automate([])
    shown = [call["data"] for call in calls]
    assert len(set(_tags(shown))) == 1
    assert sum(_sounds(shown)) == 1
    assert {each["data"]["image"] for each in shown} == {f"/api/image_proxy/{image}"}


async def test_the_service_answers_yes_or_no(with_service: House) -> None:
    core = with_service.core
    caption = (await with_service.entity("caption")).entity_id
    await core.automate_blueprint(
        _ACT,
        {
            "start": [{"trigger": "event", "event_type": "never"}],
            "caption": caption,
            "question": "Is there a package?",
            "confidence": 0.5,
            "when_yes": [{"action": _DONE, "data": {"is": "{{ answer }} {{ confidence }}"}}],
            "when_no": [{"action": _DONE, "data": {"is": "{{ answer }} {{ confidence }}"}}],
        },
    )
    await core.call("automation.trigger", "automation.act_when_yes", skip_condition=True)
    calls: list[dict[str, Any]] = []
    async with asyncio.timeout(_PATIENCE_S):
        while not calls:
            calls = await core.calls()
            await asyncio.sleep(0.05)
    await core.automate([])
    answer, confidence = calls[0]["data"]["is"].split()
    assert answer in {"Yes", "No"}
    assert 0.5 <= float(confidence) <= 1
