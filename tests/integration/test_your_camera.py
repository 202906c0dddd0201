"""What `docs/how-to/your-camera.md` tells people to copy, with what each product publishes."""

import base64
import json
import re
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import yaml

from broker.embedded import EmbeddedBroker
from broker.topics import matches
from service.settings import Settings
from tests.docs.reference import ROOT
from tests.integration.test_requests import Asking
from tests.support.factories import make_image
from tests.support.quick_engine import digest
from tests.support.quick_service import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/foreign"
_PAGE = (ROOT / "docs/how-to/your-camera.md").read_text(encoding="utf-8")
_TIME = 1_767_268_800  # 2026-01-01T12:00:00Z


def entries() -> dict[str, dict[str, Any]]:
    """What is to be copied, by product."""
    parts = re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", _PAGE, re.MULTILINE | re.DOTALL)
    found: dict[str, dict[str, Any]] = {}
    for name, text in parts:
        for code in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL):
            content = yaml.safe_load(code)
            content["sources"] = [*found.get(name, {}).get("sources", []), *content["sources"]]
            found[name] = {**found.get(name, {}), **content}
    return found


ENTRIES = entries()


def raw(image: bytes) -> bytes:
    return image


def bare(image: bytes) -> bytes:
    return base64.b64encode(image)


def lines(image: bytes) -> bytes:
    return base64.encodebytes(image)


def uri(image: bytes) -> bytes:
    return b"data:image/jpeg;base64," + base64.b64encode(image)


def keyframe(image: bytes) -> bytes:
    """A Kerberos agent's message."""
    text = base64.b64encode(image).decode()
    value = {"timestamp": _TIME, "image": text}
    payload = {"action": "keyframe", "device_id": "abc", "value": value}
    return json.dumps({"mid": "1", "timestamp": _TIME, "payload": payload}).encode()


def alert(image: bytes) -> bytes:
    text = base64.b64encode(image).decode()
    return json.dumps({"event": "motion", "image": text, "time": _TIME * 1000}).encode()


def report(image: bytes) -> bytes:
    text = base64.b64encode(image).decode()
    return json.dumps({"files": [{"content": text}], "ts": "2026-01-01T12:00:00Z"}).encode()


Form = Callable[[bytes], bytes]
#: Product, topic, payload, the camera it becomes.
SENT: list[tuple[str, str, Form, str]] = [
    ("Frigate", "frigate/front_door_2/person/snapshot", raw, "front_door_2"),
    ("ring-mqtt", "ring/6f0c/camera/a1b2c3d4e5f6/snapshot/image", raw, "front_door"),
    ("ring-mqtt", "ring/6f0c/camera/0cae7d000000/snapshot/image", raw, "0cae7d000000"),
    ("Viseron", "viseron/image/camera_1/image", raw, "camera_1"),
    ("docker-wyze-bridge", "wyzebridge/north-cam/image", raw, "north-cam"),
    ("thingino", "thingino/hall/photo", raw, "hall"),
    ("yi-hack", "yicam/motion_detection_image", raw, "porch"),
    ("Xiaomi-Dafang-Hacks", "myhome/dafang/motion/snapshot/image", raw, "dafang"),
    ("ESP32-CAM", "homeassistant/sensor/ESP-CAM_1/still", raw, "ESP-CAM_1"),
    ("ESP32-CAM", "esp32/attic/picture", uri, "attic"),
    ("ESP32-CAM", "esp32/m5 timer/picture", bare, "m5_timer"),
    ("neolink", "neolink/driveway/status/preview", bare, "driveway"),
    ("Blue Iris", "BlueIris/Front Door/alert-image-b64", lines, "Front_Door"),
    ("homebridge-unifi-protect", "unifi/protect/FCECDA000001/snapshot", uri, "garage"),
    ("Kerberos", "kerberos/keyframes/hubkey", keyframe, "yard"),
    ("motionEye and motion", "motion/garage-2/picture", raw, "garage-2"),
    ("Scripts", "scripts/shed/alert", alert, "shed"),
    ("Scripts", "lab/bench.2/report", report, "bench_2"),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "scratch").mkdir()
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": BASE},
        data_dir=folder / "data",
        sources=[
            *(each for entry in ENTRIES.values() for each in entry["sources"]),
            {"topic": "home/+/{camera}/image"},  # takes in what the service publishes
        ],
        cameras={"mirror": {"publish_image": True}},
    )
    async with Asking(mosquitto.port, BASE) as talk, serving(settings, folder / "scratch"):
        await talk.until_it_listens()
        yield talk


