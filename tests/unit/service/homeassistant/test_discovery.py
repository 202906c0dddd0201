"""What is published follows what is wanted, whatever happens on the way."""

import asyncio
import json
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from broker.state import ConnectionState
from schemas.outbox import Channel
from service.homeassistant.plan import MIGRATE
from tests.unit.service.homeassistant.bench import (
    FACTS,
    QUICK,
    SOON_S,
    RetainingBroker,
    living,
)

BRIDGE = "moondream2mqtt_bridge"
CAMERAS: dict[str, Any] = {"cameras": {"front": {"location": "Front Door"}, "back": {}}}
COMPONENTS: dict[str, Any] = {"homeassistant": {"discovery": "components"}}
OFF: dict[str, Any] = {"homeassistant": {"enabled": False}}


async def until(is_so: Any) -> None:
    async with asyncio.timeout(SOON_S):
        while not is_so():  # noqa: ASYNC110 - polls a real part
            await asyncio.sleep(0.005)


def devices(broker: RetainingBroker) -> set[str]:
    """The object ids of what is retained."""
    found = set()
    for topic in broker.retained:
        levels = topic.split("/")
        found.add(levels[-2] if levels[-3] == "device" else levels[-3])
    return found


async def test_bridge_comes_first_and_cameras_come_and_go(tmp_path: Path) -> None:
    broker = RetainingBroker()
    async with living(tmp_path, broker, content=CAMERAS) as life:
        await life.settled()
        order = [topic.split("/")[-2] for topic, _ in broker.heard]
        assert order == [BRIDGE, "moondream2mqtt_back", "moondream2mqtt_front"]
        life.cameras.admit("shed", 1.0)
        await life.settled()
        assert "moondream2mqtt_shed" in devices(broker)
        await life.cameras.forget("shed")
        await life.settled()
        assert devices(broker) == set(order)
        assert life.published.num_rows == [1, 2, 1, 1]


async def test_what_changes_nothing_that_is_shown_is_not_published(tmp_path: Path) -> None:
    broker = RetainingBroker()
    async with living(tmp_path, broker, content=CAMERAS) as life:
        await life.settled()
        await life.cameras.change("front", {"cooldown": 9})
        await asyncio.sleep(0.1)
        assert life.published.num_rows == [1, 2]
        await life.cameras.change("front", {"location": "Gate"})
        await life.settled()
        assert json.loads(broker.heard_on("front")[-1])["dev"]["name"] == "Gate"
    async with living(tmp_path, broker, content=CAMERAS) as life:
        await life.settled()
        await asyncio.sleep(0.1)
        assert life.published.num_rows == []


async def test_component_that_is_gone_stays_named_and_can_come_back(tmp_path: Path) -> None:
    broker = RetainingBroker()
    shown: dict[str, Any] = {"cameras": {"front": {"publish_image": True}}}
    async with living(tmp_path, broker, content=shown) as life:
        await life.settled()
    for _ in range(2):
        async with living(tmp_path, broker, content=CAMERAS) as life:
            await life.settled()
            found = json.loads(broker.heard_on("front")[-1])["cmps"]["image"]
            assert found == {"p": "image"}
            await life.cameras.change("front", {"location": "Gate"})
            await life.settled()
            assert json.loads(broker.heard_on("front")[-1])["cmps"]["image"] == {"p": "image"}
    async with living(tmp_path, broker, content=shown) as life:
        await life.settled()
        assert len(json.loads(broker.heard_on("front")[-1])["cmps"]["image"]) > 1


async def test_components_that_are_gone_are_bounded_and_the_newest_are_named(
    tmp_path: Path,
) -> None:
    broker = RetainingBroker()
    async with living(tmp_path, broker, content=CAMERAS) as life:
        for start in range(0, 150, 15):
            labels = [{"detect": f"thing {number}"} for number in range(start, start + 15)]
            await life.cameras.change("front", {"tasks": labels})
            await life.settled()
        await life.cameras.change("front", {"tasks": None})
        await life.settled()
    found = json.loads(broker.heard_on("front")[-1])["cmps"]
    gone = {key for key, component in found.items() if component == {"p": "sensor"}}
    assert len(gone) == 100
    assert gone >= {f"count_thing_{number}" for number in range(60, 150)}


async def test_bridge_follows_its_facts(tmp_path: Path) -> None:
    broker = RetainingBroker()
    async with living(tmp_path, broker) as life:
        await life.settled()
        life.wanted.facts = replace(FACTS, gpus=("Some GPU",))
        life.discovery.look_at_bridge()
        await life.settled()
        assert "gpu_0_load" in json.loads(broker.heard_on(BRIDGE)[-1])["cmps"]


