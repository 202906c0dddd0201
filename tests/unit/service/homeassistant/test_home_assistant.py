"""Discovery held against Home Assistant's own schemas, and templates filled by Home Assistant.

What it takes is made by `make homeassistant-schema`; without it these tests skip.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import BaseModel

from broker.codec import encode
from schemas.camera import CameraSettings
from schemas.frame import Length, Priority
from schemas.job import JobStatus
from schemas.result import Answer, Box, DetectedObjects, ModelInfo, Result, ResultDocument
from schemas.status import (
    BridgeInfo,
    Gpu,
    GpuMemory,
    GpuUtilization,
    Health,
    HealthCheck,
    Metrics,
    ModelStatus,
    Stats,
)
from service.homeassistant.device import Component, Device
from service.homeassistant.messages import component_messages, device_messages
from tests.support.discovery import (
    EVERYTHING,
    FACTS,
    ODD_LABELS,
    HomeAssistantSchemas,
    Rendered,
    Rendering,
    all_devices,
    make_bridge,
    make_camera,
)

MAX_ATTRIBUTE_BYTES = 16_384  # of the recorder: more than that, and it keeps none
OWN_ATTRIBUTES = {  # what Home Assistant adds to ours
    "event_types": ["captioned"],
    "icon": "mdi:message-image",
    "friendly_name": "x" * 400,
}
MAX_STATE = 255
NOON = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


def make_document(**result: Any) -> ResultDocument:
    """A result as it is published."""
    values: dict[str, Any] = {
        "caption": 'Jemand sagt "Grüß Gott" – it\'s {{ fine }}',
        "short_caption": 'Jemand sagt "Grüß Gott"',
        "confidence": 0.853,
        "answers": (Answer(question="Is it raining?", answer="No", confidence=0.9),),
        "objects": (
            DetectedObjects(
                label="person", count=2, boxes=(Box(x_min=0, y_min=0, x_max=1, y_max=1),) * 2
            ),
        ),
        "processing_time": 2.31,
        "queue_time": 0.4,
        "model_info": ModelInfo(
            model="m",
            revision="r",
            device="cpu",
            camera_id="front_door",
            motion_intensity=0.7,
            priority=Priority.HIGH,
        ),
        **result,
    }
    return ResultDocument(
        job_id="job-1",
        camera_id="front_door",
        status=JobStatus.COMPLETED,
        result=Result(**values),
        error_message=None,
        timestamp=NOON,
        taken_at=NOON,
        location='Haustür "vorn"',
        metadata={"large": "x" * 8000},
    )


def failed() -> ResultDocument:
    update = {"result": None, "status": JobStatus.FAILED, "error_message": "no"}
    return make_document().model_copy(update=update)


def text(document: BaseModel | str) -> str:
    return document if isinstance(document, str) else encode(document).decode()


Shown = Callable[[Device, str, BaseModel | str], dict[str, str]]
Filled = Callable[[object, BaseModel], str]


@pytest.fixture
def fill(home_assistant: HomeAssistantSchemas) -> Filled:
    """What a template makes of a document; nothing must be logged."""

    def rendered(template: object, document: BaseModel) -> str:
        [found] = home_assistant.render(Rendering(str(template), text(document)))
        assert found.logged == ()
        return found.text

    return rendered


@pytest.fixture
def states(home_assistant: HomeAssistantSchemas) -> Shown:
    """What Home Assistant shows of the entities that follow a topic; nothing must be logged."""

    def shown(device: Device, topic: str, document: BaseModel | str) -> dict[str, str]:
        return _states(home_assistant, device, topic, document)

    return shown


def _states(
    home_assistant: HomeAssistantSchemas, device: Device, topic: str, document: BaseModel | str
) -> dict[str, str]:
    found = {
        key: each["val_tpl"]
        for key, each in device.components.items()
        if each.get("stat_t") == topic and "val_tpl" in each
    }
    wanted = [Rendering(str(template), text(document)) for template in found.values()]
    rendered = home_assistant.render(*wanted)
    assert [each.logged for each in rendered] == [()] * len(found)
    return {key: each.text for key, each in zip(found, rendered, strict=True)}


@pytest.fixture(scope="module")
def camera() -> Device:
    return make_camera(settings=EVERYTHING, is_in_file=False)


@pytest.mark.parametrize("base", ["moondream2mqtt", "Häuser/2 x'\"~"])
def test_every_discovery_message_is_accepted_without_a_word(
    base: str, home_assistant: HomeAssistantSchemas
) -> None:
    retained: list[dict[str, bytes]] = []
    for language in ("en", "de"):
        devices = all_devices(base, "de" if language == "de" else "en")
        gone = {"count_cat": "sensor"}
        by_device = [device_messages(each, "homeassistant", gone=gone) for each in devices]
        by_component = [component_messages(each, "homeassistant") for each in devices]
        forms = (by_device, by_component)
        retained += [{topic: each[topic] for each in form for topic in each} for form in forms]
    assert home_assistant.problems(*retained) == []


def test_what_is_wrong_is_found(home_assistant: HomeAssistantSchemas) -> None:
    """A check that finds nothing must be able to find something."""
    broken: list[Component] = [
        {"p": "sensor", "name": "no unique id", "stat_t": "a"},
        {"p": "sensor", "uniq_id": "1", "stat_t": "a", "mispelt": 1},
        {"p": "sensor", "uniq_id": "2", "stat_t": "a", "ent_cat": "config"},
        {"p": "sensor", "uniq_id": "3", "stat_t": "a", "dev_cla": "duration", "unit_of_meas": "kg"},
        {"p": "sensor", "uniq_id": "4", "stat_t": "a", "val_tpl": "{{ broken"},
        {"p": "text", "uniq_id": "5", "cmd_t": "a", "max": 500},
    ]
    for component in broken:
        device = Device("x", {"ids": ["x"], "sw": "1"}, {"key": component})
        messages = device_messages(device, "homeassistant", gone={})
        assert home_assistant.problems(messages), component


def test_states_of_a_caption(camera: Device, states: Shown) -> None:
    objects = tuple(
        DetectedObjects(label=label, count=number, boxes=())
        for number, label in enumerate(ODD_LABELS, start=1)
    )
    topic = "moondream2mqtt/front_door/caption"
    found = states(camera, topic, make_document(objects=objects))
    counts = [found.pop(key) for key in list(found) if key.startswith("count_")]
    assert counts == [str(number) for number in range(1, len(ODD_LABELS) + 1)]
    event = json.loads(found.pop("captioned"))
    assert event.pop("caption").startswith("Jemand")
    assert event == {
        "event_type": "captioned",
        "job_id": "job-1",
        "short_caption": 'Jemand sagt "Grüß Gott"',
        "priority": "high",
        "confidence": 0.853,
        "timestamp": "2026-01-01T12:00:00Z",
        "taken_at": "2026-01-01T12:00:00Z",
        "location": 'Haustür "vorn"',
    }
    assert found == {
        "caption": 'Jemand sagt "Grüß Gott"',
        "confidence": "85.3",
        "processing_time": "2.31",
        "motion_intensity": "70.0",
        "priority": "high",
        "last_seen": "2026-01-01T12:00:00Z",
    }


def test_a_caption_that_is_published_again_is_no_new_event(
    camera: Device, home_assistant: HomeAssistantSchemas
) -> None:
    """The broker had forgotten it; it comes live, and Home Assistant knows no better."""
    template, payload = str(camera.components["captioned"]["val_tpl"]), text(make_document())
    again, other = home_assistant.render(
        Rendering(template, payload, {"job_id": "job-1"}),
        Rendering(template, payload, {"job_id": "job-0"}),
    )
    assert again == Rendered("", ())
    assert json.loads(other.text)["job_id"] == "job-1"


def test_the_answer_none_is_not_unknown(camera: Device, states: Shown) -> None:
    document = make_document(caption="None", short_caption="None")
    assert states(camera, "moondream2mqtt/front_door/caption", document)["caption"] == "none"


def test_objects_that_were_not_found_or_not_asked_for_are_none(
    camera: Device, fill: Filled
) -> None:
    template = camera.components["count_person"]["val_tpl"]
    none = make_document(objects=(DetectedObjects(label="person", count=0, boxes=()),))
    assert [fill(template, each) for each in (none, make_document(objects=()))] == ["0", "0"]


@pytest.mark.parametrize("payload", ["", "{}", "[]", "null", "5", "x", '{"result": null}'])
def test_a_topic_without_a_result_is_unknown_without_a_word(
    camera: Device, payload: str, states: Shown
) -> None:
    """A forgotten camera's topic is cleared while its entities are still there."""
    found = states(camera, "moondream2mqtt/front_door/caption", payload)
    assert found.pop("captioned") == ""  # fires nothing
    assert set(found.values()) == {"None"}


