import traceback
from pathlib import Path

import pytest

from service.configuration import load_settings
from service.errors import ConfigurationError


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
        ("queue: {order: random}", "queue.order: "),
        ("sources: [{topic: ring/snapshot}]", "sources.0.topic: "),
        ("sources: [{topic: 'ring/{camera}/x', camera: door}]", "sources.0.topic: "),
        ("sources: [{topic: 'ring/#/x', camera: door}]", "sources.0.topic: "),
        ("sources: [{topic: ring/x, camera: a b}]", "sources.0.camera: "),
        ("sources: [{topic: 'r/{camera}', cameras: {Front: a b}}]", "sources.0.cameras.Front: "),
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


SECRET = "hunter2-and-some-more"  # noqa: S105 - must not be shown

#: What is wrong with the text of a file, and what is said of it.
BROKEN = {
    "- a": "must be a mapping of settings, e.g. `mqtt:`",
    "just text": "must be a mapping of settings, e.g. `mqtt:`",
    "1: 2": "1: unknown setting",
    "a: [": "line 1, column 5: expected the node content, but found '<stream end>'",
    f"mqtt:\n  host: nvr\n  password:{SECRET}\n": "line 4, column 1: could not find expected ':'",
    f"mqtt: {{password: {SECRET}": "line 1, column 39: expected ',' or '}', but got '<stream end>'",
    f"mqtt:\n  password: *{SECRET}": "line 2, column 13: found undefined alias",
    f"mqtt:\n  password: !{SECRET} x": (
        "line 2, column 13: could not determine a constructor for the tag"
    ),
    f'mqtt:\n  password: "{SECRET}\n': "line 3, column 1: found unexpected end of stream",
    f"mqtt:\n\tpassword: {SECRET}": (
        "line 2, column 1: found character '\\t' that cannot start any token"
    ),
    f"mqtt:\n  password: {SECRET}\n host: x": "line 3, column 2: expected <block end>",
    f"mqtt: {SECRET}": "mqtt: must be a mapping",
    f"mqtt:\n- password: {SECRET}": "mqtt: must be a mapping",
    f"mqtt: {{password:{SECRET}}}": "mqtt.password…: unknown setting",
    f"mqtt: {{password={SECRET}: }}": "mqtt.password…: unknown setting",
    f"mqtt: {{mqtt: {{password: {SECRET}}}}}": "mqtt.mqtt: unknown setting",
    f"mqtt: {{port: {SECRET}}}": "mqtt.port: Input should be a valid integer",
    f"mqtt: {{password: [{SECRET}]}}": "mqtt.password: Input should be a valid string",
    f"mqtt: {{password: {'x' * 20000}}}": "mqtt.password: ",
    f"store: {{url: [{SECRET}]}}": "store.url: Input should be a valid string",
    f"cameras: {{a: {{webhook_headers: {{'Authorization: {SECRET}': x}}}}}}": (
        "cameras.a.webhook_headers: 'Authorization…' is not an HTTP header name"
    ),
    f"cameras: {{a: {{webhook_headers: [{SECRET}]}}}}": "cameras.a.webhook_headers: ",
    f"webhooks: {{url: {SECRET}\x01}}": "character 38 is not allowed in YAML",
    "mqtt: {host: a}\nmqtt: {port: 1}": "line 2, column 1: this key is there twice",
    "mqtt: {host: a, host: b}": "line 1, column 17: this key is there twice",
    "? [a]\n: b": "line 1, column 3: found unhashable key",
    f"mqtt: {{port: {'1' * 5000}}}": "line 1, column 14: this value cannot be read",
    "mqtt: {port: !!int x}": "line 1, column 14: this value cannot be read",
    "mqtt: {port: !!bool x}": "line 1, column 14: this value cannot be read",
    "mqtt: {port: !!timestamp x}": "line 1, column 14: could not determine a constructor",
    "mqtt: " + "[" * 100_000: "is nested too deep",
    "mqtt: &a [*a]": "mqtt: must be a mapping",
    "cameras: {bridge: {}}": "cameras.bridge: is a name of the service's own",
    "model: {device: []}": "model.device: must be auto, cpu, cuda, cuda:N, or a list",
    "model: {device: banana}": "model.device: must be auto, cpu, cuda, cuda:N",
    "data_dir: !!null": "data_dir: must be a path",
}


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_load_says_in_one_line_where_a_file_is_wrong_and_no_value(
    tmp_path: Path, text: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {BROKEN[text]}")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    assert "\n" not in message
    assert len(message) < 500


def test_load_refuses_what_is_no_readable_file(tmp_path: Path) -> None:
    path = tmp_path / "bytes.yaml"
    path.write_bytes(b"mqtt: {host: \xff}")
    for wrong, reason in {
        tmp_path / "missing.yaml": "cannot be read: No such file or directory",
        tmp_path: "cannot be read: Is a directory",
        path / "below": "cannot be read: Not a directory",
        path: "is not UTF-8 at byte 14",
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            load_settings(wrong)
        assert str(caught.value) == f"{wrong}: {reason}"


def test_load_takes_a_date_as_it_is_written_and_a_key_from_an_anchor(tmp_path: Path) -> None:
    text = """
model: {revision: 2025-06-21}
cameras:
  front: &all {cooldown: 5, location: Front}
  back: {<<: *all, location: Back}
"""
    settings = load_settings(write(tmp_path, text))
    assert settings.model.revision == "2025-06-21"
    assert settings.cameras["back"].cooldown == 5
    assert settings.cameras["back"].location == "Back"


def test_load_lets_the_environment_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__HOST", "broker.local")
    settings = load_settings(write(tmp_path, "mqtt: {host: other, port: 1884}"))
    assert (settings.mqtt.host, settings.mqtt.port) == ("broker.local", 1884)


#: Name behind the prefix, value, and what is said of it.
WRONG_VARIABLES = [
    ("MQT__HOST", SECRET, "unknown setting in the environment"),
    ("MQTT__HOSTT", SECRET, "mqtt.hostt: unknown setting"),
    ("MQTT__PORT", SECRET, "mqtt.port: Input should be a valid integer"),
    ("SOURCES", SECRET, "must be JSON"),
    ("CAMERAS", SECRET, "must be JSON"),
    ("MQTT__RESPONSE_TOPICS", SECRET, "must be JSON"),
    ("CAMERAS", "[" * 100_000, "must be JSON"),
    ("CAMERAS", "[1]", "cameras: must be a mapping"),
    ("CAMERAS", '{"front": {"cooldown": Infinity}}', "cameras.front.cooldown: "),
    ("CAMERAS__FRONT__COOLDOWN", "nan", "cameras.front.cooldown: "),
    ("SOURCES", '[{"topic": "a"}]', "sources.0.topic: must have {camera}"),
    ("SOURCES", "[{}]", "sources.0.topic: Field required"),
    ("MQTT__PASSWORD", "\udcff", "mqtt.password: must be UTF-8"),
    ("DATA_DIR", "\udcff", "data_dir: must be UTF-8"),
]


@pytest.mark.parametrize(
    ("name", "value", "reason"), WRONG_VARIABLES, ids=range(len(WRONG_VARIABLES))
)
def test_load_says_which_variable_is_wrong_and_not_its_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, reason: str
) -> None:
    monkeypatch.setenv(f"MOONDREAM2MQTT__{name}", value)
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__KEEPALIVE", "30")
    path = write(tmp_path, "mqtt: {host: nvr.local}")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value).startswith(f"MOONDREAM2MQTT__{name}: {reason}")
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))


