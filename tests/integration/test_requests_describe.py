"""Pictures that are fetched because somebody asks what a camera sees now."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.http_receivers import Receiver, Request, answers
from tests.support.quick_engine import digest
from tests.support.quick_service import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/described"


@dataclass(frozen=True, slots=True)
class Site:
    """A service, and a camera that serves pictures."""

    talk: Asking
    camera: Receiver


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    folder = tmp_path_factory.mktemp("described")
    (folder / "scratch").mkdir()
    async with Receiver() as camera:
        url = camera.url.replace("http://", "http://me:word@")
        spared = {"enabled": False, "cooldown": 3600, "min_intensity": 1}
        settings = Settings(
            mqtt={"port": mosquitto.port, "base_topic": BASE},
            data_dir=folder / "data",
            fetch={"allow_hosts": ["localhost"]},
            cameras={
                "spared": {**spared, "min_priority": "critical", "snapshot_url": url},
                "door": {"snapshot_url": camera.url},
                "blind": {},
            },
        )
        async with Asking(mosquitto.port, BASE) as talk, serving(settings, folder / "scratch"):
            await talk.until_it_listens()
            yield Site(talk, camera)


def shows(seed: int) -> Any:
    """What the camera sees from now on."""
    return answers(200, body=make_image(seed))


async def described(site: Site, camera_id: str, **fields: Any) -> dict[str, Any]:
    """The status that the picture's job ends with."""
    job = await site.talk.data("camera/describe", {"camera_id": camera_id, **fields})
    assert (job["camera_id"], job["status"], job["ask_next"]) == (camera_id, "queued", None)
    done = await site.talk.wait_for(f"{camera_id}/status", job_id=job["job_id"], status="completed")
    found: dict[str, Any] = done.json
    return found


async def test_present_picture_is_captioned_whatever_the_camera_spares(site: Site) -> None:
    site.camera.behave = shows(1)
    first, second = await described(site, "spared"), await described(site, "spared")
    assert first["job_id"] != second["job_id"]  # the same picture is captioned again
    assert first["priority"] == "high"
    caption = await site.talk.wait_for("spared/caption", job_id=second["job_id"])
    assert caption.json["result"]["caption"] == digest(make_image(1))
    user = base64.b64encode(b"me:word").decode()
    assert site.camera.requests[-1].headers["authorization"] == f"Basic {user}"


async def test_request_says_what_is_asked_of_the_picture(site: Site) -> None:
    site.camera.behave = shows(2)
    wanted = {"tasks": [{"query": "Is it wet?"}], "priority": "low", "metadata": {"a": 1}}
    status = await described(site, "door", job_id="mine", **wanted)
    assert (status["job_id"], status["priority"], status["metadata"]) == ("mine", "low", {"a": 1})
    caption = await site.talk.wait_for("door/caption", job_id="mine")
    [answer] = caption.json["result"]["answers"]
    assert answer["question"] == "Is it wet?"
    again = await site.talk.data("camera/describe", {"camera_id": "door", "job_id": "mine"})
    assert (again["job_id"], again["status"]) == ("mine", "completed")


async def test_no_frame_of_the_camera_cools_down_after_it(site: Site) -> None:
    site.camera.behave = shows(3)
    change = {"camera_id": "cool", "cooldown": 3600}
    url = site.camera.url.replace("127.0.0.1", "localhost")
    await site.talk.data("camera/set", {**change, "snapshot_url": url})
    await described(site, "cool")
    await site.talk.send("cool", json_frame(make_image(4), job_id="motion"))
    await site.talk.wait_for("cool/status", job_id="motion", status="completed")


async def test_address_set_at_run_time_is_held_against_the_hosts_that_are_allowed(
    site: Site,
) -> None:
    change = {"camera_id": "new", "snapshot_url": site.camera.url}  # by its private address
    answer = await site.talk.ask("camera/set", change)
    assert answer["error"]["code"] == "bad_request"
    url = site.camera.url.replace("http://127.0.0.1", "http://me:word@localhost")
    answer = await site.talk.ask("camera/set", {"camera_id": "new", "snapshot_url": url})
    assert "user or password" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("request_", "code", "named"),
    [
        (b"ghost", "not_found", "ghost"),
        (b"blind", "wrong_state", "snapshot_url"),
        ({"camera_id": "door", "frame_url": "http://x/"}, "bad_request", "frame_url"),
        ({"camera_id": "door", "timeout": 5}, "bad_request", "timeout"),
        ({"camera_id": "door", "priority": "urgent"}, "bad_request", "priority"),
        ({}, "bad_request", "camera_id"),
    ],
)
async def test_bad_request_fetches_nothing(
    site: Site, request_: Any, code: str, named: str
) -> None:
    before = len(site.camera.requests)
    answer = await site.talk.ask("camera/describe", request_)
    assert (answer["status"], answer["error"]["code"]) == ("error", code), answer
    assert named in answer["error"]["message"]
    assert len(site.camera.requests) == before


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (401, b"who?", "fetch_failed"),
        (200, b"", "not_an_image"),
        (200, b'[{"error": {"rspCode": -7}}]', "not_an_image"),
        (200, make_image(5)[:400], "image_truncated"),
        (200, make_image(6) + bytes(5 << 20), "too_many_bytes"),
    ],
)
async def test_picture_that_cannot_be_had_is_rejected_where_all_can_see(
    site: Site, status: int, body: bytes, code: str
) -> None:
    site.camera.behave = answers(status, body=body)
    job_id = f"{code}-{len(body)}"
    answer = await site.talk.ask("camera/describe", {"camera_id": "door", "job_id": job_id})
    assert answer["error"]["code"] == code, answer
    rejected = await site.talk.wait_for("door/status", job_id=job_id, status="rejected")
    assert rejected.json["error"] == answer["error"]
    letter = await site.talk.wait_for("bridge/dead_letter", job_id=job_id)
    assert letter.json["topic"] == "request camera/describe"


async def test_one_picture_of_a_camera_is_fetched_at_a_time(site: Site) -> None:
    is_asked, is_over = asyncio.Event(), asyncio.Event()

    async def is_slow(request: Request, writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        await is_over.wait()
        await shows(7)(request, writer)

    site.camera.behave = is_slow
    own = f"{BASE}/response/requests/first"
    first = asyncio.create_task(site.talk.ask("camera/describe", b"door", response_topic=own))
    await is_asked.wait()
    assert await site.talk.code("camera/describe", b"door") == "busy"
    is_over.set()
    job = (await first)["data"]
    await site.talk.wait_for("door/status", job_id=job["job_id"], status="completed")
