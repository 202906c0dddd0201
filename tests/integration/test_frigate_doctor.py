"""What `doctor` says of Frigate, from a server with its answers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from service.commands.checks.finding import Finding
from service.commands.checks.frigate import check_frigate
from service.settings import Settings
from tests.support.http_receivers import answers
from tests.support.scripted_frigate import ScriptedFrigate


@pytest.fixture
async def frigate() -> AsyncIterator[ScriptedFrigate]:
    frigate = ScriptedFrigate()
    async with frigate.receiver:
        yield frigate


async def found(frigate: ScriptedFrigate, **settings: Any) -> list[Finding]:
    content = {"enabled": True, "url": frigate.url, "timeout": 1.0, **settings}
    return await check_frigate(Settings.model_validate({"frigate": content}))


async def found_one(frigate: ScriptedFrigate, **settings: Any) -> tuple[bool, str]:
    [finding] = await found(frigate, **settings)
    return finding.level == "ok", finding.text


async def test_frigate_that_is_not_followed_has_no_line(frigate: ScriptedFrigate) -> None:
    assert await found(frigate, enabled=False) == []
    assert frigate.receiver.requests == []


async def test_all_is_well(frigate: ScriptedFrigate) -> None:
    expected = f"{frigate.url}, 0.17.2-test, moondream as admin, topics below frigate"
    assert await found(frigate) == [Finding("frigate", "ok", expected)]


async def test_cameras_that_frigate_describes_itself_are_named(frigate: ScriptedFrigate) -> None:
    frigate.genai = {"front_door"}
    is_ok, text = await found_one(frigate)
    assert is_ok
    assert text.endswith("; it describes front_door itself, and that stays")


async def test_low_role_is_a_problem_only_for_who_writes(frigate: ScriptedFrigate) -> None:
    frigate.role = "viewer"
    is_ok, text = await found_one(frigate)
    assert not is_ok
    assert "as viewer: writing descriptions takes the role admin" in text
    assert (await found_one(frigate, write_back=False))[0]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (b'{"mqtt": {"enabled": false}}', "its mqtt.enabled is off"),
        (b'{"mqtt": {"topic_prefix": "nvr"}}', "its mqtt.topic_prefix is nvr: set"),
    ],
)
async def test_topics_that_nobody_hears_are_a_problem(
    frigate: ScriptedFrigate, config: bytes, expected: str
) -> None:
    frigate.instead["/api/config"] = answers(200, body=config)
    is_ok, text = await found_one(frigate)
    assert not is_ok
    assert expected in text


async def test_wrong_account_is_said_without_the_password(frigate: ScriptedFrigate) -> None:
    frigate.accepts = "right"
    account = {"username": "moondream", "password": "hunter2"}
    is_ok, text = await found_one(frigate, **account)
    assert not is_ok
    assert "frigate.username with frigate.password" in text
    assert "hunter2" not in text


async def test_something_else_than_frigate_is_said(frigate: ScriptedFrigate) -> None:
    frigate.instead["/"] = answers(200, body=b"<html>Welcome to nginx</html>")
    is_ok, text = await found_one(frigate)
    assert not is_ok
    assert "is it Frigate?" in text


async def test_ca_file_that_is_none_is_said(frigate: ScriptedFrigate, tmp_path: Path) -> None:
    is_ok, text = await found_one(frigate, ca_file=tmp_path / "ca.pem")
    assert not is_ok
    assert text.startswith("frigate.ca_file: ")


async def test_without_a_url_only_topics_are_used(frigate: ScriptedFrigate) -> None:
    is_ok, text = await found_one(frigate, url=None)
    assert is_ok
    assert "without frigate.url" in text