def test_a_failed_job_is_no_caption(camera: Device, states: Shown) -> None:
    found = states(camera, "moondream2mqtt/front_door/caption", failed())
    assert set(found.values()) == {"None", ""}


def test_attributes_of_a_caption_are_chosen(camera: Device, fill: Filled) -> None:
    found = fill(camera.components["caption"]["json_attr_tpl"], make_document())
    assert json.loads(found) == {
        "caption": 'Jemand sagt "Grüß Gott" – it\'s {{ fine }}',
        "confidence": 0.853,
        "priority": "high",
        "motion_intensity": 0.7,
        "answers": [{"question": "Is it raining?", "answer": "No", "confidence": 0.9}],
        "objects": [{"label": "person", "count": 2}],
        "job_id": "job-1",
        "timestamp": "2026-01-01T12:00:00Z",
        "taken_at": "2026-01-01T12:00:00Z",
        "location": 'Haustür "vorn"',
    }


@pytest.mark.parametrize("character", ["x", "ü", "🚗", '"', "\x01", "\\", "\n"])
def test_attributes_stay_below_what_is_recorded(
    camera: Device, character: str, fill: Filled
) -> None:
    choices = {f"{character * 60}{number}": 0.0625 for number in range(16)}
    answer = Answer(
        question=character * 2000,
        answer=character * 5000,
        confidence=0.123456789,
        probabilities=choices,
    )
    document = make_document(
        caption=character * 100_000,
        short_caption=character * 255,
        answers=(answer,) * 16,
        objects=(DetectedObjects(label=character * 2000, count=1234567, boxes=()),) * 16,
    ).model_copy(update={"location": character * 256, "job_id": "x" * 64})
    templates = (
        camera.components["caption"]["json_attr_tpl"],
        camera.components["captioned"]["val_tpl"],
    )
    for template in templates:
        attributes = json.loads(fill(template, document)) | OWN_ATTRIBUTES
        assert attributes["caption"].startswith(character * 1000)
        assert len(json.dumps(attributes, ensure_ascii=False).encode()) < MAX_ATTRIBUTE_BYTES


