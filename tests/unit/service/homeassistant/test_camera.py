from typing import Any

import pytest

from schemas.camera import CameraSettings
from service.homeassistant.device import Device
from tests.support.discovery import EVERYTHING, ODD_LABELS, make_camera

SETTINGS = {
    "prompt",
    "location",
    "length",
    "min_priority",
    "enabled",
    "newest_wins",
    "publish_image",
    "cooldown",
    "min_intensity",
}


def settings(**fields: Any) -> CameraSettings:
    return CameraSettings.model_validate(fields)


def counts(device: Device) -> list[str]:
    return [key for key in device.components if key.startswith("count_")]


def test_camera_with_nothing_has_its_caption_and_its_settings() -> None:
    assert make_camera().components.keys() == SETTINGS | {
        "caption",
        "captioned",
        "confidence",
        "processing_time",
        "motion_intensity",
        "priority",
        "last_seen",
    }


def test_camera_with_everything_has_what_else_there_is() -> None:
    device = make_camera(settings=EVERYTHING, is_in_file=False)
    more = device.components.keys() - make_camera().components.keys()
    assert more == {"image", "describe", "forget", *counts(device)}
    assert len(counts(device)) == len(ODD_LABELS)


def test_camera_of_the_file_cannot_be_forgotten() -> None:
    assert "forget" not in make_camera(is_in_file=True).components


@pytest.mark.parametrize(
    ("camera_id", "location", "expected"),
    [
        ("front_door", None, "Front door"),
        ("front_door", "Haustür", "Haustür"),
        ("front_door", " \n ", "Front door"),
        ("Yard-2", None, "Yard-2"),
        ("___", None, "___"),
        ("x", "two\nlines", "two lines"),
    ],
)
def test_camera_is_named_by_its_location_or_its_id(
    camera_id: str, location: str | None, expected: str
) -> None:
    device = make_camera(camera_id, settings(location=location))
    assert device.about["name"] == expected


def test_camera_belongs_to_the_bridge() -> None:
    assert make_camera().about["via_device"] == "moondream2mqtt_bridge"
    other = make_camera(base="home/cams")
    assert other.about["via_device"] == f"{other.object_id.removesuffix('_front_door')}_bridge"


def test_every_entity_is_unavailable_with_the_service() -> None:
    components = make_camera(settings=EVERYTHING, is_in_file=False).components
    assert {each["avty_t"] for each in components.values()} == {"moondream2mqtt/bridge/state"}


def test_entity_ids_are_english_in_any_language() -> None:
    english, german = (make_camera("Yard-2_", language=each) for each in ("en", "de"))
    assert english.components["caption"]["def_ent_id"] == "sensor.yard_2_caption"
    assert [each["def_ent_id"] for each in english.components.values()] == [
        each["def_ent_id"] for each in german.components.values()
    ]
    assert english.components["caption"]["name"] != german.components["caption"]["name"]


def test_unique_ids_of_cameras_whose_names_continue_each_other_differ() -> None:
    tasks = [{"detect": each} for each in ("caption", "count x", "x", "last seen", "priority")]
    devices = [make_camera(each, settings(tasks=tasks)) for each in ("yard", "yard_count")]
    ids = [
        (each["p"], each["uniq_id"]) for device in devices for each in device.components.values()
    ]
    assert len(ids) == len(set(ids))


def test_a_label_that_is_detected_twice_is_one_entity() -> None:
    tasks = [{"detect": "person"}, {"detect": "person"}]
    assert counts(make_camera(settings=settings(tasks=tasks))) == ["count_person"]


def test_a_setting_is_set_on_its_own_topic() -> None:
    cooldown = make_camera().components["cooldown"]
    assert cooldown["cmd_t"] == "moondream2mqtt/front_door/set/cooldown"
    assert cooldown["stat_t"] == "moondream2mqtt/front_door/settings"
