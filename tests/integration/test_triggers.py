"""Motion said over a real broker, pictures behind real HTTP, a whole service between."""

import asyncio
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from PIL import ImageFilter

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.support.cameras_over_http import DigestCamera, shows
from tests.support.checker import until
from tests.support.factories import make_image, make_picture
from tests.support.http_receivers import Receiver, answers, in_turn, says_nothing
from tests.support.quick_engine import digest
from tests.support.quick_service import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/triggers"


@dataclass(frozen=True, slots=True)
class Site:
    """A service, and a camera that others tell of motion."""

    talk: Asking
    camera: Receiver
    locked: Receiver  #: another one, that takes no account

    async def say(self, topic: str, payload: str | dict[str, Any]) -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        await self.talk.send("", text.encode(), topic=f"elsewhere/{topic}")

    async def move(self, camera_id: str) -> None:
        """Motion begins and ends."""
        for text in ("ON", "OFF"):
            await self.say(f"{camera_id}/motion", text)

    def asked(self, source: str) -> int:
        """How often the camera was asked for a source's picture."""
        return sum(f"src={source}" in each.target for each in self.camera.requests)

    def health(self) -> list[str]:
        """What `bridge/health` has said of triggers."""
        said = self.talk.said("bridge/health")
        return [each.json["checks"]["triggers"]["message"] for each in said]

    async def ended(self, camera_id: str, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
        wanted = fields or {"status": "completed"}
        heard = await self.talk.wait_for_many(count, f"{camera_id}/status", **wanted)
        return [each.json for each in heard]


def triggers(url: str, locked: str) -> list[dict[str, Any]]:
    plain = f"{url}?password=s3cret&src={{camera}}"
    burst = {"frames": 3, "every": 0.05}
    return [
        {"topic": "elsewhere/{camera}/motion", "url": plain, "cooldown": 0},
        {
            "topic": "elsewhere/vto",
            "when": {"path": "Action", "in": ["Start"]},
            "camera": {"path": "serialNumber", "map": {"4K01": "vto"}},
            "url": plain,
            "motion_intensity": 0.9,
            "auth": {"type": "digest", "username": "me", "password": "s3cret"},
        },
        {"topic": "elsewhere/{camera}/best", "url": plain, "burst": burst},
        {"topic": "elsewhere/{camera}/all", "url": plain, "burst": {**burst, "keep": "all"}},
        {"topic": "elsewhere/{camera}/again", "url": plain, "repeat": 0.1},
        {"every": 1, "camera": "garden", "url": plain},
        {"topic": f"{BASE}/{{camera}}/frame", "url": plain},  # our own, so never motion
        {"topic": "elsewhere/{camera}/storm", "url": plain, "cooldown": 0, "timeout": 0.5},
        {"topic": "elsewhere/fixed", "camera": "fixed", "url": locked, "cooldown": 0},
    ]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("triggers")
    (folder / "scratch").mkdir()
    async with (
        Receiver(shows(make_image())) as camera,
        Receiver(answers(401)) as locked,
        Asking(mosquitto.port, BASE) as talk,
    ):
        settings = Settings(
            mqtt={"port": mosquitto.port, "base_topic": BASE},
            data_dir=folder / "data",
            dedupe={"window": 0, "similarity": 0},
            cameras={"off": {"enabled": False}, "fixed": {}},
            triggers=triggers(camera.url, locked.url),
            stats_interval=0.2,
        )
        await talk.send("", b"ON", topic="elsewhere/replayed/motion", retain=True)
        async with serving(settings, folder / "scratch"):
            await talk.until_it_listens()
            yield Site(talk, camera, locked)
        await talk.send("", b"", topic="elsewhere/replayed/motion", retain=True)


async def test_motion_brings_the_picture_and_says_where_it_came_from(site: Site) -> None:
    await site.move("front")
    [end] = await site.ended("front")
    assert end["metadata"] == {"source": {"type": "trigger", "topic": "elsewhere/front/motion"}}
    caption = await site.talk.wait_for("front/caption")
    assert caption.json["result"]["caption"] == digest(make_image())


async def test_only_the_step_from_off_to_on_brings_a_picture(site: Site) -> None:
    for text in ("ON", "on", "1", "OFF", "unknown", "OFF", "", "ON"):
        await site.say("edges/motion", text)
        await asyncio.sleep(0.2)  # pictures that come together are one motion's
    await site.ended("edges", 2)
    assert site.asked("edges") == 2
    assert site.asked("replayed") == 0


async def test_field_of_json_says_motion_and_camera(site: Site) -> None:
    asks = DigestCamera(make_image(2), "me", "s3cret")
    site.camera.behave = asks
    await site.say("vto", {"Action": "Stop", "serialNumber": "4K01"})
    await site.say("vto", {"Action": "Start", "serialNumber": "4K01"})
    [end] = await site.ended("vto")
    site.camera.behave = shows(make_image())
    assert end["priority"] == "critical"
    assert asks.num_bad_logins == 0


async def test_burst_is_captioned_by_its_sharpest_picture(site: Site) -> None:
    blurred = io.BytesIO()
    make_picture(5).filter(ImageFilter.GaussianBlur(4)).save(blurred, "JPEG")
    cloudy, sharp = blurred.getvalue(), make_image(5)
    site.camera.behave = in_turn(*(shows(each) for each in (cloudy, sharp, cloudy)))
    await site.say("visit/best", "on")
    [end] = await site.ended("visit")
    site.camera.behave = shows(make_image())
    assert end["metadata"]["burst"].items() >= {"index": 2, "count": 3}.items()
    caption = await site.talk.wait_for("visit/caption")
    assert caption.json["result"]["caption"] == digest(sharp)


async def test_burst_is_kept_whole_where_that_is_wanted(site: Site) -> None:
    await site.say("story/all", "on")
    bursts = [each["metadata"]["burst"] for each in await site.ended("story", 3)]
    assert len({each["id"] for each in bursts}) == 1
    assert sorted(each["index"] for each in bursts) == [1, 2, 3]


async def test_motion_that_lasts_brings_more_pictures_until_it_is_over(site: Site) -> None:
    await site.say("long/again", "on")
    await site.ended("long", 3)
    await site.say("long/again", "off")
    await asyncio.sleep(0.3)
    count = site.asked("long")
    await asyncio.sleep(0.4)
    assert site.asked("long") == count


async def test_clock_brings_pictures(site: Site) -> None:
    ends = await site.ended("garden", 2)
    assert ends[0]["metadata"] == {"source": {"type": "trigger", "every": 1.0}}


async def test_picture_that_cannot_be_had_is_rejected_with_its_cause(site: Site) -> None:
    for body, cause in ((b"", "without a picture"), (b"<html>", "a web page")):
        site.camera.behave = answers(200, body=body)
        before = len(site.talk.said("broken/status"))
        await site.move("broken")
        heard = await site.talk.wait_for_many(before + 1, "broken/status", status="rejected")
        error = heard[-1].json["error"]
        assert error["code"] == "fetch_failed"
        assert cause in error["message"]
    letter = await site.talk.wait_for("bridge/dead_letter", camera_id="broken")
    assert letter.json["topic"] == "elsewhere/broken/motion"
    await until(lambda: any("a web page" in each for each in site.health()))
    assert all("triggers[0]: " in each for each in site.health())
    site.camera.behave = shows(make_image())
    await site.move("broken")
    await site.ended("broken")


async def test_refused_account_is_told_once_and_left_alone(site: Site) -> None:
    for _ in range(3):
        await site.say("fixed", "on")
        await site.say("fixed", "off")
        await asyncio.sleep(0.1)
    [end] = await site.ended("fixed", status="rejected")
    assert "the account is refused" in end["message"]
    assert len(site.locked.requests) == 1


async def test_camera_that_is_switched_off_is_not_looked_at(site: Site) -> None:
    await site.move("off")
    await site.move("after")
    await site.ended("after")
    assert site.asked("off") == 0


async def test_describe_asks_the_trigger_of_a_camera(site: Site) -> None:
    answer = await site.talk.data("camera/describe", {"camera_id": "off"})
    assert answer["status"] == "queued"
    [end] = await site.ended("off")
    assert end["job_id"] == answer["job_id"]
    assert site.asked("off") == 1
    assert await site.talk.code("camera/describe", {"camera_id": "stranger"}) == "not_found"


async def test_foreign_name_becomes_a_camera_and_is_asked_for_as_it_is(site: Site) -> None:
    await site.move("Front Door")
    caption = await site.talk.wait_for("Front_Door/caption")
    assert caption.json["location"] == "Front Door"
    assert site.asked("Front%20Door") == 1
    answer = await site.talk.data("camera/describe", {"camera_id": "Front_Door"})
    assert answer["status"] == "queued"
    assert site.asked("Front%20Door") == 2


async def test_motion_without_a_camera_is_named_in_the_log(site: Site) -> None:
    await site.say("vto", {"Action": "Start"})
    message = "triggers[1]: motion on 'elsewhere/vto' names no camera"
    await site.talk.wait_for("bridge/log", level="warning", message=message)


async def test_frames_on_our_own_topic_stay_frames(site: Site) -> None:
    await site.talk.send("own", make_image(9))
    [end] = await site.ended("own")
    assert end["metadata"] == {}


async def test_storm_of_motion_before_a_camera_that_hangs_slows_no_frame(site: Site) -> None:
    site.camera.behave = says_nothing
    for number in range(2000):
        text = "off" if number // 50 % 2 else "on"
        await site.say(f"storm-{number % 50}/storm", text)
    began = time.monotonic()
    await site.talk.send("calm", make_image(11))
    await site.ended("calm")
    assert time.monotonic() - began < 5.0  # of a loaded machine
    site.camera.behave = shows(make_image())


async def test_nothing_that_is_published_holds_a_password(site: Site) -> None:
    info = await site.talk.data("info")
    assert len(info["settings"]["triggers"]) == 9
    assert not [each.topic for each in site.talk.heard if b"s3cret" in each.payload]
