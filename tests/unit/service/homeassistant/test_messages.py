import json

from service.homeassistant.messages import component_messages, device_messages
from tests.support.discovery import EVERYTHING, FACTS, make_bridge, make_camera

MAX_PACKET_BYTES = 2_000_000  # of Mosquitto since 2.1


def test_device_is_one_message() -> None:
    device = make_camera()
    [(topic, payload)] = device_messages(device, "homeassistant", gone={}).items()
    assert topic == "homeassistant/device/moondream2mqtt_front_door/config"
    message = json.loads(payload)
    assert message["dev"] == device.about
    assert message["cmps"] == device.components
    assert message["o"] == {"name": "moondream2mqtt", "sw": "1.2.3"}


def test_component_that_is_gone_is_named_by_its_platform_alone() -> None:
    gone = {"count_cat": "sensor", "caption": "sensor"}  # the second is there again
    [payload] = device_messages(make_camera(), "ha", gone=gone).values()
    components = json.loads(payload)["cmps"]
    assert components["count_cat"] == {"p": "sensor"}
    assert components["caption"]["uniq_id"]


def test_each_component_is_a_message_of_its_own() -> None:
    device = make_camera()
    messages = component_messages(device, "homeassistant")
    assert len(messages) == len(device.components)
    topic = "homeassistant/sensor/moondream2mqtt_front_door/caption/config"
    message = json.loads(messages[topic])
    assert "p" not in message
    assert message["uniq_id"] == device.components["caption"]["uniq_id"]
    assert message["dev"] == device.about


def test_messages_are_the_same_from_run_to_run() -> None:
    first, second = (
        device_messages(make_camera(settings=EVERYTHING), "ha", gone={}) for _ in range(2)
    )
    assert first == second


def test_messages_pass_any_broker() -> None:
    devices = [make_bridge(FACTS), make_camera(settings=EVERYTHING)]
    sizes = [
        len(payload)
        for device in devices
        for payload in device_messages(device, "ha", gone={}).values()
    ]
    assert max(sizes) < MAX_PACKET_BYTES / 20
