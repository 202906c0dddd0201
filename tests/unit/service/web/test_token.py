"""The token of HTTP is made once, for its owner alone, and is shown to nobody by the way."""

import json
import stat
from pathlib import Path

import pytest

from service.cli import main
from service.errors import ConfigurationError
from service.settings import Settings
from service.startup import doubts
from service.web.token import token_file, token_of

SECRET = "swordfish-swordfish-swordfish"  # noqa: S105 - of the tests


def test_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    token, is_new = token_of(settings)
    assert (len(token), is_new) == (43, True)
    assert token_of(settings) == (token, False)
    assert stat.S_IMODE(token_file(tmp_path).stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["http-token"]  # no draft is left


def test_token_of_the_settings_is_kept_nowhere(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path, "http": {"token": SECRET}})
    assert token_of(settings) == (SECRET, False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"", b"\xff" * 40, b"two words are no token", b"x" * 300])
def test_what_is_no_token_is_replaced(tmp_path: Path, content: bytes) -> None:
    token_file(tmp_path).write_bytes(content)
    assert token_of(Settings(data_dir=tmp_path))[1]


def test_token_that_cannot_be_read_is_an_error_of_the_operator(tmp_path: Path) -> None:
    token_file(tmp_path).mkdir()
    with pytest.raises(ConfigurationError, match="http-token"):
        token_of(Settings(data_dir=tmp_path))


def test_command_shows_it_and_makes_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__DATA_DIR", str(tmp_path / "data"))
    shown = []
    for words in (["token"], ["token"], ["token", "--new"], ["token"]):
        assert main(words) == 0
        shown.append(capsys.readouterr().out.strip())
    assert shown[0] == shown[1] != shown[2] == shown[3]
    monkeypatch.setenv("MOONDREAM2MQTT__HTTP__TOKEN", SECRET)
    assert main(["token"]) == 0
    assert capsys.readouterr().out.strip() == SECRET
    assert main(["token", "--new"]) == 2
    assert "http.token: is set" in capsys.readouterr().err


def test_settings_are_told_without_it() -> None:
    settings = Settings.model_validate({"http": {"enabled": True, "token": SECRET}})
    assert SECRET not in json.dumps(settings.public())
    assert SECRET not in repr(settings)


@pytest.mark.parametrize(
    ("http", "setting"),
    [
        ({"keyless_networks": ["0.0.0.0/0"]}, "http.keyless_networks"),
        ({"keyless_networks": ["::/0"]}, "http.keyless_networks"),
        ({"keyless_networks": ["8.8.8.0/24"]}, "http.keyless_networks"),
        ({"token": "hunter2"}, "http.token"),
        ({"cors_origins": ["*"]}, "http.cors_origins"),
        ({"allowed_hosts": ["*"]}, "http.allowed_hosts"),
    ],
)
def test_what_opens_it_wide_is_doubted(http: dict[str, object], setting: str) -> None:
    settings = Settings.model_validate({"http": {"enabled": True, **http}})
    assert [each.setting for each in doubts(settings)] == [setting]
    assert "hunter2" not in "".join(map(str, doubts(settings)))
    off = Settings.model_validate({"http": http})
    assert list(doubts(off)) == []


@pytest.mark.parametrize(
    "http",
    [
        {"keyless_networks": ["192.168.1"]},
        {"keyless_networks": ["localhost"]},
        {"allowed_hosts": ["https://nvr.example"]},
        {"allowed_hosts": ["nvr.example:8808"]},
        {"cors_origins": ["nvr.example"]},
        {"cors_origins": ["https://nvr.example/page"]},
    ],
)
def test_what_can_mean_nothing_is_refused(http: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Settings.model_validate({"http": http})
