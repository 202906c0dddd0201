"""Orders to the queue and to single jobs, to a whole service with a real broker."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking, service
from tests.support.checker import until
from tests.support.conversation import json_frame, plain_fields
from tests.support.factories import make_image
from tests.support.harness import Service
from tests.support.http_receivers import Receiver, answers, in_turn, says_nothing
from tests.support.quick_service import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/ordered"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    """A service whose model is not there: what waits goes on waiting."""
    async with service(mosquitto, BASE, tmp_path_factory.mktemp("ordered")) as found:
        yield found


@asynccontextmanager
async def working(
    broker: EmbeddedBroker, base: str, folder: Path, *, pace_ms: float = 1.0, **settings: Any
) -> AsyncIterator[Asking]:
    """A service with the quick engine."""
    (folder / "scratch").mkdir(parents=True)
    options: dict[str, Any] = {
        "mqtt": {"port": broker.port, "base_topic": base},
        "data_dir": folder / "data",
        **settings,
    }
    running = serving(Settings(**options), folder / "scratch", pace_ms=pace_ms)
    async with Asking(broker.port, base) as talk, running:
        await talk.until_it_listens()
        yield talk


async def queue_frame(talk: Asking, camera: str, job_id: str, seed: int, **fields: Any) -> None:
    await talk.send(camera, json_frame(make_image(seed), job_id=job_id, **fields))
    await talk.wait_for(f"{camera}/status", job_id=job_id, status="queued")


async def test_paused_service_says_so_at_once_and_accepts_frames(talk: Asking) -> None:
    assert await talk.data("queue/pause") == {"processing": False}
    stats = talk.said("bridge/stats")[-1].json
    assert (stats["processing"], stats["system_status"]) == (False, "paused")
    await talk.send("paused", json_frame(make_image(1), job_id="p-1"))
    queued = await talk.wait_for("paused/status", job_id="p-1", status="queued")
    assert queued.json["message"] == "Waiting, processing is paused"
    assert await talk.data("queue/resume") == {"processing": True}
    assert talk.said("bridge/stats")[-1].json["processing"] is True


async def test_stats_follow_every_order_although_the_interval_is_an_hour(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    async with working(
        mosquitto, f"{BASE}/hourly", tmp_path, pace_ms=300.0, stats_interval=3600.0
    ) as talk:
        stats = partial(stats_within, talk)
        await talk.data("queue/processing", b"OFF")
        await stats(processing=False, system_status="paused")
        for number in range(3):
            await queue_frame(talk, "front", f"h-{number}", number)
        await talk.data("queue/clear", {"camera_id": "front"})
        await stats(queue_size=0, total_jobs=3)
        await talk.data("queue/cleanup", {"max_age_hours": 0})
        await stats(total_jobs=0)
        await talk.data("queue/resume")
        await stats(processing=True, system_status="running")
        await talk.data("model/unload")
        await stats(system_status="unloaded", max_concurrent_jobs=0)
        await until(lambda: model_state(talk) == "unloaded", 0.5)
        await talk.data("model/load")
        await stats(system_status="running")
        await until(lambda: model_state(talk) == "ready", 0.5)


def model_state(talk: Asking) -> str:
    """As the newest `bridge/info` tells it."""
    return str(talk.said("bridge/info")[-1].json["model"]["state"])


async def stats_within(talk: Asking, **fields: Any) -> None:
    """Within half a second of an answer, the newest `bridge/stats` says this."""

    def is_said() -> bool:
        newest = talk.said("bridge/stats")[-1].json
        return fields.items() <= plain_fields(newest).items()

    await until(is_said, 0.5)


@pytest.mark.parametrize(
    ("request_", "processing"),
    [(b"OFF", False), (b"ON", True), ({"enabled": False}, False), ({"enabled": True}, True)],
)
async def test_processing_is_a_switch(talk: Asking, request_: Any, processing: bool) -> None:
    assert await talk.data("queue/processing", request_) == {"processing": processing}
    assert (await talk.data("queue/stats"))["processing"] is processing


@pytest.mark.parametrize(
    ("operation", "request_", "named"),
    [
        ("queue/processing", {}, "enabled"),
        ("queue/processing", b"MAYBE", "enabled"),
        ("queue/processing", {"enabled": [1]}, "enabled"),
        ("queue/pause", {"enabled": True}, "enabled"),
        ("queue/clear", {"camera_id": "a b"}, "camera_id"),
        ("queue/clear", {"priority": {"a": {"b": []}}}, "priority"),
        ("queue/cleanup", {"max_age_hours": "soon"}, "max_age_hours"),
        ("queue/cleanup", {"max_age_hours": 9000}, "max_age_hours"),
        ("job/cancel", {}, "job_id"),
        ("job/cancel", {"job_id": "front/1"}, "job_id"),
        ("job/cancel", {"job_id": "x" * 65}, "job_id"),
        ("job/retry", {"job_id": ["x"]}, "job_id"),
        ("job/retry", {"job_id": "x", "max_attempts": 99}, "max_attempts"),
    ],
)
async def test_bad_order_names_the_field(
    talk: Asking, operation: str, request_: Any, named: str
) -> None:
    answer = await talk.ask(operation, request_)
    assert answer["error"]["code"] == "bad_request"
    assert named in answer["error"]["message"]


async def test_pause_survives_kill_right_after_its_answer(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = "home/killed"
    async with (
        Service(tmp_path / "service", mosquitto.port, base) as running,
        Asking(mosquitto.port, base) as talk,
    ):
        await running.start()
        assert await talk.data("queue/pause") == {"processing": False}
        await running.kill()
        await running.start()
        stats = await talk.data("queue/stats")
        assert (stats["processing"], stats["system_status"]) == (False, "paused")
        await queue_frame(talk, "front", "waits", 1)
        assert talk.statuses("front", "waits") == ["queued"]
        assert await talk.data("queue/processing", b"ON") == {"processing": True}
        await talk.wait_for("front/status", job_id="waits", status="completed")
        await running.kill()
        await running.start()
        assert (await talk.data("queue/stats"))["processing"] is True


async def test_waiting_job_is_cancelled_once(talk: Asking) -> None:
    await queue_frame(talk, "front", "unwanted", 2)
    job = await talk.data("job/cancel", b"unwanted")
    assert (job["status"], job["error"]["code"]) == ("cancelled", "cancelled")
    said = await talk.wait_for("front/status", job_id="unwanted", status="cancelled")
    assert said.json["error"]["code"] == "cancelled"
    assert await talk.code("job/cancel", b"unwanted") == "wrong_state"
    assert await talk.code("job/cancel", b"nobody") == "not_found"


async def test_cancelled_job_answers_its_webhook_and_response_topic(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = "home/hooked"
    async with Receiver() as receiver:
        allowed = {"allow_hosts": ["127.0.0.1"]}
        async with working(mosquitto, base, tmp_path, webhooks=allowed) as talk:
            await talk.data("queue/pause")
            frame = json_frame(make_image(3), job_id="told", webhook_url=receiver.url)
            await talk.send("front", frame, ResponseTopic=f"{base}/response/front/me")
            await talk.wait_for("front/status", job_id="told", status="queued")
            await talk.data("job/cancel", b"told")
            answer = await talk.wait_for("response/front/me", job_id="told")
            assert answer.json["status"] == "cancelled"
            assert answer.json["result"] is None
            await receiver.wait_for(1)


async def test_job_in_an_engine_is_cancelled_there(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    """The engine does one after the other, each for longer than anybody waits here."""
    base = "home/engaged"
    async with working(mosquitto, base, tmp_path, pace_ms=300_000.0) as talk:
        for number in (1, 2):
            await talk.send("front", json_frame(make_image(number), job_id=f"slow-{number}"))
            await talk.wait_for("front/status", job_id=f"slow-{number}", status="processing")
        await talk.data("job/cancel", b"slow-1")
        await talk.data("job/cancel", b"slow-2")
        async with asyncio.timeout(20):
            while (await talk.data("queue/stats"))["active_jobs"]:  # noqa: ASYNC110 - asks
                await asyncio.sleep(0.1)
        assert talk.statuses("front", "slow-1") == ["queued", "processing", "cancelled"]
        assert talk.statuses("front", "slow-2") == ["queued", "processing", "cancelled"]


async def test_job_whose_image_is_being_fetched_is_cancelled_and_tried_again(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = "home/fetched"
    image = answers(200, "Content-Type: image/jpeg\r\n", make_image(9))
    async with Receiver(in_turn(says_nothing, image)) as host:
        allowed = {"allow_hosts": ["127.0.0.1"]}
        async with working(mosquitto, base, tmp_path, fetch=allowed) as talk:
            await talk.send("front", {"frame_url": f"{host.url}/x.jpg", "job_id": "far"})
            await host.wait_for(1)
            await talk.data("job/cancel", b"far")
            new = await talk.data("job/retry", b"far")
            await talk.wait_for("front/status", job_id=new["job_id"], status="completed")
            assert talk.statuses("front", "far") == ["queued", "cancelled"]


async def test_cancelled_job_runs_again_as_a_new_one(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = "home/again"
    async with working(mosquitto, base, tmp_path) as talk:
        await talk.data("queue/pause")
        frame = json_frame(make_image(5), job_id="old", priority="high", metadata={"a": 1})
        await talk.send("front", frame)
        await talk.wait_for("front/status", job_id="old", status="queued")
        assert await talk.code("job/retry", b"old") == "wrong_state"
        await talk.data("job/cancel", b"old")
        new = await talk.data("job/retry", {"job_id": "old", "max_attempts": 7})
        assert new["job_id"] != "old"
        assert (new["retry_of"], new["status"], new["queue_position"]) == ("old", "queued", 1)
        assert (new["priority"], new["max_attempts"], new["attempts"]) == ("high", 7, 0)
        assert new["metadata"] == {"a": 1}
        again = (await talk.data("job/retry", b"old"))["job_id"]  # as often as one likes
        await talk.data("queue/resume")
        for job_id in (new["job_id"], again):
            done = await talk.wait_for("front/status", job_id=job_id, status="completed")
            assert done.json["retry_of"] == "old"
        assert (await talk.data("job/get", b"old"))["status"] == "cancelled"
        assert await talk.code("job/retry", {"job_id": again}) == "wrong_state"


async def test_retry_of_an_older_frame_does_not_take_the_newest_caption(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = "home/older"
    async with working(mosquitto, base, tmp_path) as talk:
        await talk.send("front", json_frame(make_image(6), job_id="fail-1"))
        await talk.wait_for("front/status", job_id="fail-1", status="failed")
        await talk.send("front", json_frame(make_image(7), job_id="newer"))
        await talk.wait_for("front/caption", job_id="newer")
        # Its id decides what the engine does with it: the new one is captioned.
        new = await talk.data("job/retry", b"fail-1")
        await talk.wait_for("front/caption", job_id=new["job_id"])
        async with Asking(mosquitto.port, base) as late:
            retained = await late.wait_for("front/caption")
            assert retained.json["job_id"] == "newer"


async def test_frame_that_was_never_kept_cannot_be_tried_again(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    """Dropped on arrival: there was nothing to keep it for."""
    base = "home/gone"
    cameras = {"front": {"enabled": False}}
    async with working(mosquitto, base, tmp_path, cameras=cameras) as talk:
        await talk.send("front", json_frame(make_image(8), job_id="off"))
        await talk.wait_for("front/status", job_id="off", status="dropped")
        assert await talk.code("job/retry", b"off") == "frame_gone"
        assert (await talk.data("job/list", {"camera_id": "front"}))["count"] == 1


async def test_clear_cancels_what_matches_and_nothing_else(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    async with service(mosquitto, "home/cleared", tmp_path) as talk:
        for number in range(3):
            await queue_frame(talk, "front", f"low-{number}", 20 + number, priority="low")
        await queue_frame(talk, "front", "high", 24, priority="high")
        await queue_frame(talk, "back", "other", 25, priority="low")
        cleared = await talk.data("queue/clear", {"priority": "low", "camera_id": "front"})
        assert cleared == {"count": 3, "is_complete": True}
        await talk.wait_for_many(3, "front/status", status="cancelled", code="cancelled")
        assert (await talk.data("queue/stats"))["queue_size"] == 2
        assert (await talk.data("queue/clear", {"status": "processing"}))["count"] == 0
        assert (await talk.data("queue/clear"))["count"] == 2
        assert (await talk.data("queue/stats"))["queue_size"] == 0
        assert await talk.code("queue/clear", {"status": "failed"}) == "bad_request"
        assert await talk.code("queue/clear", {"priority": 9}) == "bad_request"

        assert (await talk.data("queue/cleanup"))["count"] == 0  # all ended within a day
        assert (await talk.data("queue/cleanup", {"max_age_hours": 0}))["count"] == 5
        assert (await talk.data("job/list"))["count"] == 0
        assert await talk.code("queue/cleanup", {"max_age_hours": -1}) == "bad_request"


async def test_flood_of_requests_stops_no_frame(mosquitto: EmbeddedBroker, tmp_path: Path) -> None:
    base = "home/flooded"
    async with working(mosquitto, base, tmp_path) as talk:
        num_before = len(talk.said("bridge/response/job/list"))
        for number in range(1000):
            await talk.flood("job/list")
            if number % 100 == 0:
                image = make_image(100 + number)
                await talk.send("front", json_frame(image, job_id=f"f-{number}"))
        for number in range(0, 1000, 100):
            await talk.wait_for("front/status", job_id=f"f-{number}", status="completed")
        answers = talk.said("bridge/response/job/list")[num_before:]
        codes = {each.json["status"] for each in answers if each.json["status"] == "ok"}
        codes |= {each.json["error"]["code"] for each in answers if "error" in each.json}
        assert codes == {"ok", "busy"}
        assert len(answers) < 1000
        await talk.until_it_listens()
