"""Descriptions in Frigate's real database: what its own writes do to them, and that ours stay."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker.embedded import EmbeddedBroker
from broker.topics import Topics
from schemas.outbox import Channel, OutboxMessage
from schemas.write_back import RECEIVER, WriteBack
from service.clock import Clock
from service.delivery.dead_letters import DeadLetters
from service.delivery.frigate import FrigateSender
from service.frigate.api import FrigateApi
from service.frigate_settings import FrigateSettings
from service.http.operator_http import OperatorHttp
from service.store.store import Store
from tests.frigate.real_frigate import PASSWORD, RealFrigate
from tests.frigate.test_access import make_api, new_id
from tests.support.checker import until
from tests.support.factories import NOON
from tests.support.frigate_messages import as_json, event_message
from tests.support.harness import Service
from tests.support.quick_engine import digest

TEXT = "A person with a parcel."
_NUM_OBJECTS = 50


@asynccontextmanager
async def sending(store: Store, frigate: RealFrigate, user: str) -> AsyncIterator[None]:
    settings = FrigateSettings(url=frigate.login_url, username=user, password=PASSWORD)
    api = FrigateApi(settings, OperatorHttp(), 4 << 20, Clock(), "1.2")
    sender = FrigateSender(
        store.outbox,
        api,
        settings,
        letters=DeadLetters(store, Topics("base")),
        clock=Clock(),
        rng=random.Random(1),
    )
    task = asyncio.create_task(sender.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def put(store: Store, event_id: str, **more: Any) -> None:
    row = OutboxMessage(
        job_key="front_door/job",
        channel=Channel.FRIGATE,
        destination=event_id,
        payload=WriteBack(description=TEXT, **more).model_dump_json().encode(),
        created_at=NOON,
        receiver=RECEIVER,
    )
    await store.accept([], {}, [row])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}", clock=Clock()) as opened:
        yield opened


async def settled(store: Store) -> None:
    async with asyncio.timeout(30):
        while await store.outbox.pending_count(Channel.FRIGATE):  # noqa: ASYNC110 - of a table
            await asyncio.sleep(0.1)


async def test_late_write_of_frigate_deletes_an_early_description(frigate: RealFrigate) -> None:
    """Why it is waited for the end: if this fails one day, the waiting can go."""
    event_id, api = new_id(), make_api(frigate)
    frigate.hears(event_id, "new")
    frigate.hears(event_id, "update")
    await api.write_description(event_id, TEXT)
    assert frigate.event(event_id)["data"]["description"] == TEXT
    frigate.hears(event_id, "end")
    assert "description" not in frigate.event(event_id)["data"]
    await api.write_description(event_id, TEXT)
    assert frigate.event(event_id)["data"]["description"] == TEXT


async def test_description_and_sub_label_are_there_after_the_late_write(
    frigate: RealFrigate, store: Store
) -> None:
    event_id = new_id()
    frigate.hears(event_id, "new")
    frigate.hears(event_id, "update")
    async with sending(store, frigate, "admin"):
        await put(store, event_id, sub_label="DHL", score=0.93)
        await asyncio.sleep(3)
        assert frigate.event(event_id)["data"].get("description") is None
        frigate.hears(event_id, "end")
        await settled(store)
    event = frigate.event(event_id)
    assert event["data"]["description"] == TEXT
    assert (event["sub_label"], event["data"]["sub_label_score"]) == ("DHL", 0.93)
    assert event["end_time"] is not None


async def test_camera_that_frigate_describes_itself_is_left_alone(
    frigate: RealFrigate, store: Store
) -> None:
    event_id = new_id()
    for kind in ("new", "update", "end"):
        frigate.hears(event_id, kind, camera="described_by_frigate")
    async with sending(store, frigate, "admin"):
        await put(store, event_id)
        await settled(store)
    assert frigate.event(event_id)["data"].get("description") is None


async def test_frigate_that_restarts_in_between_gets_it_all_the_same(
    frigate: RealFrigate, store: Store
) -> None:
    """It ends what it was tracking when it starts again."""
    event_id = new_id()
    frigate.hears(event_id, "new")
    frigate.hears(event_id, "update")
    async with sending(store, frigate, "admin"):
        await put(store, event_id)
        await asyncio.sleep(1)
        frigate.stop()
        await asyncio.sleep(1)
        frigate.start()
        await settled(store)
    assert frigate.event(event_id)["data"]["description"] == TEXT


class Story:
    """Fifty objects that come, move and leave, over MQTT and in Frigate's database."""

    def __init__(self, frigate: RealFrigate, broker: EmbeddedBroker, prefix: str) -> None:
        self._frigate, self._broker, self._prefix = frigate, broker, prefix
        start = time.time() - 30
        self.ids = [f"{start + n / 10:.6f}-obj{n:03d}" for n in range(_NUM_OBJECTS)]

    async def tell(self) -> None:
        """All of it, within half a minute."""
        client = aiomqtt.Client("127.0.0.1", self._broker.port)
        async with client, asyncio.TaskGroup() as tasks:
            for number, event_id in enumerate(self.ids):
                tasks.create_task(self._tell_of(client, event_id, delay_s=number * 0.4))

    async def _tell_of(self, client: aiomqtt.Client, event_id: str, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        start = {"start_time": float(event_id.partition("-")[0])}
        for kind in ("new", "update"):
            await asyncio.to_thread(self._frigate.hears, event_id, kind)
            message = event_message(kind, event_id, max_severity="alert", **start)
            await client.publish(f"{self._prefix}/events", as_json(message))
            await asyncio.sleep(0.3)
        end = event_message("end", event_id, max_severity="alert", end_time=time.time(), **start)
        await client.publish(f"{self._prefix}/events", as_json(end))
        await asyncio.sleep(1.0)  # as observed: the last write comes after the word of it
        await asyncio.to_thread(self._frigate.hears, event_id, "end")


#: Where the service dies; a number is the seconds of a life.
_DEATHS: tuple[str | float, ...] = ("before_insert", 2.0, "after_commit", 3.0, "in_inference", 4.0)


async def test_fifty_of_fifty_objects_are_described_although_the_service_is_killed(
    frigate: RealFrigate, mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    story = Story(frigate, mosquitto, f"{topic_base}-nvr")
    settings = {
        "url": frigate.login_url,
        "username": "admin",
        "password": PASSWORD,
        "enabled": True,
        "topic_prefix": f"{topic_base}-nvr",
    }
    service = Service(
        tmp_path / "service", mosquitto.port, topic_base, settings={"frigate": settings}
    )
    async with service:
        await service.start()
        telling = asyncio.create_task(story.tell())
        for death in (*_DEATHS, "after_result", 2.0, "after_publish", 3.0):
            await live_and_die(service, death)
        await telling
        await service.start()
        wanted = set(story.ids)
        await until(lambda: wanted <= described(frigate), 120.0)
        log = service.log
    found = frigate.descriptions()
    api = make_api(frigate)
    for event_id in story.ids:
        assert found[event_id] == digest(await api.snapshot(event_id)), event_id
    assert "Traceback" not in log


async def live_and_die(service: Service, death: str | float) -> None:
    """One life, if none is on, and its end."""
    if not service.is_running:
        at = {"crash_at": death} if isinstance(death, str) else {}
        await service.start(is_awaited=False, **at)
    with suppress(TimeoutError):
        async with asyncio.timeout(8.0 if isinstance(death, str) else 3.0 + death):
            await service.ended()
    await service.kill()


def described(frigate: RealFrigate) -> set[str]:
    return {event_id for event_id, text in frigate.descriptions().items() if text}
