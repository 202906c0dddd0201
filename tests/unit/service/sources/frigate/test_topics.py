"""What is read of Frigate's topics, and what of it is a frame."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from broker.message import Message
from schemas.frame import Priority
from service.delivery.documents import Rejection
from service.frigate_settings import FrigateSettings
from service.intake.submission import Submission
from service.sources.frigate.events import Events
from service.sources.frigate.topics import FrigateTopics
from service.sources.names import Names
from service.store.store import Store
from tests.support.checker import until
from tests.support.factories import NOON, make_image
from tests.support.fakes import FakeClock
from tests.support.frigate_messages import EVENT_ID, as_json, event_message, review_message

URL = "http://frigate:5000"
IMAGE = make_image(size=(32, 32))


class Reading:
    """The source with what it has called."""

    def __init__(self, events: Events, settings: dict[str, Any]) -> None:
        self.events = events
        self.num_online = 0
        wanted = FrigateSettings.model_validate({"enabled": True, **settings})
        names = Names(lambda _: None)
        self.topics = FrigateTopics(wanted, events, names, self._on_online, 1 << 20)

    def _on_online(self) -> None:
        self.num_online += 1

    def read(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> Any:
        assert self.topics.claims(topic)
        message = Message(topic, payload, qos, retain, False, 1, 1, NOON, 1000.0)
        return self.topics.read(message)


@pytest.fixture
async def events(tmp_path: Path) -> AsyncIterator[Events]:
    clock = FakeClock(NOON)
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock) as store:
        yield Events(store.frigate, clock)


@pytest.mark.parametrize(
    ("settings", "filters"),
    [
        ({"url": URL}, {"frigate/events", "frigate/available"}),
        (
            {"url": URL, "reviews": True, "topic_prefix": "nvr/one"},
            {"nvr/one/events", "nvr/one/reviews", "nvr/one/available"},
        ),
        ({"url": URL, "events": False, "reviews": True}, {"frigate/reviews", "frigate/available"}),
        ({}, {"frigate/+/+/snapshot"}),
    ],
)
async def test_subscriptions(events: Events, settings: dict[str, Any], filters: set[str]) -> None:
    topics = Reading(events, settings).topics
    assert {each.topic_filter for each in topics.subscriptions} == filters
    for each in filters:
        assert topics.claims(each.replace("+", "x"))
    assert not topics.claims("frigate/stats")
    assert not topics.claims("frigates/events")


@pytest.mark.parametrize("kind", ["new", "end", "odd"])
async def test_event_is_put_down(events: Events, kind: str) -> None:
    reading = Reading(events, {"url": URL})
    assert reading.read("frigate/events", as_json(event_message(kind))) is None
    [each] = events.open
    assert each.subject.id == EVENT_ID


async def test_update_waits_unread_for_the_next_one(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    for number in range(100):
        for event_id in ("1.1-a", "1.2-b"):
            message = event_message("update", event_id, snapshot={"frame_time": number})
            assert reading.read("frigate/events", as_json(message)) is None
    assert not events.open
    await reading.topics.read_unread()
    found = {each.subject.id: each.subject.frame_time for each in events.open}
    assert found == {"1.1-a": 99.0, "1.2-b": 99.0}


async def test_end_is_not_overtaken_by_an_update_that_waits(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    reading.read("frigate/events", as_json(event_message("update", label="car")))
    reading.read("frigate/events", as_json(event_message("end")))
    await reading.topics.read_unread()
    [each] = events.open
    assert (each.ended, each.subject.label) == (1000.0, "person")


async def test_update_is_read_soon(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    running = asyncio.create_task(reading.topics.run())
    reading.read("frigate/events", as_json(event_message("update")))
    await until(lambda: bool(events.open))
    running.cancel()


async def test_updates_that_wait_are_bounded_in_bytes(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    path = [[[0.5, 0.5], 1700000000.0]] * 8_000
    for number in range(40):
        message = event_message("update", f"1.{number}-a", path_data=path)
        reading.read("frigate/events", as_json(message))
    num_read = len(events.open)
    assert 0 < num_read < 40
    await reading.topics.read_unread()
    assert len(events.open) == 40


@pytest.mark.parametrize("indent", [None, 2])
async def test_update_that_is_written_otherwise_is_read_at_once(
    events: Events, indent: int | None
) -> None:
    reading = Reading(events, {"url": URL})
    message = dict(reversed(event_message("update").items()))
    reading.read("frigate/events", json.dumps(message, indent=indent).encode())
    assert len(events.open) == 1


async def test_event_at_qos_1_is_acknowledged_once_it_is_stored(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    answer = reading.read("frigate/events", as_json(event_message()), qos=1)
    assert isinstance(answer, asyncio.Future)
    assert not answer.done()
    await events.flush()
    assert answer.done()


async def test_review_is_put_down(events: Events) -> None:
    reading = Reading(events, {"url": URL, "reviews": True})
    assert reading.read("frigate/reviews", as_json(review_message("end"))) is None
    [each] = events.open
    assert (each.subject.kind, each.ended) == ("review", 1000.0)


async def test_retained_event_is_a_replay(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    reading.read("frigate/events", as_json(event_message("end")), retain=True)
    assert not events.open


@pytest.mark.parametrize(
    "payload",
    [b"", b"{", b"[]", b"null", b'{"after": {}}', b'{"after": {"id": "../x"}}', b"\xff\xd8\xff"],
)
async def test_nonsense_is_passed_over_and_named(
    events: Events, payload: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    reading = Reading(events, {"url": URL})
    for _ in range(3):
        assert reading.read("frigate/events", payload) is None
    assert not events.open
    [record] = caplog.records  # once, however often it comes
    assert "is not what Frigate says" in record.getMessage()


async def test_online_is_told(events: Events) -> None:
    reading = Reading(events, {"url": URL})
    for payload in (b"offline", b"stopped", b"online"):
        assert reading.read("frigate/available", payload, retain=True) is None
    assert reading.num_online == 1


async def test_snapshot_is_a_frame(events: Events) -> None:
    reading = Reading(events, {"cameras": {"yard": {"camera": "garden"}}})
    frame = reading.read("frigate/yard/person/snapshot", IMAGE)
    assert isinstance(frame, Submission)
    assert (frame.camera_id, frame.image) == ("garden", IMAGE)
    assert frame.options.metadata == {"frigate": {"label": "person"}}
    assert frame.options.priority is Priority.HIGH
    assert frame.frigate is None


async def test_snapshot_of_a_foreign_name_is_of_the_camera_it_becomes(events: Events) -> None:
    frame = Reading(events, {}).read("frigate/Front Door/person/snapshot", IMAGE)
    assert isinstance(frame, Submission)
    assert (frame.camera_id, frame.location) == ("Front_Door", "Front Door")


async def test_retained_snapshot_is_a_replay(events: Events) -> None:
    assert Reading(events, {}).read("frigate/yard/person/snapshot", IMAGE, retain=True) is None


async def test_snapshot_of_another_label_is_passed_over(events: Events) -> None:
    reading = Reading(events, {"labels": ["person"], "cameras": {"shed": {"enabled": False}}})
    assert reading.read("frigate/yard/car/snapshot", IMAGE) is None
    assert reading.read("frigate/shed/person/snapshot", IMAGE) is None
    assert reading.read("frigate/yard/person/snapshot", IMAGE) is not None


@pytest.mark.parametrize(
    ("topic", "payload", "code", "camera_id"),
    [
        ("frigate/yard/person/snapshot", b"<html>", "not_an_image", "yard"),
        ("frigate/yard/person/snapshot", b"", "not_an_image", "yard"),
        ("frigate//person/snapshot", IMAGE, "bad_topic", None),
    ],
)
async def test_bad_snapshot_is_rejected(
    events: Events, topic: str, payload: bytes, code: str, camera_id: str | None
) -> None:
    refused = Reading(events, {}).read(topic, payload)
    assert isinstance(refused, Rejection)
    assert (refused.error.code, refused.camera_id) == (code, camera_id)
