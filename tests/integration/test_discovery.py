"""Discovery as Home Assistant would see it: a whole service without a model, a real Mosquitto."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest

from broker.embedded import BrokerProgram, EmbeddedBroker
from service.app import serve
from service.homeassistant.plan import MIGRATE
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.support.checker import until
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.harness import Service
from tests.support.http_receivers import Receiver, answers
from tests.support.quick_service import WITHOUT_MODEL

CAMERAS = {"front": {"location": "Front Door"}, "back": {}}


class Watching(Asking):
    """Sees what is said to Home Assistant, which these tests keep below the base topic."""

    def __init__(self, port: int, base: str) -> None:
        super().__init__(port, base)
        self._port = port

    def heard_on(self, part: str) -> list[bytes]:
        """What was said while we listened."""
        return [
            each.payload
            for each in self.heard
            if f"/ha/{part}" in each.topic and not each.retain and "/status" not in each.topic
        ]

    async def discovered(self) -> dict[str, bytes]:
        """What a subscriber finds who comes now, by what follows the prefix."""
        async with Asking(self._port, self.base) as latecomer:
            await latecomer.data("health")  # comes behind all that is retained
            prefix = f"{self.base}/ha/"
            return {
                each.topic.removeprefix(prefix): each.payload
                for each in latecomer.heard
                if each.retain and each.topic.startswith(prefix)
            }

    async def until_discovered(self, *names: str) -> dict[str, bytes]:
        """Wait until there are these devices and nothing else."""
        async with asyncio.timeout(40):
            while True:
                found = await self.discovered()
                if {_device(topic) for topic in found} == set(names):
                    return found
                await asyncio.sleep(0.1)


def _device(topic: str) -> str:
    """The name of a device: that of the camera, or `bridge`."""
    levels = topic.split("/")
    return (levels[1] if levels[0] == "device" else levels[-3]).rpartition("_")[2]


def settings_for(port: int, base: str, folder: Path, **content: Any) -> Settings:
    discovery = {"discovery_prefix": f"{base}/ha", **content.pop("homeassistant", {})}
    return Settings(
        mqtt={"port": port, "base_topic": base},
        data_dir=folder / "data",
        homeassistant=discovery,
        **{"cameras": CAMERAS, **content},
    )


@asynccontextmanager
async def service(port: int, base: str, folder: Path, **content: Any) -> AsyncIterator[Watching]:
    """A service that listens, and who watches it."""
    stop = asyncio.Event()
    async with Watching(port, base) as talk, asyncio.TaskGroup() as tasks:
        tasks.create_task(
            serve(settings_for(port, base, folder, **content), stop=stop, parts=WITHOUT_MODEL)
        )
        await talk.wait_for("bridge/info")
        await talk.until_it_listens()
        yield talk
        stop.set()


async def test_devices_follow_the_cameras_and_nothing_is_left_of_those_that_go(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with service(mosquitto.port, topic_base, tmp_path) as talk:
        found = await talk.until_discovered("bridge", "front", "back")
        bridge, front = (json.loads(found[each]) for each in sorted(found)[1:])
        assert front["dev"]["name"] == "Front Door"
        assert front["dev"]["via_device"] == bridge["dev"]["ids"][0]
        assert "image" not in front["cmps"]
        await talk.data("camera/set", {"camera_id": "front", "publish_image": True})
        await until(lambda: b'"img_t"' in talk.heard_on("device")[-1])
        await talk.data("camera/set", {"camera_id": "shed", "cooldown": 1})
        await talk.until_discovered("bridge", "front", "back", "shed")
        await talk.data("camera/forget", b"shed")
        await talk.until_discovered("bridge", "front", "back")
    del (without := dict(CAMERAS))["back"]
    async with service(mosquitto.port, topic_base, tmp_path, cameras=without) as talk:
        await talk.until_discovered("bridge", "front")


async def test_cameras_forgotten_for_others_leave_nothing(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    few: dict[str, Any] = {"max_cameras": 3, "cameras": {}}
    async with service(mosquitto.port, topic_base, tmp_path, **few) as talk:
        for name in ("a", "b", "c"):
            await talk.send(name, json_frame(make_image(1), max_age=0.1))
            await talk.wait_for(f"{name}/status", status="expired")
        await talk.until_discovered("bridge", "a", "b", "c")
    with closing(sqlite3.connect(tmp_path / "data" / "jobs.sqlite3")) as database, database:
        database.execute("UPDATE cameras SET seen = seen - 2 * 86400000000")  # two days ago
    async with service(mosquitto.port, topic_base, tmp_path, **few) as talk:
        for name in ("d", "e", "f"):
            await talk.send(name, json_frame(make_image(2)))
        await talk.until_discovered("bridge", "d", "e", "f")


async def test_form_language_and_switch_change_without_a_trace(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    forms: list[dict[str, Any]] = [
        {"discovery": "components"},
        {"discovery": "device", "language": "de"},
        {"discovery": "components", "language": "de"},
    ]
    ids = []
    for form in forms:
        async with service(mosquitto.port, topic_base, tmp_path, homeassistant=form) as talk:
            found = await talk.until_discovered("bridge", "front", "back")
            is_device = form["discovery"] == "device"
            async with asyncio.timeout(40):
                while {topic.startswith("device/") for topic in found} != {is_device}:
                    found = await talk.discovered()
            ids.append(unique_ids(found))
            assert MIGRATE not in found.values()
            if form is not forms[0]:
                assert MIGRATE in talk.heard_on("")
    assert ids[0] == ids[1] == ids[2]
    async with service(
        mosquitto.port, topic_base, tmp_path, homeassistant={"enabled": False}
    ) as talk:
        await talk.until_discovered()
        assert all(payload == b"" for payload in talk.heard_on("sensor"))


def unique_ids(found: dict[str, bytes]) -> set[str]:
    ids = set()
    for payload in found.values():
        content = json.loads(payload)
        ids |= {each["uniq_id"] for each in content.get("cmps", {"": content}).values()}
    return ids


async def test_birth_messages_bring_it_again_once_however_many_there_are(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with service(mosquitto.port, topic_base, tmp_path) as talk:
        await talk.until_discovered("bridge", "front", "back")
        await asyncio.sleep(4)  # what follows each connect has come by then
        before = len(talk.heard_on("device"))
        for payload in (b"offline", b"", b"\xff", b"x" * 100_000, b"{}"):
            await talk._client.publish(f"{topic_base}/ha/status", payload, qos=1)
        for _ in range(1000):
            await talk._client.publish(f"{topic_base}/ha/status", b"online", qos=0)
        await talk.data("health")
        await until(lambda: len(talk.heard_on("device")) == before + 3)
        await asyncio.sleep(1)
        assert len(talk.heard_on("device")) == before + 3


async def test_broker_that_has_forgotten_everything_is_told_again(
    own_mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    port, stop = own_mosquitto.port, asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(
            serve(settings_for(port, topic_base, tmp_path), stop=stop, parts=WITHOUT_MODEL)
        )
        async with Watching(port, topic_base) as talk:
            await talk.until_it_listens()
            found = await talk.until_discovered("bridge", "front", "back")
        await own_mosquitto.stop(kill=True)  # it has not saved anything yet
        await own_mosquitto.start()
        async with Watching(port, topic_base) as talk:
            await talk.until_it_listens()
            assert await talk.until_discovered("bridge", "front", "back") == found
        stop.set()


@pytest.mark.timeout(120)
async def test_broker_that_refuses_it_is_named_and_everything_else_goes_on(
    mosquitto_program: BrokerProgram,
    topic_base: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    acl = tmp_path / "acl"
    acl.write_text(f"topic readwrite {topic_base}/#\ntopic read $SYS/#\n")
    acl.chmod(0o600)
    lines = (f"acl_file {acl}",)
    async with EmbeddedBroker(
        tmp_path / "broker", program=mosquitto_program, extra_lines=lines
    ) as broker:
        away = {"discovery_prefix": "homeassistant"}
        cameras: dict[str, Any] = {f"camera-{number}": {} for number in range(100)}
        async with service(
            broker.port, topic_base, tmp_path, homeassistant=away, cameras=cameras
        ) as talk:
            await until(lambda: "homeassistant.enabled" in caplog.text)
            await talk.send("front", make_image(1))
            await talk.wait_for("front/status", status="queued")
            stats = await talk.data("queue/stats")
            assert stats["connection"]["reconnects"] <= 4
            letter = await talk.wait_for("bridge/dead_letter")
            assert letter.json["topic"].endswith("_bridge/config")
            assert len(talk.said("bridge/dead_letter")) == 1
            assert sum("enabled" in each.getMessage() for each in caplog.records) == 1


@pytest.mark.timeout(180)
async def test_killed_while_it_changes_form_it_leaves_the_wanted_one(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    settings: dict[str, Any] = {
        "cameras": {f"camera{number}": {} for number in range(12)},
        "homeassistant": {"enabled": True, "discovery_prefix": f"{topic_base}/ha"},
    }
    names = ["bridge", *settings["cameras"]]
    path = tmp_path / "service"
    async with (
        Service(path, mosquitto.port, topic_base, settings) as killed,
        Watching(mosquitto.port, topic_base) as talk,
    ):
        await killed.start()
        await talk.until_discovered(*names)
        await killed.kill()
        for form in ("components", "device"):
            killed.settings["homeassistant"]["discovery"] = form
            for num_heard in (1, 60, 130):
                before = len(talk.heard_on(""))
                await killed.start(is_awaited=False)
                wanted = before + num_heard
                await until(lambda: len(talk.heard_on("")) >= wanted)  # noqa: B023 - at once
                await killed.kill()
            await killed.start()
            async with asyncio.timeout(40):
                while not _is_in_form(found := await talk.until_discovered(*names), form):  # noqa: ASYNC110 - polls a real part
                    await asyncio.sleep(0.2)
            with closing(sqlite3.connect(path / "data" / "jobs.sqlite3")) as database:
                kept = dict(database.execute("SELECT topic, payload FROM discovery").fetchall())
            assert kept == {f"{topic_base}/ha/{topic}": found[topic] for topic in found}
            await killed.kill()


def _is_in_form(found: dict[str, bytes], form: str) -> bool:
    return {topic.startswith("device/") for topic in found} == {form == "device"}


async def test_news_of_a_release_is_published_where_it_is_wanted(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    release = {"tag_name": "v9.1.0", "html_url": "https://example.org/releases/v9.1.0"}
    async with Receiver(answers(200, body=json.dumps(release).encode())) as server:
        wanted = {"check_updates": True, "updates_url": server.url}
        async with service(mosquitto.port, topic_base, tmp_path, homeassistant=wanted) as talk:
            said = (await talk.wait_for("bridge/update")).json
            assert (said["latest_version"], said["release_url"]) == ("9.1.0", release["html_url"])
            found = await talk.until_discovered("bridge", "front", "back")
            assert b"/bridge/update" in b"".join(found.values())
        assert len(server.requests) == 1
        async with service(mosquitto.port, topic_base, tmp_path) as talk:
            await talk.until_discovered("bridge", "front", "back")
        assert len(server.requests) == 1
