"""Whatever is accepted can be computed with, stored and sent."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from schemas.camera import CameraSettings
from schemas.frame import FrameOptions
from service.configuration import load_settings
from service.errors import ConfigurationError
from service.settings import Settings
from service.trigger_settings import ValueAt
from tests.support.setting_bounds import content_of, every_leaf, kinds_of, numerics, numerics_of

NUMBERS = {each.path: each for each in numerics()}
TEXTS = [
    path for path, field in every_leaf() if {str, Path, SecretStr} & set(kinds_of(field.annotation))
]
#: Free words for people, told with the frame; the model's own limits hold for the others.
PROSE = {f"cameras.<id>.{name}" for name in ("location", "prompt", "webhook_url", "snapshot_url")}


def is_refused(path: str, value: Any) -> bool:
    try:
        Settings(**content_of(path, value))
    except ValidationError:
        return True
    return False


def test_walk_finds_the_settings() -> None:
    assert {"mqtt.port", "model.slots", "cameras.<id>.cooldown", "stats_interval"} <= set(NUMBERS)
    assert {"mqtt.tls.ca_file", "fetch.allow_hosts", "sources[].topic", "data_dir"} <= set(TEXTS)


@pytest.mark.parametrize("path", NUMBERS)
def test_every_number_has_a_finite_range_and_nothing_beyond(path: str) -> None:
    number = NUMBERS[path]
    assert math.isfinite(number.least), "has no least value"
    assert math.isfinite(number.greatest), "has no greatest value"
    assert not is_refused(path, number.least)
    assert not is_refused(path, number.greatest)
    beyond = (
        [number.least - 1, number.greatest + 1]
        if number.kind is int
        else [math.nextafter(number.least, -math.inf), math.nextafter(number.greatest, math.inf)]
    )
    for value in (*beyond, math.nan, math.inf, -math.inf, 10**400, 1e308):
        assert is_refused(path, value), value


@pytest.mark.parametrize("model", [CameraSettings, FrameOptions])
def test_numbers_that_come_over_the_wire_have_finite_ranges(
    model: type[CameraSettings | FrameOptions],
) -> None:
    found = numerics_of(model)
    assert len(found) >= 3
    for number in found:
        assert math.isfinite(number.least), number
        assert math.isfinite(number.greatest), number
        for value in (math.nan, math.inf, -math.inf, 1e308):
            with pytest.raises(ValidationError):
                model.model_validate({number.path: value})


@pytest.mark.parametrize("path", TEXTS)
def test_every_text_has_a_greatest_length_and_is_unicode(path: str) -> None:
    for text in ("x" * 100_000, "a\udcff"):
        assert is_refused(path, text)
        assert is_refused(path, [text])
    if path not in PROSE:
        assert is_refused(path, "a\0b")
        assert is_refused(path, "a\r\nb")


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mqtt.base_topic", "/".join("a" * 17)),
        ("mqtt.base_topic", "é" * 65),
        ("mqtt.base_topic", "/"),
        ("mqtt.base_topic", "a\uffff"),
        ("mqtt.username", "a\ufffe"),
        ("mqtt.base_topic", "$SYS"),
        ("mqtt.host", ""),
        ("mqtt.client_id", "x" * 101),
        ("model.device", []),
        ("model.device", "cuda:"),
        ("model.device", ["cpu", "gpu"]),
        ("model.device", ["cpu"] * 65),
        ("cameras", {"bridge": {}}),
        ("cameras", {"a/b": {}}),
    ],
)
def test_names_that_nothing_could_use_are_refused(path: str, value: Any) -> None:
    assert is_refused(path, value)


def test_public_shows_no_client_id() -> None:
    """Where the broker does not bind it to an account, whoever knows it can take the session."""
    shown = Settings(mqtt={"client_id": "vision-7"}).public()
    assert "vision-7" not in str(shown)
    assert Settings().public()["mqtt"]["client_id"] is None


def test_load_refuses_the_internal_form_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__CAMERAS", '{"front": {"tasks": [{"kind": "detect"}]}}')
    with pytest.raises(ConfigurationError, match=r"cameras\.front\.tasks\.0: "):
        load_settings()


def test_public_shows_no_secret(tmp_path: Path) -> None:
    text = """
mqtt: {password: hunter2}
store: {url: "postgresql+asyncpg://me:hunter2@db/x"}
webhooks: {secret: whsec_hunter2, url: "http://ha.local/hook?token=hunter2"}
cameras:
  front: {webhook_url: "http://me:hunter2@ha.local/hook", webhook_headers: {authorization: hunter2}}
  back: {snapshot_url: "http://me:hunter2@10.0.0.9/snap.jpg?key=hunter2"}