async def test_every_entry_of_the_page_is_tried() -> None:
    assert {product for product, *_ in SENT} == ENTRIES.keys()


@pytest.mark.parametrize("product", ENTRIES)
async def test_every_line_of_an_entry_is_tried(product: str) -> None:
    sent = [topic for name, topic, *_ in SENT if name == product]
    for source in ENTRIES[product]["sources"]:
        pattern = source["topic"].replace("{camera}", "+")
        assert any(matches(topic, pattern) for topic in sent), pattern


@pytest.mark.parametrize("product", ENTRIES)
async def test_page_links_to_each_entry(product: str) -> None:
    anchor = product.lower().replace(" ", "-")
    assert f"](#{anchor})" in _PAGE.split("\n## ")[0]


@pytest.mark.parametrize("product", ENTRIES)
async def test_entry_is_valid_by_itself(product: str) -> None:
    Settings(**ENTRIES[product])


@pytest.mark.parametrize(("product", "topic", "form", "camera_id"), SENT)
async def test_picture_of_each_product_is_captioned(
    talk: Asking, product: str, topic: str, form: Form, camera_id: str
) -> None:
    seed = [each[1] for each in SENT].index(topic)
    image = make_image(seed)
    await talk.send("", form(image), topic=topic)
    document = (await talk.wait_for(f"{camera_id}/caption", status="completed")).json
    assert document["result"]["caption"] == digest(image)
    if form in {alert, report, keyframe}:
        assert document["taken_at"] == "2026-01-01T12:00:00Z"
    if product == "Blue Iris":
        assert document["location"] == "Front Door"


@pytest.mark.parametrize(("is_before", "seed"), [(True, 90), (False, 91)])
async def test_what_is_said_of_a_picture_beside_it_joins_its_metadata(
    talk: Asking, is_before: bool, seed: int
) -> None:
    """As ring-mqtt does; Viseron retains both, which is no matter for what comes live."""
    said = {"timestamp": _TIME, "type": "motion"}
    camera = f"ring/6f0c/camera/yard-{seed}/snapshot"
    text = json.dumps(said).encode()
    messages = {f"{camera}/image": make_image(seed), f"{camera}/attributes": text}
    for topic in sorted(messages, reverse=not is_before):  # attributes, image
        await talk.send("", messages[topic], topic=topic)
    document = (await talk.wait_for(f"yard-{seed}/caption", status="completed")).json
    assert document["metadata"] == {"attributes": said}


async def test_picture_that_the_service_publishes_is_no_frame(talk: Asking) -> None:
    """Or each would be captioned and published again, for ever."""
    await talk.send("", make_image(80), topic=f"{BASE}/mirror/image")
    await talk.send("", make_image(81), topic="home/other/mirror/image")
    document = (await talk.wait_for("mirror/caption", status="completed")).json
    assert document["result"]["caption"] == digest(make_image(81))


async def test_json_without_a_picture_says_where_it_was_looked_for(talk: Asking) -> None:
    await talk.send("", b'{"image": null}', topic="scripts/loft/alert")
    rejected = await talk.wait_for("loft/status", status="rejected")
    assert rejected.json["error"]["code"] == "not_an_image"
    assert "payload.value.image" in rejected.json["error"]["message"]


async def test_address_in_json_is_held_against_the_hosts_that_are_allowed(talk: Asking) -> None:
    payload = b'{"image": "http://10.0.0.9/1.jpg"}'
    await talk.send("", payload, topic="scripts/cellar/alert")
    rejected = await talk.wait_for("cellar/status", status="rejected")
    assert rejected.json["error"]["code"] == "url_refused"
