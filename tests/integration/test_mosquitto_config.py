"""The configuration in `mosquitto/`: it starts, and lets everyone do what is theirs and no more."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.embedded import BrokerProgram
from broker.topics import TABLE, Topics
from schemas.camera import CameraSettings
from schemas.requests.bridge import QUEUE_STATS
from service.commands.ask import ask
from service.errors import ServiceError
from service.homeassistant.bridge import BridgeFacts, bridge_device
from service.homeassistant.camera import camera_device
from service.homeassistant.words import Words
from service.settings import MqttSettings, Settings
from tests.support.factories import make_image
from tests.support.mosquitto import mosquitto_passwd_or_skip
from tests.support.quick_service import serving

FOLDER = Path(__file__).resolve().parents[2] / "mosquitto"
ACCOUNTS = ("moondream2mqtt", "homeassistant", "control", "front", "back")
TOPICS = Topics("moondream2mqtt")
STATUS = TOPICS.status("front")


@pytest.fixture
def accounts(tmp_path: Path) -> None:
    passwd = mosquitto_passwd_or_skip()
    (tmp_path / "passwd").touch(0o600)
    for account in ACCOUNTS:
        subprocess.run([passwd, "-b", tmp_path / "passwd", account, "secret"], check=True)


@pytest.fixture
async def ports(
    mosquitto_program: BrokerProgram, tmp_path: Path, accounts: None
) -> AsyncIterator[tuple[int, int]]:
    """The port of the service and the port of everyone else."""
    shutil.copy(FOLDER / "acl", tmp_path)
    service_port, port = _free_ports()
    text = (FOLDER / "mosquitto.conf").read_text(encoding="utf-8")
    text = text.replace("/mosquitto/config", str(tmp_path))
    text = text.replace("/mosquitto/data", str(tmp_path))
    text = text.replace("listener 1883", f"listener {service_port} 127.0.0.1")
    text = text.replace("listener 1884", f"listener {port} 127.0.0.1")
    if os.geteuid() == 0:
        text += "user root\n"
    (tmp_path / "mosquitto.conf").write_text(text, encoding="utf-8")
    process = await asyncio.create_subprocess_exec(
        *mosquitto_program.command, tmp_path / "mosquitto.conf", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        await _answers(service_port)
        yield service_port, port
    finally:
        process.terminate()
        await process.wait()


def _free_ports() -> tuple[int, int]:
    with socket.socket() as first, socket.socket() as second:
        first.bind(("127.0.0.1", 0))
        second.bind(("127.0.0.1", 0))
        return first.getsockname()[1], second.getsockname()[1]


async def _answers(port: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return


def client(port: int, account: str) -> aiomqtt.Client:
    return aiomqtt.Client("127.0.0.1", port, username=account, password="secret")  # noqa: S106


async def arrives(reader: tuple[int, str], writer: tuple[int, str], topic: str) -> bool:
    """Whether `writer` can publish on a topic so that `reader` gets it."""
    async with client(*reader) as receiver, client(*writer) as sender:
        await receiver.subscribe(topic, qos=1)
        await sender.publish(topic, b"x", qos=1)
        try:
            async with asyncio.timeout(0.3):
                await anext(aiter(receiver.messages))
        except TimeoutError:
            return False
        return True


async def test_nobody_gets_in_without_an_account(ports: tuple[int, int]) -> None:
    for port in ports:
        with pytest.raises(aiomqtt.MqttError):
            async with aiomqtt.Client("127.0.0.1", port):
                pass


async def test_frames_of_a_camera_reach_the_service_and_nobody_else(
    ports: tuple[int, int],
) -> None:
    service, others = ports
    topic = TOPICS.frame("front")
    assert await arrives((service, "moondream2mqtt"), (others, "front"), topic)
    assert not await arrives((others, "homeassistant"), (others, "front"), topic)
    assert not await arrives((others, "back"), (others, "front"), topic)


async def test_camera_cannot_send_frames_for_another(ports: tuple[int, int]) -> None:
    service, others = ports
    reader = (service, "moondream2mqtt")
    assert not await arrives(reader, (others, "front"), TOPICS.frame("back"))


@pytest.mark.parametrize("name", [spec.name for spec in TABLE if spec.direction == "out"])
async def test_what_the_service_publishes_reaches_the_reader(
    ports: tuple[int, int], name: str
) -> None:
    service, others = ports
    spec = next(spec for spec in TABLE if spec.name == name)
    topic = spec.topic_filter(TOPICS.base, "front").replace("#", "job/get").replace("+", "x")
    for reader in ("homeassistant", "control"):
        assert await arrives((others, reader), (service, "moondream2mqtt"), topic)
    assert not await arrives((others, "homeassistant"), (others, "front"), topic)
    assert not await arrives((others, "homeassistant"), (others, "control"), topic)


#: And whether Home Assistant's entities give such an order.
ORDERS = {
    TOPICS.request("queue/clear"): True,
    TOPICS.request("queue/cleanup"): False,
    TOPICS.request("caption"): False,
    f"{TOPICS.base}/front/set/enabled": True,
}


@pytest.mark.parametrize("topic", ORDERS)
async def test_only_control_gives_orders_and_home_assistant_those_of_its_entities(
    ports: tuple[int, int], topic: str
) -> None:
    service, others = ports
    reader = (service, "moondream2mqtt")
    assert await arrives(reader, (others, "control"), topic)
    assert not await arrives(reader, (others, "front"), topic)
    assert await arrives(reader, (others, "homeassistant"), topic) is ORDERS[topic]


async def test_entities_can_order_what_they_order(ports: tuple[int, int]) -> None:
    service, others = ports
    facts = BridgeFacts("1.2.3", gpus=("GPU",), models=("m",), check_updates=True)
    words = Words("en")
    settings = CameraSettings(publish_image=True)
    devices = (
        bridge_device(TOPICS, words, facts),
        camera_device(TOPICS, words, "front", settings, version="1.2.3", is_in_file=False),
    )
    ordered = {
        str(component["cmd_t"])
        for device in devices
        for component in device.components.values()
        if "cmd_t" in component
    }
    assert len(ordered) > 5
    async with client(service, "moondream2mqtt") as receiver:
        await receiver.subscribe([(topic, 1) for topic in ordered])
        async with client(others, "homeassistant") as sender:
            for topic in ordered:
                await sender.publish(topic, b"x", qos=1)
        async with asyncio.timeout(10):
            async for message in receiver.messages:
                ordered.discard(str(message.topic))
                if not ordered:
                    break


@pytest.mark.parametrize("form", ["device", "components"])
async def test_discovery_reaches_home_assistant_and_nobody_else_publishes_it(
    ports: tuple[int, int], form: str
) -> None:
    service, others = ports
    middle = "device/a_front" if form == "device" else "sensor/a_front/caption"
    topic, status = f"homeassistant/{middle}/config", "homeassistant/status"
    assert await arrives((others, "homeassistant"), (service, "moondream2mqtt"), topic)
    assert await arrives((service, "moondream2mqtt"), (others, "homeassistant"), status)
    for account in ("front", "control"):
        assert not await arrives((others, "homeassistant"), (others, account), topic)
    assert not await arrives((service, "moondream2mqtt"), (others, "front"), status)


async def test_request_is_read_by_the_service_only(ports: tuple[int, int]) -> None:
    """It can hold a picture."""
    _, others = ports
    topic = TOPICS.request("caption")
    for account in ("homeassistant", "front"):
        assert not await arrives((others, account), (others, "control"), topic)


async def test_answer_is_read_by_control_and_not_by_a_camera(ports: tuple[int, int]) -> None:
    service, others = ports
    for topic in (TOPICS.reply("1"), TOPICS.response("job/get")):
        assert await arrives((others, "control"), (service, "moondream2mqtt"), topic)
        assert not await arrives((others, "front"), (service, "moondream2mqtt"), topic)
        assert not await arrives((others, "control"), (others, "front"), topic)


async def test_control_sees_no_frame_and_sends_none(ports: tuple[int, int]) -> None:
    service, others = ports
    topic = TOPICS.frame("front")
    assert not await arrives((others, "control"), (others, "front"), topic)
    assert not await arrives((service, "moondream2mqtt"), (others, "control"), topic)


@pytest.mark.timeout(120)
async def test_control_is_answered_by_a_service(ports: tuple[int, int], tmp_path: Path) -> None:
    service, others = ports
    account = {"username": "control", "password": "secret"}
    mqtt = MqttSettings(port=others, **account)
    async with serving(service_settings(service, tmp_path), tmp_path):
        for protocol in ("5", "3.1.1"):
            spoken = mqtt.model_copy(update={"protocol": protocol})
            assert (await ask(spoken, QUEUE_STATS, {}, timeout_s=20))["queue_size"] == 0
        camera = mqtt.model_copy(update={"username": "front"})
        with pytest.raises(ServiceError, match="no service is online"):
            await ask(camera, QUEUE_STATS, {}, timeout_s=1)


async def test_response_reaches_the_camera_that_asked(ports: tuple[int, int]) -> None:
    service, others = ports
    writer = (service, "moondream2mqtt")
    topic = f"{TOPICS.base}/response/front/1"
    assert await arrives((others, "front"), writer, topic)
    assert not await arrives((others, "back"), writer, topic)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("camera_id", ["back", "front"])
async def test_frame_is_answered_on_a_response_topic_of_its_own_camera_only(
    ports: tuple[int, int], tmp_path: Path, camera_id: str
) -> None:
    service, others = ports
    topic = f"{TOPICS.base}/response/{camera_id}/1"
    async with (
        serving(service_settings(service, tmp_path), tmp_path),
        client(others, "homeassistant") as reader,
        aiomqtt.Client(
            "127.0.0.1",
            others,
            username="front",
            password="secret",  # noqa: S106
            protocol=aiomqtt.ProtocolVersion.V5,
        ) as camera,
    ):
        for each in ("front/status", "response/#", "bridge/log"):
            await reader.subscribe(f"{TOPICS.base}/{each}", qos=1)
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        properties.ResponseTopic = topic
        await camera.publish(TOPICS.frame("front"), make_image(), qos=1, properties=properties)
        heard = await everything_about_it(reader, answer=topic if camera_id == "front" else None)
    assert [each["status"] for each in heard[STATUS]] == ["queued", "processing", "completed"]
    if camera_id == "front":
        assert [each["status"] for each in heard[topic]] == ["completed"]
        return
    assert not any(each.startswith(f"{TOPICS.base}/response") for each in heard)
    [line] = heard[TOPICS.bridge("log")]
    assert line["code"] == "response_topic_refused"
    assert topic in line["message"]


def service_settings(port: int, folder: Path) -> Settings:
    account = {"username": "moondream2mqtt", "password": "secret"}
    content: dict[str, Any] = {"mqtt": {"port": port, **account}, "data_dir": folder / "data"}
    return Settings(**content)


async def everything_about_it(
    reader: aiomqtt.Client, *, answer: str | None
) -> dict[str, list[dict[str, Any]]]:
    """What is said until the frame has ended and been answered, and a moment longer."""
    heard: dict[str, list[dict[str, Any]]] = defaultdict(list)
    with suppress(TimeoutError):
        async with asyncio.timeout(40) as limit:
            async for message in reader.messages:
                assert isinstance(message.payload, bytes)
                heard[str(message.topic)].append(json.loads(message.payload))
                has_ended = any(each["status"] == "completed" for each in heard[STATUS])
                if has_ended and (answer is None or answer in heard):
                    limit.reschedule(asyncio.get_running_loop().time() + 1.0)
    return heard


async def test_readme_has_a_reason_for_every_line() -> None:
    reasons = (FOLDER / "README.md").read_text(encoding="utf-8")
    lines = (FOLDER / "mosquitto.conf").read_text(encoding="utf-8").splitlines()
    options = {line.split()[0] for line in lines if line and not line.startswith("#")}
    assert options
    assert [option for option in sorted(options) if f"`{option}" not in reasons] == []