def test_attributes_are_whole_as_long_as_they_can_be(camera: Device, fill: Filled) -> None:
    document = make_document(caption="word " * 1000, objects=(), answers=())
    found = fill(camera.components["caption"]["json_attr_tpl"], document)
    assert json.loads(found)["caption"] == "word " * 1000


def test_states_of_the_settings(camera: Device, states: Shown) -> None:
    settings = CameraSettings(
        prompt="ß" * 300,
        location='"Garten"',
        length=Length.SHORT,
        min_priority=Priority.HIGH,
        cooldown=0.5,
        min_intensity=0.25,
        newest_wins=True,
        enabled=False,
    )
    assert states(camera, "moondream2mqtt/front_door/settings", settings) == {
        "prompt": "ß" * MAX_STATE,
        "location": '"Garten"',
        "length": "short",
        "min_priority": "high",
        "enabled": "OFF",
        "newest_wins": "ON",
        "publish_image": "OFF",
        "cooldown": "0.5",
        "min_intensity": "0.25",
    }


def test_states_of_unset_settings_are_empty_and_not_none(camera: Device, states: Shown) -> None:
    found = states(camera, "moondream2mqtt/front_door/settings", CameraSettings())
    assert (found["prompt"], found["location"]) == ("", "")


@pytest.mark.parametrize("payload", ["", "{}", "null"])
def test_settings_that_are_gone_are_unknown_without_a_word(
    camera: Device, payload: str, states: Shown
) -> None:
    found = states(camera, "moondream2mqtt/front_door/settings", payload)
    assert set(found.values()) == {"", "None"}


def test_states_of_the_gpus(states: Shown) -> None:
    full = Gpu(
        id=0,
        name="RTX",
        memory=GpuMemory(total=8 << 30, used=2 << 30, free=6 << 30),
        temperature=61,
        utilization=GpuUtilization(gpu=97, memory=40),
        power=133.7,
    )
    silent = Gpu(
        id=1,
        name="L4",
        memory=GpuMemory(total=0, used=0, free=0),
        temperature=None,
        utilization=None,
        power=None,
    )
    metrics = Metrics(cpu=1, memory=1, device="cuda", gpus=(full, silent), loaded_models=())
    found = states(make_bridge(FACTS), "moondream2mqtt/bridge/metrics", metrics)
    assert list(found.values()) == ["97", "25.0", "61", "133.7", *["None"] * 4]
    lost = metrics.model_copy(update={"gpus": ()})
    found = states(make_bridge(FACTS), "moondream2mqtt/bridge/metrics", lost)
    assert set(found.values()) == {"None"}


