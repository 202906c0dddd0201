"""What `doctor` says of the gateway: reachable or not, for whom, and its token never."""

import socket
from pathlib import Path
from typing import Any

import pytest

from service.commands.checks.finding import Finding
from service.commands.checks.gateway import check_gateway
from service.settings import Settings
from service.web.token import token_file, token_of
from tests.support.free_port import free_port


async def found(folder: Path, **http: Any) -> list[Finding]:
    said = {"enabled": True, "port": free_port(), **http}
    return await check_gateway(Settings.model_validate({"data_dir": folder, "http": said}))


async def test_gateway_that_is_off_is_not_spoken_of(tmp_path: Path) -> None:
    assert await found(tmp_path, enabled=False) == []


async def test_free_port_is_fine_and_a_token_is_to_come(tmp_path: Path) -> None:
    address, token = await found(tmp_path)
    assert (address.level, token.level) == ("ok", "ok")
    assert "for this machine only" in address.text
    assert "first start" in token.text


async def test_address_of_the_network_says_who_needs_no_token(tmp_path: Path) -> None:
    address, _ = await found(tmp_path, host="0.0.0.0", keyless_networks=["10.1.0.0/16"])  # noqa: S104
    assert "without a token: 10.1.0.0/16" in address.text


async def test_port_of_another_program_is_to_be_mended(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        address, _ = await found(tmp_path, port=other.getsockname()[1])
    assert address.level == "TODO"
    assert "http.port" in address.text


async def test_address_that_is_not_there_is_to_be_mended(tmp_path: Path) -> None:
    address, _ = await found(tmp_path, host="192.0.2.1")
    assert address.level == "TODO"
    assert "http.host" in address.text


@pytest.mark.parametrize(("mode", "level"), [(0o600, "ok"), (0o640, "note")])
async def test_token_that_others_can_read_is_noted(tmp_path: Path, mode: int, level: str) -> None:
    token, _ = token_of(Settings(data_dir=tmp_path))
    token_file(tmp_path).chmod(mode)
    _, finding = await found(tmp_path)
    assert finding.level == level
    assert token not in finding.text
