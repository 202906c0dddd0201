"""`doctor --running`: what the service has left on the broker, and what follows from it."""

import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiomqtt
import pytest

from broker.embedded import EmbeddedBroker
from broker.topics import Topics
from schemas.status import BridgeInfo, Health, HealthCheck, ModelState, ModelStatus
from service.commands.checks.finding import Finding
from service.commands.checks.running import check_running
from service.settings import Settings
from tests.support.quick_service import serving


class Bridge:
    """Says what a service would have said, retained."""

    def __init__(self, client: aiomqtt.Client, port: int, base: str) -> None:
        self._client = client
        self._topics = Topics(base)
        self._settings = Settings.model_validate({"mqtt": {"port": port, "base_topic": base}})

    async def say(self, name: str, payload: str) -> None:
        topic = f"{self._topics.base}/bridge/{name}"
        await self._client.publish(topic, payload, qos=1, retain=True)

    async def say_model(self, state: ModelState, message: str | None, num_slots: int = 0) -> None:
        info = BridgeInfo(
            version="1",
            instance="i",
            mqtt_version="5",
            model=ModelStatus(
                name="m", revision="r", device="cpu", dtype="auto", state=state, message=message
            ),
            limits={"max_concurrent_jobs": num_slots},
            settings={},
        )
        await self.say("info", info.model_dump_json())

    async def found(self) -> list[Finding]:
        return await check_running(self._settings)


@pytest.fixture
async def bridge(mosquitto: EmbeddedBroker, topic_base: str) -> AsyncIterator[Bridge]:
    async with aiomqtt.Client(mosquitto.host, mosquitto.port) as client:
        yield Bridge(client, mosquitto.port, topic_base)


async def test_model_that_has_failed_on_every_engine_fails_with_its_reason(bridge: Bridge) -> None:
    await bridge.say("state", "online")
    await bridge.say_model("failed", "no CUDA device 0 here; is its driver loaded?")
    assert await bridge.found() == [
        Finding("service", "ok", "online"),
        Finding("model", "TODO", "failed: no CUDA device 0 here; is its driver loaded?"),
    ]


async def test_engine_that_has_failed_beside_one_that_works_is_a_note(bridge: Bridge) -> None:
    await bridge.say("state", "online")
    await bridge.say_model("failed", "no CUDA device 1 here", num_slots=4)
    assert [each.level for each in await bridge.found()] == ["ok", "note"]


async def test_loading_is_well_and_says_how_far_it_is(bridge: Bridge) -> None:
    await bridge.say("state", "online")
    await bridge.say_model("loading", "downloading 43 %")
    assert Finding("model", "ok", "loading: downloading 43 %") in await bridge.found()


async def test_unhealthy_fails_and_degraded_is_a_note(bridge: Bridge) -> None:
    await bridge.say("state", "online")
    levels = []
    for status in ("degraded", "unhealthy"):
        checks = {"engine": HealthCheck(status=status, message="why")}
        await bridge.say("health", Health(status=status, checks=checks).model_dump_json())
        levels.append((await bridge.found())[-1])
    assert levels == [
        Finding("health", "note", "engine degraded: why"),
        Finding("health", "TODO", "engine unhealthy: why"),
    ]


async def test_stopped_crashed_and_never_started_are_told_apart(bridge: Bridge) -> None:
    texts = [(await bridge.found())[0].text]
    await bridge.say("state", "offline")
    texts.append((await bridge.found())[0].text)
    await bridge.say("stats", '{"system_status": "stopping"}')
    texts.append((await bridge.found())[0].text)
    assert [text.partition(":")[0] for text in texts[1:]] == ["offline", "offline"]
    assert "has never run below mqtt.base_topic test/" in texts[0]
    assert "ended without a word, or lost the broker" in texts[1]
    assert "it was stopped" in texts[2]


async def test_words_of_another_version_are_said_and_no_traceback(bridge: Bridge) -> None:
    for name, payload in (("state", "online"), ("info", "{}"), ("health", "\x00[")):
        await bridge.say(name, payload)
    assert [(each.part, each.level) for each in await bridge.found()] == [
        ("service", "ok"),
        ("model", "TODO"),
        ("health", "TODO"),
    ]


async def test_answer_comes_within_two_seconds(bridge: Bridge) -> None:
    await bridge.say("state", "online")
    began = time.monotonic()
    await bridge.found()
    assert time.monotonic() - began < 2.0


async def test_service_that_was_stopped_has_said_so(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": topic_base}, data_dir=tmp_path, cameras={}
    )
    async with serving(settings, tmp_path):
        running = await check_running(settings)
    assert running[0] == Finding("service", "ok", "online")
    [stopped] = await check_running(settings)
    assert (stopped.level, "it was stopped" in stopped.text) == ("TODO", True)
