"""A Home Assistant with cameras, a motion sensor and a phone, to try blueprints in."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import BrokerProgram, EmbeddedBroker
from tests.homeassistant.core import Core
from tests.homeassistant.environments import ROOT, Version
from tests.homeassistant.stand_in import StandIn
from tests.support.checker import until

_FOLDER = ROOT / "homeassistant" / "blueprints" / "automation" / "moondream2mqtt"
NOTIFY = _FOLDER / "notify_caption.yaml"
ASK = _FOLDER / "ask_when_motion_ends.yaml"
ACT = _FOLDER / "act_when_yes.yaml"
#: The blueprints name 2025.4: from there on variables outlive a round of a loop.
_OLDEST = (2025, 4)
PATIENCE_S = 20.0

PHONE = "notify.mobile_app_anna_s_phone"  #: as the app names it after its device
TABLET = "notify.tablet"
DONE = "test.done"


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
        async with asyncio.timeout(PATIENCE_S):
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
        async with asyncio.timeout(PATIENCE_S):
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

    async def has_not_complained(self) -> None:
        """Its integrations have logged no warning and no error since this was asked last."""
        await self.core.take_log()
        complaints, self.core.complaints = self.core.complaints, []
        assert complaints == []

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
        await until(lambda: bool(self.service.asked), PATIENCE_S)
        [asked] = self.service.asked
        return asked


def tags(messages: list[dict[str, Any]]) -> list[str]:
    """By which a phone tells notifications apart."""
    return [each["data"]["tag"] for each in messages]


def sounds(messages: list[dict[str, Any]]) -> list[bool]:
    """What is heard, on iOS by what is sent and on Android by what has been shown already."""
    heard, shown = [], set()
    for each in messages:
        is_heard = each["data"]["push"]["sound"] != "none"
        assert is_heard == (each["data"]["tag"] not in shown or not each["data"]["alert_once"])
        shown.add(each["data"]["tag"])
        heard.append(is_heard)
    return heard


def skip_old(version: Version) -> None:
    """Leave a test out where blueprints cannot run."""
    if tuple(int(part) for part in version.number.split(".")[:2]) < _OLDEST:
        pytest.skip(f"the blueprints need Home Assistant 2025.4, this is {version.number}")


@asynccontextmanager
async def a_home(folder: Path, program: BrokerProgram, version: Version) -> AsyncIterator[Home]:
    """Everything but the service, whose place a stand-in takes."""
    async with EmbeddedBroker(folder / "mosquitto", program=program) as broker:
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
                for action in (PHONE, TABLET, DONE):
                    await core.register(action)
                made = Home(core, service)
                await made.learn(
                    "front_door_captioned", "front_door_image", "garden_captioned", "motion"
                )
                yield made
