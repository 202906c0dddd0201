"""Cameras and their settings at run time, asked of a whole service with a real broker."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from schemas.camera import CameraSettings
from service.app import serve
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.support.checker import until
from tests.support.conversation import Heard, json_frame
from tests.support.factories import make_image
from tests.support.harness import Service
from tests.support.quick_service import WITHOUT_MODEL

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/cameras"
HEADER = "Bearer 0123456789"
FILE = {
    "door": {
        "location": "Front Door",
        "cooldown": 5,
        "webhook_url": "http://10.0.0.1/hook?key=secret",
        "webhook_headers": {"Authorization": HEADER},
    }
}


class Setting(Asking):
    """Sets plain values too."""

    async def set(self, camera_id: str, setting: str, value: str | bytes) -> None:
        await self._client.publish(f"{self.base}/{camera_id}/set/{setting}", value, qos=1)

    async def settings(self, camera_id: str, **fields: Any) -> dict[str, Any]:
        """What is published of a camera as soon as it says this."""
        found: dict[str, Any] = (await self.wait_for(f"{camera_id}/settings", **fields)).json
        return found

    async def end_of(self, camera_id: str, seed: int, **fields: Any) -> Heard:
        """Send a frame that is dropped, and return its end."""
        await self.send(camera_id, json_frame(make_image(seed), job_id=f"f-{seed}", **fields))
        return await self.wait_for(f"{camera_id}/status", job_id=f"f-{seed}", status="dropped")


@asynccontextmanager
async def service(
    broker: EmbeddedBroker, base: str, folder: Path, **content: Any
) -> AsyncIterator[Setting]:
    """A service without a model, with `door` in its file."""
    settings = Settings(
        mqtt={"port": broker.port, "base_topic": base},
        data_dir=folder,
        stats_interval=0.3,
        webhooks={"allow_hosts": ["hooks.example"]},
        fetch={"allow_hosts": ["nvr.example"]},
        **{"cameras": FILE, **content},
    )
    stop = asyncio.Event()
    async with Setting(broker.port, base) as talk, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop=stop, parts=WITHOUT_MODEL))
        await talk.until_online()
        await talk.wait_for("bridge/info")
        yield talk
        stop.set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Setting]:
    async with service(mosquitto, BASE, tmp_path_factory.mktemp("cameras")) as found:
        yield found


async def test_change_counts_for_the_next_frame_and_is_published(talk: Setting) -> None:
    camera = await talk.data("camera/set", {"camera_id": "yard", "enabled": False, "cooldown": 7})
    assert camera["settings"]["cooldown"] == 7
    assert (camera["configured"], camera["changed"]) == (False, ["cooldown", "enabled"])
    assert (await talk.end_of("yard", 1)).json["error"]["code"] == "camera_disabled"
    await talk.settings("yard", enabled=False, cooldown=7.0)
    camera = await talk.data("camera/set", {"camera_id": "yard", "enabled": None})
    assert camera["settings"]["enabled"] is True
    await talk.send("yard", json_frame(make_image(2), job_id="on"))
    await talk.wait_for("yard/status", job_id="on", status="queued")
    assert (await talk.end_of("yard", 3)).json["error"]["code"] == "cooldown"


async def test_get_says_where_each_setting_comes_from_and_no_secret(talk: Setting) -> None:
    await talk.data("camera/set", {"camera_id": "door", "length": "long"})
    answer = await talk.ask("camera/get", b"door")
    assert "secret" not in json.dumps(answer)
    assert HEADER not in json.dumps(answer)
    camera = answer["data"]
    assert (camera["location"], camera["configured"]) == ("Front Door", True)
    assert camera["last_seen_at"] is None
    assert (
        camera["origins"].keys() == camera["settings"].keys() == CameraSettings.model_fields.keys()
    )
    of = camera["origins"]
    assert (of["length"], of["cooldown"], of["prompt"]) == ("changed", "file", "default")
    camera = await talk.data("camera/reset", {"camera_id": "door", "setting": "length"})
    assert (camera["settings"]["length"], camera["changed"]) == ("normal", [])


async def test_list_counts_what_became_of_frames(talk: Setting) -> None:
    await talk.data("camera/set", {"camera_id": "gate", "min_intensity": 0.5})
    await talk.end_of("gate", 11, motion_intensity=0.1)
    await talk.send("gate", json_frame(make_image(12), job_id="first"))
    await talk.send("gate", json_frame(make_image(12), job_id="again"))
    await talk.wait_for("gate/status", job_id="again", status="duplicate")
    await talk.send("gate", b"no image at all")
    await talk.wait_for("gate/status", status="rejected")
    page = await talk.data("camera/list")
    assert page["count"] == len(page["items"]) >= 2
    [gate] = [each for each in page["items"] if each["camera_id"] == "gate"]
    assert (gate["frames"], gate["captions"], gate["newest_caption_age"]) == (4, 0, None)
    assert (gate["dropped"], gate["duplicates"]) == ({"low_intensity": 1}, {"content": 1})
    assert sum(gate["rejected"].values()) == 1
    assert 0 <= gate["last_seen_age"] < 60
    page = await talk.data("camera/list", {"limit": 1, "offset": page["count"] - 1})
    assert len(page["items"]) == 1
    assert page["pagination"]["has_more"] is False


async def test_forgotten_camera_is_cleared_and_its_jobs_stay(
    mosquitto: EmbeddedBroker, talk: Setting
) -> None:
    await talk.data("camera/set", {"camera_id": "shed", "cooldown": 3})
    await talk.send("shed", json_frame(make_image(21), job_id="kept"))
    await talk.wait_for("shed/status", job_id="kept", status="queued")
    assert await talk.data("camera/forget", b"shed") == {"camera_id": "shed"}
    assert await talk.code("camera/get", b"shed") == "not_found"
    assert (await talk.data("job/get", b"kept"))["status"] == "queued"
    await until(lambda: not talk.said("shed/settings")[-1].payload)
    async with Asking(mosquitto.port, BASE) as latecomer:
        await latecomer.data("health")  # comes behind all that is retained
        assert latecomer.said("door/settings")
        assert not latecomer.said("shed/settings")
    await talk.send("shed", json_frame(make_image(22), job_id="new"))
    await talk.wait_for("shed/status", job_id="new", status="queued")
    camera = await talk.data("camera/get", b"shed")
    assert (camera["frames"], camera["settings"]["cooldown"]) == (1, 0)
    assert await talk.code("camera/forget", b"door") == "wrong_state"


@pytest.mark.parametrize(
    ("operation", "request_", "code", "named"),
    [
        ("camera/set", {"camera_id": "door", "cooldown": "soon"}, "bad_request", "cooldown"),
        ("camera/set", {"camera_id": "door", "cooldown": {"a": 1}}, "bad_request", "cooldown"),
        ("camera/set", {"camera_id": "door", "tasks": [["caption"]]}, "bad_request", "tasks.0"),
        ("camera/set", {"camera_id": "door", "tasks": []}, "bad_request", "tasks"),
        ("camera/set", {"camera_id": "door", "length": "huge"}, "bad_request", "length"),
        ("camera/set", {"camera_id": "door", "prompt": 5}, "bad_request", "prompt"),
        ("camera/set", {"camera_id": "door", "prompt": "x" * 3000}, "bad_request", "prompt"),
        ("camera/set", {"camera_id": "door", "prompt": "\ud800"}, "bad_request", "prompt"),
        ("camera/set", {"camera_id": "door", "colour": None}, "bad_request", "colour"),
        ("camera/set", {"camera_id": "a/b", "cooldown": 1}, "bad_request", "camera_id"),
        ("camera/set", {"camera_id": "bridge", "cooldown": 1}, "bad_request", "camera_id"),
        ("camera/set", {"camera_id": ["door"], "cooldown": 1}, "bad_request", "camera_id"),
        ("camera/set", {"cooldown": 1}, "bad_request", "camera_id"),
        ("camera/set", b"door", "bad_request", "cooldown"),
        ("camera/set", {"camera_id": "ghost", "cooldown": None}, "not_found", "ghost"),
        ("camera/set", {"camera_id": "door", "webhook_url": "ftp://x"}, "bad_request", "http"),
        (
            "camera/set",
            {"camera_id": "door", "webhook_url": "http://elsewhere.example/"},
            "bad_request",
            "webhooks.allow_hosts",
        ),
        (
            "camera/set",
            {"camera_id": "door", "webhook_url": "http://hooks.example/**********"},
            "bad_request",
            "masked",
        ),
        (
            "camera/set",
            {"camera_id": "door", "webhook_headers": {"Authorization": "**********"}},
            "bad_request",
            "masked",
        ),
        (
            "camera/set",
            {"camera_id": "door", "snapshot_url": "http://10.0.0.9/snap.jpg"},
            "bad_request",
            "snapshot_url: http://10.0.0.9 is not in fetch.allow_hosts",
        ),
        (
            "camera/set",
            {"camera_id": "door", "snapshot_url": "http://nvr.example/**********"},
            "bad_request",
            "snapshot_url: is masked",
        ),
        ("camera/set", {"camera_id": "door", "snapshot_url": "rtsp://x/"}, "bad_request", "http"),
        ("camera/get", b"ghost", "not_found", "ghost"),
        ("camera/reset", b"ghost", "not_found", "ghost"),
        ("camera/reset", {"camera_id": "door", "setting": "colour"}, "bad_request", "setting"),
        ("camera/forget", {}, "bad_request", "camera_id"),
        ("camera/list", {"limit": 0}, "bad_request", "limit"),
    ],
)
async def test_bad_request_names_what_is_wrong_and_changes_nothing(
    talk: Setting, operation: str, request_: Any, code: str, named: str
) -> None:
    before = (await talk.data("camera/get", b"door"))["settings"]
    answer = await talk.ask(operation, request_)
    assert (answer["status"], answer["error"]["code"]) == ("error", code), answer
    assert named in answer["error"]["message"]
    assert (await talk.data("camera/get", b"door"))["settings"] == before
    assert await talk.code("camera/get", b"ghost") == "not_found"


@pytest.mark.parametrize(
    ("setting", "value", "expected"),
    [
        ("enabled", "OFF", False),
        ("cooldown", "12", 12.0),
        ("cooldown", "1.5", 1.5),
        ("prompt", "Who is there?", "Who is there?"),
        ("prompt", "[in a word] Who?", "[in a word] Who?"),
        ("location", '"12"', "12"),
        ("location", "Straße 12", "Straße 12"),
        ("length", "short", "short"),
        ("tasks", '["caption", {"detect": "cat"}]', ["caption", {"detect": "cat"}]),
        ("publish_image", "true", True),
        ("min_priority", "high", "high"),
        ("webhook_url", "http://hooks.example/a", "http://hooks.example/**********"),
        ("snapshot_url", "http://nvr.example/a?b=c", "http://nvr.example/**********"),
    ],
)
async def test_plain_value_sets_one_setting_until_nothing_is_sent(
    talk: Setting, setting: str, value: str, expected: Any
) -> None:
    camera_id = f"plain-{setting}"
    before = len(talk.said(f"{camera_id}/settings"))
    await talk.set(camera_id, setting, value)
    published = (await talk.wait_for_many(before + 2 - bool(before), f"{camera_id}/settings"))[-1]
    assert published.json[setting] == expected
    before = len(talk.said(f"{camera_id}/settings"))
    await talk.set(camera_id, setting, "")
    published = (await talk.wait_for_many(before + 1, f"{camera_id}/settings"))[-1]
    assert published.json == CameraSettings().model_dump(mode="json")


@pytest.mark.parametrize(
    ("camera_id", "setting", "value"),
    [
        ("refused", "cooldown", "soon"),
        ("refused", "enabled", "maybe"),
        ("refused", "tasks", "[caption"),
        ("refused", "tasks", "[" * 100 + "]" * 100),
        ("refused", "prompt", b"\xff\xfe"),
        ("refused", "min_priority", "2"),
        ("refused", "prompt", "x" * 100_000),
        ("refused", "colour", "red"),
        ("refused", "camera_id", "door"),
        ("refused", "x" * 200, "1"),
        ("refused", "webhook_url", "http://elsewhere.example/"),
        ("refused", "snapshot_url", "http://elsewhere.example/"),
        ("re fused", "cooldown", "1"),
        ("bridge", "cooldown", "1"),
        ("x" * 100, "cooldown", "1"),
    ],
)
async def test_refused_value_goes_to_the_log_and_changes_nothing(
    talk: Setting, camera_id: str, setting: str, value: str | bytes
) -> None:
    before = len(refusals(talk))
    await talk.set(camera_id, setting, value)
    await until(lambda: len(refusals(talk)) > before)
    assert setting[:60] in refusals(talk)[-1]
    assert await talk.code("camera/get", b"refused") == "not_found"
    assert (await talk.data("camera/get", b"door"))["changed"] == []


def refusals(talk: Setting) -> list[str]:
    """The warnings about refused values."""
    logged = [each.json for each in talk.said("bridge/log")]
    return [each["message"] for each in logged if each["code"] == "setting_refused"]


async def test_retained_value_is_not_set_again_at_a_start(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = f"{BASE}/retained"
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        await client.publish(f"{base}/door/set/cooldown", b"99", qos=1, retain=True)
        async with service(mosquitto, base, tmp_path) as talk:
            await talk.set("door", "length", "short")
            await talk.settings("door", length="short")
            assert (await talk.data("camera/get", b"door"))["changed"] == ["length"]
        await client.publish(f"{base}/door/set/cooldown", b"", qos=1, retain=True)


async def test_camera_too_many_is_an_error(mosquitto: EmbeddedBroker, tmp_path: Path) -> None:
    async with service(mosquitto, f"{BASE}/many", tmp_path, max_cameras=1) as talk:
        assert await talk.code("camera/set", {"camera_id": "new", "cooldown": 1}) == (
            "too_many_cameras"
        )


@pytest.mark.timeout(120)
async def test_answered_change_survives_kill_9(mosquitto: EmbeddedBroker, tmp_path: Path) -> None:
    base = "home-killed"
    file: dict[str, Any] = {"cameras": {"door": {"cooldown": 5}}}
    async with (
        Service(tmp_path / "service", mosquitto.port, base, file) as killed,
        Asking(mosquitto.port, base) as talk,
    ):
        await killed.start()
        await talk.send("door", make_image(31))
        await talk.wait_for("door/caption")
        camera = await talk.data("camera/get", b"door")
        assert (camera["frames"], camera["captions"]) == (1, 1)
        assert 0 <= camera["newest_caption_age"] < 60
        change = {"camera_id": "door", "cooldown": 9, "enabled": False}
        assert (await talk.data("camera/set", change))["settings"]["cooldown"] == 9
        await killed.kill()
        killed.settings["cameras"] = {"door": {"cooldown": 1, "length": "long"}}
        await killed.start()
        camera = await talk.data("camera/get", b"door")
        assert camera["changed"] == ["cooldown", "enabled"]
        assert (camera["settings"]["cooldown"], camera["settings"]["length"]) == (9, "long")
        assert (camera["frames"], camera["newest_caption_age"]) == (0, None)
        assert 0 <= camera["last_seen_age"] < 120  # of the frame before the restart
        camera = await talk.data("camera/reset", b"door")
        assert (camera["settings"]["cooldown"], camera["settings"]["enabled"]) == (1, True)