def make_stats(**fields: Any) -> str:
    """Statistics as they are published."""
    values: dict[str, Any] = {
        "total_jobs": 9,
        "active_jobs": 1,
        "queue_size": 5,
        "max_concurrent_jobs": 8,
        "status_counts": {},
        "system_status": "running",
        "processing": True,
        "average_processing_time": 1.5,
        "webhook_success_rate": None,
        "captions_per_minute": 12.5,
        "queue_by_priority": {"critical": 1, "high": 2, "normal": 2},
        "latency": {},
        "dropped": {},
        "duplicates": {},
        "rejected": {},
        "preempted": 0,
        "connection": {},
        "uptime": 60,
        "since": NOON,
    }
    content = encode(Stats.model_validate(values | {"latency_overall": None} | fields))
    return json.dumps(json.loads(content) | fields)


def test_states_of_the_statistics(states: Shown) -> None:
    latency = {"p50": 1.2345, "p95": 4.5, "p99": 9.0}
    found = states(
        make_bridge(FACTS), "moondream2mqtt/bridge/stats", make_stats(latency_overall=latency)
    )
    assert found == {
        "queue_size": "5",
        "queue_critical": "1",
        "queue_high": "2",
        "queue_normal": "2",
        "queue_low": "0",
        "captions_per_minute": "12.5",
        "latency_p50": "1.2345",
        "latency_p95": "4.5",
        "processing": "ON",
    }


def test_latency_before_the_first_caption_is_unknown(states: Shown) -> None:
    found = states(make_bridge(FACTS), "moondream2mqtt/bridge/stats", make_stats(processing=False))
    assert (found["latency_p50"], found["processing"]) == ("None", "OFF")


def make_info(model: str) -> BridgeInfo:
    status = ModelStatus(name=model, revision="r", device="cpu", dtype="float32", state="ready")
    return BridgeInfo(
        version="1.2.3", instance="i", mqtt_version="5", model=status, limits={}, settings={}
    )


def test_states_of_the_model(states: Shown) -> None:
    bridge = make_bridge(FACTS)
    topic = "moondream2mqtt/bridge/info"
    for name in FACTS.models:
        assert states(bridge, topic, make_info(name)) == {
            "model_state": "ready",
            "model": name,
            "version": "1.2.3",
        }
    assert states(bridge, topic, make_info("another"))["model"] == "None"


def test_attributes_of_the_model_say_what_it_does(fill: Filled) -> None:
    template = make_bridge(FACTS).components["model_state"]["json_attr_tpl"]
    info = make_info("m")
    words = "downloading model: 43 % of 3.8 GB"
    loading = info.model.model_copy(update={"state": "loading", "message": words})
    found = json.loads(fill(template, info.model_copy(update={"model": loading})))
    assert found == {"message": words, "seconds_per_frame": None}
    ready = info.model.model_copy(update={"seconds_per_frame": 0.25})
    found = json.loads(fill(template, info.model_copy(update={"model": ready})))
    assert found == {"message": "", "seconds_per_frame": 0.25}


def test_a_model_is_ordered_by_its_name(home_assistant: HomeAssistantSchemas) -> None:
    model = make_bridge(FACTS).components["model"]
    wanted = Rendering(str(model["cmd_tpl"]), FACTS.models[1], attributes=None)
    [found] = home_assistant.render(wanted)
    assert json.loads(found.text) == {"model": FACTS.models[1]}


def test_states_of_health(states: Shown, fill: Filled) -> None:
    checks = {
        "broker": HealthCheck(status="healthy", message="connected"),
        "engine": HealthCheck(status="unhealthy", message='"x" ' * 200),
    }
    health = Health(status="unhealthy", checks=checks)
    bridge = make_bridge(FACTS)
    topic = "moondream2mqtt/bridge/health"
    assert states(bridge, topic, health) == {"problem": "ON"}
    assert states(bridge, topic, Health(status="healthy", checks={})) == {"problem": "OFF"}
    attributes = json.loads(fill(bridge.components["problem"]["json_attr_tpl"], health))
    assert attributes["status"] == "unhealthy"
    assert attributes["broker"] == "healthy: connected"
    assert len(attributes["engine"]) < MAX_STATE


@pytest.mark.parametrize("payload", ["", "{}", "null", "x"])
@pytest.mark.parametrize("name", ["info", "stats", "metrics", "health"])
def test_a_bridge_topic_without_a_document_is_unknown_without_a_word(
    name: str, payload: str, states: Shown
) -> None:
    found = states(make_bridge(FACTS), f"moondream2mqtt/bridge/{name}", payload)
    assert set(found.values()) == {"None"}


def test_an_update_has_no_nulls(states: Shown) -> None:
    update = '{"installed_version": "1", "latest_version": null, "release_url": null, "more": 1}'
    found = states(make_bridge(FACTS), "moondream2mqtt/bridge/update", update)
    assert json.loads(found["update"]) == {"installed_version": "1"}
