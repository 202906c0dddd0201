from pathlib import Path

import pytest

from service.errors import ConfigurationError
from service.settings import load_settings


def write(folder: Path, text: str) -> Path:
    path = folder / "config.yaml"
    path.write_text(text)
    return path


def test_load_without_a_file_gives_defaults() -> None:
    settings = load_settings()
    assert (settings.mqtt.host, settings.mqtt.port) == ("127.0.0.1", 1883)
    assert settings.mqtt.base_topic == "moondream2mqtt"


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mqtt: {hst: a}", "mqtt.hst: unknown setting"),
        ("mqtt: {port: 99999}", "mqtt.port: "),
        ("cameras: {front: {lngth: short}}", "cameras.front.lngth: unknown setting"),
        ("cameras: {'a/b': {}}", "cameras.a/b"),
        ("cameras: {front: {tasks: [{kind: query, text: ''}]}}", "cameras.front.tasks.0: "),
        ("queue: {order: random}", "queue.order: "),
        ("sources: [{topic: ring/snapshot}]", "sources.0.topic: "),
        ("mqtt: {base_topic: a/#}", "mqtt.base_topic: "),
        ("nonsense: 1", "nonsense: unknown setting"),
    ],
)
def test_load_refuses_a_wrong_key_or_value_with_its_path(
    tmp_path: Path, text: str, path: str
) -> None:
    with pytest.raises(ConfigurationError, match=r"config\.yaml") as caught:
        load_settings(write(tmp_path, text))
    assert path in str(caught.value)


@pytest.mark.parametrize("text", ["- a", "just text", "a: [", "1: 2"])
def test_load_refuses_a_file_that_is_no_mapping(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigurationError):
        load_settings(write(tmp_path, text))


def test_load_refuses_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        load_settings(tmp_path / "missing.yaml")


def test_load_lets_the_environment_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__HOST", "broker.local")
    settings = load_settings(write(tmp_path, "mqtt: {host: other, port: 1884}"))
    assert (settings.mqtt.host, settings.mqtt.port) == ("broker.local", 1884)


@pytest.mark.parametrize("name", ["MOONDREAM2MQTT__MQT__HOST", "MOONDREAM2MQTT__MQTT__HOSTT"])
def test_load_refuses_an_unknown_variable(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "x")
    with pytest.raises(ConfigurationError, match=r"(?i)unknown setting"):
        load_settings()


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
"""
    shown = load_settings(write(tmp_path, text)).public()
    assert "hunter2" not in str(shown)
    assert shown["mqtt"]["host"] == "127.0.0.1"