ORDERS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "first start": ({}, CAMERAS),
    "camera left the file": ({"max_cameras": 2, **CAMERAS}, {"cameras": {"front": {}}}),
    "other language": (CAMERAS, {**CAMERAS, "homeassistant": {"language": "de"}}),
    "switched off": (CAMERAS, {**CAMERAS, **OFF}),
    "components switched off": ({**CAMERAS, **COMPONENTS}, {**CAMERAS, **OFF}),
    "other prefix": (CAMERAS, {**CAMERAS, "homeassistant": {"discovery_prefix": "ha"}}),
    "to a device": ({**CAMERAS, **COMPONENTS}, CAMERAS),
    "to components": (CAMERAS, {**CAMERAS, **COMPONENTS}),
    "other base topic": (CAMERAS, {**CAMERAS, "mqtt": {"base_topic": "home/cameras"}}),
}


@pytest.mark.parametrize("is_committed", [False, True])
@pytest.mark.parametrize("order", ORDERS)
async def test_killed_at_any_transaction_the_next_start_finishes_it(
    tmp_path: Path, order: str, is_committed: bool
) -> None:
    before, after = ORDERS[order]
    for number in range(1, 20):
        folder, broker = tmp_path / str(number), RetainingBroker()
        folder.mkdir()
        if before:
            async with living(folder, broker, content=before) as life:
                await life.settled()
        num_heard = len(broker.heard)
        async with living(
            folder, broker, dies_at=number, is_committed=is_committed, content=after
        ) as life:
            dying = asyncio.create_task(life.published.has_died.wait())
            settling = asyncio.create_task(life.settled())
            await asyncio.wait([dying, settling], return_when=asyncio.FIRST_COMPLETED)
            has_died = life.published.has_died.is_set()
            for task in (dying, settling):
                task.cancel()
        async with living(folder, broker, content=after) as life:
            await life.settled()
            assert broker.retained == life.all_wanted()
        _check_order(broker.heard[num_heard:])
        if not has_died:
            assert number > 1
            return
    pytest.fail("there were more transactions")


def _check_order(heard: list[tuple[str, bytes]]) -> None:
    """An entity is let go of before it is taken over, and its old topic is cleared after that.

    What was sent shortly before it was killed comes again, in its order.
    """
    letting_go = {topic for topic, payload in heard if payload == MIGRATE}
    backwards = heard[::-1]
    for topic in letting_go:
        first = heard.index((topic, MIGRATE))
        cleared = len(heard) - 1 - backwards.index((topic, b""))
        object_id = topic.split("/")[-2 if "/device/" in topic else -3]
        new = [
            number
            for number, (other, payload) in enumerate(heard)
            if object_id in other and other not in letting_go and payload
        ]
        assert first < min(new)
        assert max(new) < cleared


async def test_birth_messages_are_answered_together_and_seldom(tmp_path: Path) -> None:
    broker = RetainingBroker()
    pace = replace(QUICK, renewal=0.6)
    async with living(tmp_path, broker, pace=pace, content=CAMERAS) as life:
        await life.settled()
        broker.heard.clear()
        broker.retained.clear()
        for _ in range(1000):
            life.discovery.greet()
        await until(lambda: len(broker.heard) == 3)
        assert broker.retained == life.all_wanted()
        began = time.monotonic()
        for _ in range(10):
            life.discovery.greet()
            await asyncio.sleep(0.01)
        assert len(broker.heard) == 3
        await until(lambda: len(broker.heard) == 6)
        assert time.monotonic() - began > 0.4
        assert life.published.num_rows == [1, 2, 1, 2, 1, 2]


async def test_birth_messages_cost_nothing(tmp_path: Path) -> None:
    async with living(tmp_path, RetainingBroker(), content=CAMERAS) as life:
        began = time.process_time()
        for _ in range(10_000):
            life.discovery.greet()
        assert time.process_time() - began < 0.5


@pytest.mark.parametrize(("session_present", "is_soon"), [(False, True), (True, False)])
async def test_broker_that_knew_us_is_told_again_only_now_and_then(
    tmp_path: Path, session_present: bool, is_soon: bool
) -> None:
    broker = RetainingBroker()
    state = ConnectionState(is_connected=True, session_present=session_present)
    async with living(tmp_path, broker, content=CAMERAS) as life:
        await life.settled()
        broker.heard.clear()
        life.discovery.connected(state)
        await until(lambda: len(broker.heard) == 3)  # the first since the start
        life.discovery.connected(state)
        await asyncio.sleep(0.4)
        assert len(broker.heard) == (6 if is_soon else 3)