def test_load_tells_the_file_from_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT", '{"host": ""}')
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__KEEPALIVE", "1")
    path = write(tmp_path, "mqtt: {port: 0, keepalive: 30}")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value) == (
        "MOONDREAM2MQTT__MQTT: mqtt.host: String should have at least 1 character; "
        f"{path}: mqtt.port: Input should be greater than or equal to 1; "
        "MOONDREAM2MQTT__MQTT__KEEPALIVE: mqtt.keepalive: "
        "Input should be greater than or equal to 5"
    )


@pytest.mark.parametrize("section", [SECRET, "[1]", "", "7"])
def test_load_refuses_a_section_that_a_variable_would_replace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__TLS__ENABLED", "true")
    path = write(tmp_path, f"mqtt:\n  tls: {section}")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(path)
    assert str(caught.value) == f"{path}: mqtt.tls: must be a mapping"


def test_load_names_some_problems_of_many(tmp_path: Path) -> None:
    text = "mqtt: {" + ", ".join(f"key{number}: 1" for number in range(20)) + "}"
    with pytest.raises(ConfigurationError, match="and 15 more") as caught:
        load_settings(write(tmp_path, text))
    assert str(caught.value).count("unknown setting") == 5


def test_public_shows_a_url_that_is_none_as_nothing(tmp_path: Path) -> None:
    text = """
store: {url: "postgresql+asyncpg://me:hunter2@[::1/x"}
cameras:
  front: {webhook_url: "http://[hunter2", snapshot_url: "http://[hunter2"}
"""
    assert "hunter2" not in str(load_settings(write(tmp_path, text)).public())