homeassistant: {updates_url: "https://example.org/latest?token=hunter2"}
"""
    path = tmp_path / "config.yaml"
    path.write_text(text)
    shown = load_settings(path).public()
    assert "hunter2" not in str(shown)
    assert shown["mqtt"]["host"] == "127.0.0.1"
    assert shown["cameras"]["back"]["snapshot_url"] == "http://10.0.0.9/**********"


KEPT = {"topic": "cam/{camera}/motion", "url": "http://10.0.0.9/snap"}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"every": 60}, "exactly one of topic and every"),
        ({"topic": None}, "exactly one of topic and every"),
        ({"topic": "cam/motion"}, "camera is required"),
        ({"camera": "front"}, "the topic has"),
        ({"topic": None, "every": 60, "camera": {"path": "a"}}, "by the clock"),
        ({"topic": "cam/+x/{camera}"}, "cannot be a level"),
        ({"topic": "#/motion", "camera": "front"}, "cannot be a level"),
        ({"when": {"path": "a", "in": []}}, "at least 1 item"),
        ({"when": []}, "at least 1 item"),
        ({"url": "ftp://10.0.0.9/"}, "must begin with http"),
        ({"url": "http://{camera}.lan/snap"}, "not in the host"),
        ({"url": "http://{camera}@lan/snap"}, "not in the host"),
        ({"url": "http://lan/{name}"}, "is the only name"),
        ({"url": "http://me:pw@lan/snap"}, "goes into auth"),
        ({"auth": {"type": "digest", "username": "u"}}, "has username and password"),
        ({"auth": {"type": "bearer", "username": "u", "token": "t"}}, "bearer has a token"),
        ({"burst": {"frames": 11}}, "less than or equal to 10"),
    ],
)
def test_trigger_that_could_not_work_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings(triggers=[{**KEPT, **changes}])


def test_trigger_reads_what_yaml_makes_of_on(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "triggers: [{topic: a, camera: front, url: http://cam/, when: [on, 1, Ding]},\n"
        "  {topic: a, camera: front, url: http://cam/, when: on},\n"
        "  {topic: a, camera: front, url: http://cam/, when: {path: b.c, in: [on, off]}}]"
    )
    first, second, third = load_settings(path).triggers
    assert first.when == ("on", "yes", "true", "1", "Ding")
    assert second.when == ("on", "yes", "true")
    assert isinstance(third.when, ValueAt)
    assert third.when.values == ("on", "yes", "true", "off", "no", "false")


def test_public_shows_no_access_of_a_trigger() -> None:
    access: list[dict[str, Any]] = [
        {"auth": {"type": "digest", "username": "u", "password": "hunter2"}},
        {"auth": {"type": "bearer", "token": "hunter2"}},
        {"headers": {"X-API-Key": "hunter2"}},
        {"url": "http://10.0.0.9/api?user=me&password=hunter2"},
    ]
    shown = Settings(triggers=[{**KEPT, **each} for each in access]).public()
    assert "hunter2" not in json.dumps(shown)
    assert shown["triggers"][0]["url"] == "http://10.0.0.9/**********"


@pytest.mark.parametrize(
    ("path", "value", "reason"),
    [
        ("frigate.url", "frigate:5000", "must begin with http"),
        ("frigate.url", "http://me:pw@frigate:5000", "goes into username and password"),
        ("frigate.url", "http://frigate:5000/?a=1", "host, port and path only"),
        ("frigate.sub_label.question", "Which one?", "choices must be 2 to 16"),
        ("frigate.min_severity", "high", "'any', 'detection' or 'alert'"),
        ("frigate.cameras.<id>.camera", "Front Door", "should match pattern"),
    ],
)
def test_frigate_setting_that_could_not_work_is_refused(
    path: str, value: object, reason: str
) -> None:
    with pytest.raises(ValidationError, match=reason):
        Settings(**content_of(path, value))


def test_public_shows_no_password_of_frigate() -> None:
    shown = Settings(frigate={"url": "http://frigate:5000/", "password": "hunter2"}).public()
    assert "hunter2" not in str(shown)
    assert shown["frigate"]["url"] == "http://frigate:5000"


def test_public_fits_into_a_message_however_many_cameras_there_are() -> None:
    cameras = {f"camera-{number}": {"prompt": "e" * 2000} for number in range(256)}
    assert len(Settings(cameras=cameras).public()["cameras"]) == 256
    longer = {name: {"prompt": "\0" * 2000} for name in cameras}
    shown = Settings(cameras=longer).public()
    assert "cameras" not in shown
    names = {f"{number:0255d}": f"camera-{number}" for number in range(4096)}
    trigger = {"topic": "a", "camera": {"path": "a", "map": names}, "url": "http://cam/"}
    assert "triggers" not in Settings(triggers=[trigger]).public()
    assert shown["max_cameras"] == 256


def test_updates_are_asked_for_only_where_it_is_said_where(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__HOMEASSISTANT__CHECK_UPDATES", "true")
    with pytest.raises(ConfigurationError, match=r"homeassistant: .*updates_url"):
        load_settings()


@pytest.mark.parametrize(
    "prefix", ["", "/", "a/+/b", "#", "$SYS", "x" * 200, "a\0b", "a\ufffe", "\U0010ffff", "\ufdd0"]
)
def test_prefix_that_is_no_topic_is_refused(prefix: str) -> None:
    assert is_refused("homeassistant.discovery_prefix", prefix)
    assert is_refused("homeassistant.status_topic", prefix)


def test_birth_message_is_below_the_prefix_unless_it_is_elsewhere() -> None:
    of = Settings(homeassistant={"discovery_prefix": "ha"}).homeassistant
    assert of.birth_topic == "ha/status"
    of = Settings(homeassistant={"status_topic": "hass/status"}).homeassistant
    assert of.birth_topic == "hass/status"