async def test_refusing_broker_is_asked_once_and_seldom_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = RetainingBroker(refused=("homeassistant/",))
    cameras: dict[str, Any] = {f"camera-{number}": {} for number in range(300)}
    content: dict[str, Any] = {"cameras": cameras, "max_cameras": 300}
    async with living(tmp_path, broker, content=content) as life:
        began = time.monotonic()
        await until(lambda: broker.num_refused == 3)
        assert time.monotonic() - began > 0.2 + 0.4
        life.discovery.greet()
        told = [each for each in caplog.records if "homeassistant.enabled" in each.getMessage()]
        assert len(told) == 1
        assert "mosquitto/acl" in told[0].getMessage()
        assert told[0].levelno == logging.WARNING
        broker.refused = ()
        await life.settled()
        assert len(devices(broker)) == 301


async def test_broker_that_refused_hears_nothing_of_what_is_switched_off(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = RetainingBroker(refused=("homeassistant/",))
    async with living(tmp_path, broker, pace=replace(QUICK, refused=60.0), content=CAMERAS) as life:
        await until(lambda: "homeassistant.enabled" in caplog.text)
        assert await life.published.devices() == []
        while await life.store.outbox.pending_count(Channel.MQTT):  # noqa: ASYNC110 - polls a store
            await asyncio.sleep(0.01)
    num_refused = broker.num_refused
    async with living(tmp_path, broker, content={**CAMERAS, **OFF}) as life:
        await life.settled()
        await asyncio.sleep(0.3)
    assert broker.num_refused == num_refused


async def test_one_refused_message_does_not_keep_the_others_back(tmp_path: Path) -> None:
    broker = RetainingBroker(refused=("_camera-7/",))
    cameras: dict[str, Any] = {f"camera-{number}": {} for number in range(100)}
    async with living(tmp_path, broker, content={"cameras": cameras}) as life:
        await until(lambda: len(devices(broker)) == 100)
        async with asyncio.timeout(SOON_S):
            while "moondream2mqtt_camera-7" in await life.published.devices():  # noqa: ASYNC110 - polls
                await asyncio.sleep(0.01)
        assert len(life.letters.written) == broker.num_refused == 1
        broker.refused = ()
        await life.cameras.change("camera-7", {"location": "Gate"})
        await life.settled()


async def test_message_that_left_the_outbox_unsent_is_published_all_the_same(
    tmp_path: Path,
) -> None:
    broker = RetainingBroker()
    async with living(tmp_path, broker, content=CAMERAS) as life:
        await life.settled()
        send = broker.send
        broker.send = lambda message: asyncio.get_running_loop().create_future()  # type: ignore[method-assign]
        await life.cameras.change("front", {"location": "Gate"})
        await until(lambda: len(life.published.num_rows) == 3)
        waiting = await life.store.outbox.oldest(Channel.MQTT, None, 10)
        await life.store.outbox.sent([message_id for message_id, _ in waiting])
        broker.send = send  # type: ignore[method-assign]
        await life.settled()
        assert json.loads(broker.heard_on("front")[-1])["dev"]["name"] == "Gate"


async def test_device_that_cannot_be_made_is_left_out(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = RetainingBroker()
    async with living(tmp_path, broker, content=CAMERAS) as life:
        broken = life.cameras.get("front")
        assert broken is not None
        broken.settings = None  # type: ignore[assignment]
        await until(lambda: len(devices(broker)) == 2)
        assert any(each.exc_info for each in caplog.records)
        assert devices(broker) == {BRIDGE, "moondream2mqtt_back"}


async def test_many_cameras_that_change_at_once_hold_up_nobody(tmp_path: Path) -> None:
    broker = RetainingBroker()
    cameras: dict[str, Any] = {f"camera-{number}": {} for number in range(256)}
    async with living(tmp_path, broker, content={"cameras": cameras}) as life:
        await life.settled()
        watching = asyncio.create_task(_longest_turns())
        life.wanted.facts = replace(FACTS, version="1.2.4")
        for camera_id in cameras:
            life.discovery.look_at_camera(camera_id)
        life.discovery.look_at_bridge()
        await until(lambda: len(broker.heard) == 2 * 257)
        watching.cancel()
        work, clock = await watching
        assert work < 0.05
        assert clock < 1  # the machine may do something else meanwhile
        assert len(life.published.num_rows) == 2 * (1 + 4 + 1)
        assert max(life.published.num_rows) <= 64


async def _longest_turns() -> tuple[float, float]:
    """Of what comes between two looks: seconds of a core, and by the clock."""
    work = clock = 0.0
    while True:
        worked, began = time.thread_time(), time.monotonic()
        try:
            await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            return work, clock
        work = max(work, time.thread_time() - worked)
        clock = max(clock, time.monotonic() - began)
