"""Where the settings are and where the broker is: the same for every command."""

import os
from pathlib import Path

import pytest

from service.cli import COMMANDS, main
from service.commands.options import CommonOptions
from service.errors import ConfigurationError


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which a command runs, and nothing said in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOONDREAM2MQTT_CONFIG")
    return tmp_path


def host_of(options: CommonOptions) -> str:
    return options.settings().mqtt.host


def write(path: str, host: str) -> Path:
    Path(path).write_text(f"mqtt: {{host: {host}, port: 1884, password: of-the-file}}")
    return Path(path)


def test_file_is_the_options_else_the_variables_else_the_one_that_is_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert host_of(CommonOptions()) == "127.0.0.1"
    assert capsys.readouterr().err == ""
    write("config.yaml", "usual")
    assert host_of(CommonOptions()) == "usual"
    assert capsys.readouterr().err == "moondream2mqtt: settings from config.yaml\n"
    monkeypatch.setenv("MOONDREAM2MQTT_CONFIG", str(write("other.yaml", "variable")))
    assert host_of(CommonOptions()) == "variable"
    assert host_of(CommonOptions(config=write("third.yaml", "option"))) == "option"
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.endswith(
        "settings from other.yaml\nmoondream2mqtt: settings from third.yaml\n"
    )


def test_demo_reads_no_file_that_nobody_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would follow the folders and ask the cameras of the real service."""
    write("config.yaml", "usual")
    assert CommonOptions().settings(only_named=True).mqtt.host == "127.0.0.1"


def test_empty_variable_means_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    write("config.yaml", "usual")
    monkeypatch.setenv("MOONDREAM2MQTT_CONFIG", "")
    assert host_of(CommonOptions()) == "127.0.0.1"


def test_option_wins_over_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write("config.yaml", "usual")
    Path("secret").write_text("of-the-option\n")
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__HOST", "variable")
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__PORT", "1885")
    mqtt = CommonOptions(host="option", username="me").settings().mqtt
    assert (mqtt.host, mqtt.port, mqtt.username) == ("option", 1885, "me")
    assert mqtt.password is not None
    assert mqtt.password.get_secret_value() == "of-the-file"
    password = CommonOptions(password_file=Path("secret")).settings().mqtt.password
    assert password is not None
    assert password.get_secret_value() == "of-the-option"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", ""], "--host: mqtt.host: String should have at least 1 character"),
        (["--port", "0"], "--port: mqtt.port: Input should be greater than or equal to 1"),
        (["--username", "a\0b"], "--username: mqtt.username: must not contain"),
        (["--password-file", "none"], "--password-file: none: No such file or directory"),
        (["--password-file", "."], "--password-file: .: Is a directory"),
        (["--password-file", "empty"], "--password-file: empty: is empty"),
        (["--password-file", "lines"], "--password-file: lines: has more than one line"),
        (["--password-file", "bytes"], "--password-file: bytes: is not UTF-8"),
        (["--password-file", "long"], "--password-file: mqtt.password: Value should have at most"),
        (["--config", "none.yaml"], "none.yaml: cannot be read: No such file or directory"),
    ],
)
def test_wrong_option_is_one_line_that_names_it(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty").write_text("\n")
    Path("lines").write_text("hunter2\nhunter3\n")
    Path("bytes").write_bytes(b"hunter2\xff")
    Path("long").write_text("hunter2" * 4000)
    assert main(["watch", *words]) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert shown.err.startswith(f"moondream2mqtt: {said}")
    assert "hunter" not in shown.err


def test_option_hides_no_section_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("config.yaml").write_text("mqtt: [1]")
    with pytest.raises(ConfigurationError, match=r"^config\.yaml: mqtt: must be a mapping"):
        CommonOptions(host="a").settings()
    Path("config.yaml").unlink()
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT", "[1]")
    with pytest.raises(ConfigurationError, match=r"^MOONDREAM2MQTT__MQTT: mqtt: must be a mapping"):
        CommonOptions(host="a").settings()


def test_file_of_the_variable_that_is_missing_names_the_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT_CONFIG", "none.yaml")
    with pytest.raises(ConfigurationError, match=r"^MOONDREAM2MQTT_CONFIG: none\.yaml: there is"):
        CommonOptions().settings()


def test_folder_in_place_of_the_usual_file_is_said() -> None:
    os.mkdir("config.yaml")  # Docker does so for a file to mount that is not there
    with pytest.raises(ConfigurationError, match=r"^config\.yaml: cannot be read: Is a directory"):
        CommonOptions().settings()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_takes_the_same_options(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--config" in shown
    of_broker = {"--host", "--port", "--username", "--password-file"}
    wanted = of_broker if name not in {"demo", "infer", "download", "token"} else set()
    assert {each for each in of_broker if each in shown} == wanted


@pytest.mark.parametrize(
    "words",
    [
        ("request", "health", "--timeout"),
        ("publish", "x.jpg", "--timeout"),
        ("publish", "x.jpg", "--every"),
        ("demo", "--every"),
    ],
)
@pytest.mark.parametrize("seconds", ["inf", "1e300", "nan"])
def test_time_without_end_is_bad_usage(
    words: tuple[str, ...], seconds: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, seconds]) == 2
    assert f"'{words[-1]}'" in capsys.readouterr().err
