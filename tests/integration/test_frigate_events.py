"""What Frigate says becomes descriptions: a whole service, a real broker, HTTP answers."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.support.conversation import Conversation
from tests.support.factories import make_image
from tests.support.frigate_messages import (
    REVIEW_ID,
    as_json,
    event_message,
    review_message,
    stored_event,
)
from tests.support.http_receivers import (
    Behaviour,
    answers,
    drips_body,
    says_nothing,
    sends_endless_body,
    worst_lag,
)
from tests.support.quick_engine import digest
from tests.support.quick_service import serving
from tests.support.scripted_frigate import ScriptedFrigate

CLEAN = "snapshot-clean.webp"
CAMERA = "front_door"


class Nvr(Conversation):
    """Speaks as Frigate on its topics, and hears what our service says."""

    def __init__(self, port: int, base: str, frigate: ScriptedFrigate) -> None:
        super().__init__(port, base)
        self.frigate = frigate
        self.prefix = f"{base}-nvr"

    def has(self, event_id: str, seed: int, **fields: Any) -> bytes:
        """Let Frigate have an object and its picture."""
        image = make_image(seed, (64, 48))
        self.frigate.pictures[event_id, CLEAN] = image
        self.frigate.events[event_id] = stored_event(event_id, **fields)
        return image

    async def says(
        self, content: dict[str, Any] | bytes, *, topic: str = "events", qos: int = 0
    ) -> None:
        payload = content if isinstance(content, bytes) else as_json(content)
        await self._client.publish(f"{self.prefix}/{topic}", payload, qos=qos)

    def captions(self) -> list[dict[str, Any]]:
        return [each.json for each in self.said(f"{CAMERA}/caption")]


def settings_of(nvr: Nvr, port: int, folder: Path, **frigate: Any) -> Settings:
    return Settings.model_validate(
        {
            "mqtt": {"port": port, "base_topic": nvr.base},
            "data_dir": folder / "data",
            "stats_interval": 0.3,
            "frigate": {
                "enabled": True,
                "topic_prefix": nvr.prefix,
                "url": nvr.frigate.url,
                "timeout": 2.0,
                "write_back": False,
                **frigate,
            },
        }
    )


@asynccontextmanager
async def running(
    broker: EmbeddedBroker, base: str, folder: Path, *, pace_ms: float = 1.0, **frigate: Any
) -> AsyncIterator[Nvr]:
    scripted = ScriptedFrigate()
    async with scripted.receiver, Nvr(broker.port, base, scripted) as nvr:
        settings = settings_of(nvr, broker.port, folder, **frigate)
        async with serving(settings, folder, pace_ms=pace_ms):
            await nvr.wait_for("bridge/state")
            yield nvr


async def test_alert_is_told_early_and_described_at_its_end(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with running(mosquitto, topic_base, tmp_path) as nvr:
        event_id = "1700000000.1-abc"
        first = nvr.has(event_id, 1, end_time=None)  # or it is found as one that was missed
        await nvr.says(event_message("new", event_id))
        await nvr.says(event_message("update", event_id, max_severity="alert"))
        early = await nvr.wait_for(f"{CAMERA}/status", status="completed")
        assert early.json["priority"] == "critical"
        last = nvr.has(event_id, 2)
        await nvr.says(event_message("end", event_id, max_severity="alert", sub_label=["Ada", 0.9]))
        final = "1700000000_1-abc-final"
        await nvr.wait_for(f"{CAMERA}/status", status="completed", job_id=final)
        await nvr.wait_for_many(2, f"{CAMERA}/caption")
        told = nvr.captions()
        assert [each["result"]["caption"] for each in told] == [digest(first), digest(last)]
        said = told[1]["metadata"]["frigate"]
        assert (said["event_id"], said["moment"], said["sub_label"]) == (event_id, "final", "Ada")
        assert said["box"] is None  # this Frigate does not tell its size
        assert told[1]["taken_at"].startswith("2023-11-14T22:13:24")
        assert len(nvr.said(f"{CAMERA}/status", status="queued")) == 2


async def test_events_of_one_scene_are_each_described(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """Two people in one picture: neither is a duplicate of the other."""
    async with running(mosquitto, topic_base, tmp_path) as nvr:
        for event_id in ("1700000000.1-abc", "1700000000.2-def"):
            nvr.has(event_id, 1)
            await nvr.says(event_message("end", event_id))
        await nvr.wait_for_many(2, f"{CAMERA}/status", status="completed")


async def test_reviews_are_described(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with running(mosquitto, topic_base, tmp_path, events=False, reviews=True) as nvr:
        nvr.has("1700000000.123456-abc123", 1)
        await nvr.says(review_message("end"), topic="reviews")
        [caption] = await nvr.wait_for_many(1, f"{CAMERA}/caption")
        said = caption.json["metadata"]["frigate"]
        assert (said["review_id"], said["label"]) == (REVIEW_ID, "person")


async def test_without_a_url_the_snapshot_topics_are_frames(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with running(mosquitto, topic_base, tmp_path, url=None) as nvr:
        image = make_image(3)
        await nvr.says(image, topic=f"{CAMERA}/person/snapshot")
        await nvr.wait_for(f"{CAMERA}/caption")
        assert nvr.captions()[0]["result"]["caption"] == digest(image)


async def test_metadata_of_a_frame_never_writes_into_frigate(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with running(mosquitto, topic_base, tmp_path, write_back=True) as nvr:
        event_id = "1700000000.1-abc"
        nvr.has(event_id, 1)
        user = {"metadata": json.dumps({"frigate": {"event_id": event_id, "is_final": True}})}
        await nvr.send(CAMERA, make_image(9), user=user)
        await nvr.wait_for(f"{CAMERA}/caption")
        await asyncio.sleep(1.0)
        assert nvr.frigate.writes == []


@pytest.mark.parametrize("qos", [0, 1])
async def test_restart_describes_what_has_ended_meanwhile(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, qos: int
) -> None:
    scripted = ScriptedFrigate()
    now = time.time()
    async with scripted.receiver, Nvr(mosquitto.port, topic_base, scripted) as nvr:
        settings = settings_of(nvr, mosquitto.port, tmp_path)
        async with serving(settings, tmp_path):
            await nvr.wait_for("bridge/state")
            nvr.has("1700000000.1-abc", 1)
            scripted.events.clear()
            await nvr.says(event_message("new", "1700000000.1-abc"), qos=qos)
            await asyncio.sleep(1.0)
        # Both ends are said while nobody listens; of the second nothing was heard at all.
        nvr.has("1700000000.1-abc", 1, start_time=now - 30, end_time=now - 20)
        nvr.has("1700000000.2-def", 2, start_time=now - 30, end_time=now - 10)
        nvr.has("1700000000.3-ghi", 3, start_time=now - 5, end_time=None)
        async with serving(settings, tmp_path):
            finals = await nvr.wait_for_many(2, f"{CAMERA}/status", status="completed")
    assert {each.json["job_id"] for each in finals} == {
        "1700000000_1-abc-final",
        "1700000000_2-def-final",
    }


NOT_FOUND = answers(404, body=b'{"success": false, "message": "Event not found"}')


@pytest.mark.parametrize(
    "behave",
    [NOT_FOUND, answers(200, body=b"<html></html>"), sends_endless_body, drips_body, says_nothing],
    ids=["404", "html", "endless", "drips", "silent"],
)
async def test_a_bad_picture_holds_up_neither_frames_nor_other_events(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, behave: Behaviour
) -> None:
    async with running(mosquitto, topic_base, tmp_path) as nvr:
        nvr.frigate.instead["/api/events/1700000000.1-bad"] = behave
        await nvr.says(event_message("end", "1700000000.1-bad", max_severity="alert"))
        await asyncio.sleep(1.2)
        began = time.monotonic()
        await nvr.send("yard", make_image(5))
        await nvr.wait_for("yard/caption")
        assert time.monotonic() - began < 2.0
        nvr.has("1700000000.2-good", 1)
        await nvr.says(event_message("end", "1700000000.2-good"))
        await nvr.wait_for(f"{CAMERA}/status", status="completed")


async def test_frigate_that_restarts_is_asked_again(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with running(mosquitto, topic_base, tmp_path) as nvr:
        nvr.has("1700000000.1-abc", 1)
        await nvr.frigate.receiver.wait_for(2)  # the start has been asked for
        await asyncio.sleep(0.3)
        await nvr.frigate.receiver.stop()
        await nvr.says(event_message("end", "1700000000.1-abc"))
        await nvr.wait_for("bridge/health", status="degraded")
        await nvr.frigate.receiver.start()
        await nvr.says(b"online", topic="available")
        await nvr.wait_for(f"{CAMERA}/status", status="completed")


async def test_a_storm_of_updates_is_one_job_each_and_delays_nobody(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    ids = [f"1700000000.{number}-abc" for number in range(50)]
    async with running(mosquitto, topic_base, tmp_path, pace_ms=50, describe_updates=True) as nvr:
        for number, event_id in enumerate(ids):
            nvr.has(event_id, number)
        async with aiomqtt.Client("127.0.0.1", mosquitto.port) as storm, worst_lag() as lag:
            began = time.monotonic()
            for number in range(3000):
                message = event_message(
                    "update", ids[number % 50], max_severity="alert", frame_time=float(number)
                )
                await storm.publish(f"{nvr.prefix}/events", as_json(message), qos=0)
                if number % 100 == 0:
                    await nvr.send("yard", make_image(1000 + number), user={"priority": "critical"})
                await asyncio.sleep(max(0.0, began + number / 1000 - time.monotonic()))
        await nvr.wait_for_many(30, "yard/status", status="completed")
        for event_id in ids:
            await nvr.says(event_message("end", event_id, max_severity="alert"))
        for event_id in ids:
            final = f"{event_id.replace('.', '_')}-final"
            await nvr.wait_for(f"{CAMERA}/status", job_id=final, status="completed")
        most = max(each.json["queue_size"] for each in nvr.said("bridge/stats"))
        assert most <= 50 + 30  # of the storm one each, and the other camera's
        assert lag.seconds < 0.5, lag
        early = {each.json["job_id"] for each in nvr.said(f"{CAMERA}/status", status="queued")}
        assert len(early) <= 200


async def test_description_is_in_frigate_at_the_end(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    choices = {"question": "Who is it?", "choices": ["DHL", "UPS"]}
    async with running(mosquitto, topic_base, tmp_path, write_back=True, sub_label=choices) as nvr:
        event_id = "1700000000.1-abc"
        nvr.has(event_id, 1, end_time=None)
        await nvr.says(event_message("update", event_id, max_severity="alert"))
        await nvr.wait_for(f"{CAMERA}/status", status="completed")
        last = nvr.has(event_id, 2)
        await nvr.says(event_message("end", event_id, max_severity="alert"))
        async with asyncio.timeout(20):
            while len(nvr.frigate.writes) < 2:  # noqa: ASYNC110 - a server has no event of ours
                await asyncio.sleep(0.1)
    assert sorted(nvr.frigate.writes) == [
        (event_id, "description", digest(last)),
        (event_id, "sub_label", "DHL"),
    ]
