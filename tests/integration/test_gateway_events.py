"""What happens, over server-sent events, from a whole service."""

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import count

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.integration.test_requests import Asking
from tests.support.conversation import json_frame
from tests.support.event_stream import ServerEvent, listening
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "http/events"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("events") / "service"
    async with gateway(mosquitto, folder, BASE, stats_interval=1.0) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def camera(mosquitto: EmbeddedBroker, service: Gateway) -> AsyncIterator["Camera"]:
    async with Asking(mosquitto.port, BASE) as talk:
        yield Camera(talk)


class Camera:
    def __init__(self, talk: Asking) -> None:
        self.talk = talk
        self._seeds = count()

    async def send(self, camera_id: str, job_id: str | None = None) -> None:
        """Publish a frame that no other is like."""
        said = {} if job_id is None else {"job_id": job_id}
        await self.talk.send(camera_id, json_frame(make_image(next(self._seeds)), **said))


def of_camera(camera_id: str, kind: str) -> Callable[[ServerEvent], bool]:
    return lambda event: event.kind == kind and event.data.get("camera_id") == camera_id


async def test_the_state_comes_first_and_a_frame_is_followed(
    service: Gateway, camera: Camera
) -> None:
    async with listening(service.client) as events:
        first = await events.next()
        await camera.send("followed", "job-1")
        added = await events.until(of_camera("followed", "camera"))
        statuses = [await events.until(of_camera("followed", "status")) for _ in range(3)]
        result = await events.until(of_camera("followed", "result"))

    assert first.kind == "state"
    assert first.data.keys() == {
        "info", "stats", "health", "metrics", "cameras", "working",
    }  # fmt: skip
    assert first.data["info"]["version"]
    assert added.data["action"] == "added"
    assert [each.data["status"] for each in statuses] == ["queued", "processing", "completed"]
    assert result.data["job_id"] == "job-1"
    assert result.data["result"]["caption"]
    assert result.data["image"]
    assert result.data["is_newest"]


async def test_the_state_knows_the_newest_of_each_camera(service: Gateway, camera: Camera) -> None:
    async with listening(service.client, "/events?camera=known") as events:
        await camera.send("known", "job-1")
        result = await events.until(of_camera("known", "result"))
    await asyncio.sleep(0.3)  # a state may be so old; what came since would follow it
    async with listening(service.client) as events:
        state = (await events.next()).data

    [known] = [each for each in state["cameras"] if each["camera_id"] == "known"]
    assert known["result"] == result.data
    assert known["image"] == result.data["image"]
    assert known["status"]["status"] == "completed"
    assert known["settings"]["enabled"] is True
    assert known["seen_at"]
    assert known["location"] is None


async def test_a_changed_setting_and_a_forgotten_camera_are_told(
    service: Gateway, camera: Camera
) -> None:
    async with listening(service.client, "/events?camera=changed") as events:
        await camera.send("changed")
        await events.until(of_camera("changed", "result"))
        await camera.talk.ask("camera/set", {"camera_id": "changed", "cooldown": 7})
        settings = await events.until(of_camera("changed", "settings"))
        await camera.talk.ask("camera/forget", {"camera_id": "changed"})
        forgotten = await events.until(of_camera("changed", "camera"))

    assert settings.data["settings"]["cooldown"] == 7
    assert forgotten.data["action"] == "forgotten"


async def test_statistics_health_and_metrics_come_at_intervals(service: Gateway) -> None:
    async with listening(service.client, "/events?types=stats,health,metrics") as events:
        found = {(await events.next()).kind for _ in range(3)}

    assert found == {"stats", "health", "metrics"}


async def test_a_jobs_stream_ends_with_its_job(service: Gateway, camera: Camera) -> None:
    async with listening(service.client, "/events?job=own") as events:
        await camera.send("own", "own")
        heard = await events.rest()
    async with listening(service.client, "/events?job=own") as events:
        again = await events.rest()

    assert [each.kind for each in heard] == ["status", "status", "status", "result"]
    assert [each.kind for each in again] == ["status", "result"]
    assert again[1].data["result"] == heard[-1].data["result"]


async def test_what_is_refused_is_told_as_rejected_and_as_dead_letter(
    service: Gateway, camera: Camera
) -> None:
    async with listening(service.client, "/events?types=status,dead_letter") as events:
        await camera.talk.send("bad", b"no picture")
        found = {(event := await events.next()).kind: event.data for _ in range(2)}

    assert found["status"]["status"] == "rejected"
    assert found["dead_letter"]["error"]["code"] == found["status"]["error"]["code"]


async def test_who_comes_back_misses_nothing(service: Gateway, camera: Camera) -> None:
    async with listening(service.client) as events:
        seen = (await events.next()).id
    await camera.send("missed", "while-away")
    async with listening(service.client, "/events", **{"Last-Event-ID": seen}) as events:
        first = await events.next()
        result = await events.until(of_camera("missed", "result"))

    assert first.kind != "state"
    assert result.data["job_id"] == "while-away"


async def test_a_type_that_is_none_is_refused_by_name(service: Gateway) -> None:
    answer = await service.client.get("/events?types=status,pictures")

    assert answer.status_code == 400
    assert "pictures" in answer.json()["message"]
