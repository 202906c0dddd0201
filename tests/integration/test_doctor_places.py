"""What `doctor` says of receivers and picture hosts, and of a database that does not answer."""

import socket
from pathlib import Path
from typing import Any

import pytest

from service.commands.checks.finding import Finding
from service.commands.checks.places import check_hosts
from service.commands.checks.storage import check_store
from service.settings import Settings
from service.stages import store_location
from service.store.database import Database
from tests.support.http_receivers import Receiver, answers


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def found(**content: Any) -> list[Finding]:
    return await check_hosts(Settings.model_validate(content))


async def test_receiver_that_takes_connections_gets_no_request() -> None:
    async with Receiver(answers(200)) as receiver:
        url = f"{receiver.url}?token=hunter2"
        camera = {"webhook_url": url}
        findings = await found(webhooks={"url": url}, cameras={"a": camera, "b": camera})
        assert receiver.requests == []
    [finding] = findings  # one host is asked once
    assert (finding.part, finding.level) == ("webhooks.url", "ok")
    assert "hunter2" not in finding.text


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1:{port}/x?token=hunter2", "is it running, is cameras.a.snapshot_url"),
        ("http://no.such.host.invalid/", "the host name lookup failed"),
        ("http://169.254.169.254/latest", "resolves to an address that is not allowed"),
    ],
)
async def test_host_that_cannot_be_reached_is_said_with_the_setting(url: str, says: str) -> None:
    camera = {"snapshot_url": url.replace("{port}", str(unused_port()))}
    [finding] = await found(cameras={"a": camera})
    assert (finding.part, finding.level) == ("cameras.a.snapshot_url", "TODO")
    assert says in finding.text
    assert "hunter2" not in finding.text


async def test_database_server_that_is_away_names_the_setting() -> None:
    url = f"postgresql://me:hunter2@127.0.0.1:{unused_port()}/frames"
    [finding] = await check_store(Settings.model_validate({"store": {"url": url}}))
    assert (finding.part, finding.level) == ("store", "TODO")
    assert finding.text.endswith("see store.url, or data_dir without one")
    assert "hunter2" not in finding.text


async def test_database_of_a_running_service_is_no_riddle(tmp_path: Path) -> None:
    settings = Settings.model_validate({"data_dir": tmp_path})
    async with Database(store_location(settings)):
        [finding] = await check_store(settings)
    assert (finding.part, finding.level) == ("store", "note")
    assert finding.text == (
        "there, and of this version; a service runs on it: another one needs a data_dir of its own"
    )
