"""What a command says where there is no connection: one line that names the setting to change."""

import asyncio
import gc
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker.embedded import BrokerProgram, EmbeddedBroker
from service.cli import main
from service.commands.broker_errors import BrokerError
from service.commands.client import connect_newest
from service.settings import MqttSettings
from tests.support.certificates import Certificate
from tests.support.factories import make_image
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")

_ACL = """\
user camera
topic write base/front/frame

user listener
topic read base/+/frame
"""


@pytest.fixture
def passwords(tmp_path: Path) -> Path:
    passwd = shutil.which("mosquitto_passwd")
    if passwd is None:
        pytest.skip("mosquitto_passwd is not installed")
    path = tmp_path / "passwd"
    path.touch(0o600)
    for account in ("camera", "listener"):
        subprocess.run([passwd, "-b", path, account, "right"], check=True)
    return path


@pytest.fixture
async def guarded(
    mosquitto_program: BrokerProgram, passwords: Path, tmp_path: Path
) -> AsyncIterator[int]:
    """A broker with an account that may send the frames of one camera, and one that reads them."""
    rules = tmp_path / "acl"
    rules.write_text(_ACL)
    rules.chmod(0o600)
    lines = ("allow_anonymous false", f"password_file {passwords}", f"acl_file {rules}")
    async with EmbeddedBroker(
        tmp_path / "broker", program=mosquitto_program, extra_lines=lines
    ) as broker:
        yield broker.port


async def problem(**mqtt: Any) -> str:
    with pytest.raises(BrokerError) as caught:
        async with asyncio.timeout(5), connect_newest(MqttSettings.model_validate(mqtt)):
            pass
    gc.collect()  # paho leaves sockets to it
    return str(caught.value)


@pytest.mark.parametrize("protocol", ["auto", "3.1.1", "5"])
@pytest.mark.parametrize("account", [{}, {"username": "camera", "password": "wrong"}])
async def test_account_that_is_refused_names_its_settings(
    guarded: int, protocol: str, account: dict[str, str]
) -> None:
    said = await problem(port=guarded, protocol=protocol, **account)
    assert "authori" in said
    assert said.endswith("; check mqtt.username and mqtt.password")


async def test_nothing_there_names_host_and_port() -> None:
    said = await problem(port=1)
    assert "127.0.0.1:1: Connection refused; is it running, and are mqtt.host and mqtt.port" in said
    said = await problem(host="no.such.name.invalid")
    assert said.startswith("broker no.such.name.invalid:1883: ")
    assert said.endswith("; is mqtt.host right?")


async def test_tls_where_there_is_none_and_none_where_there_is(
    mosquitto: EmbeddedBroker, https_certificate: Certificate
) -> None:
    said = await problem(port=mosquitto.port, tls={"enabled": True})
    assert "no TLS there" in said
    assert said.endswith("; check mqtt.port and mqtt.tls.enabled")

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = await asyncio.start_server(read, "127.0.0.1", 0, ssl=https_certificate.server)
    async with server:
        port = server.sockets[0].getsockname()[1]
        said = await problem(port=port)
        assert "if it wants TLS, set mqtt.tls.enabled" in said
        said = await problem(host="localhost", port=port, tls={"enabled": True})
        assert "its certificate is not accepted: self" in said
        assert said.endswith("; check mqtt.tls.ca_file and mqtt.host")
        trusted = {"enabled": True, "ca_file": https_certificate.ca_file}
        said = await problem(port=port, tls=trusted)
        assert "IP address mismatch" in said


async def test_websockets_where_there_are_none(mosquitto: EmbeddedBroker) -> None:
    said = await problem(port=mosquitto.port, transport="websockets")
    assert said.endswith("; check mqtt.port, mqtt.transport and mqtt.websocket_path")


@pytest.mark.parametrize("refusal", ["connack", "hang up"])
async def test_broker_of_3_1_1_is_spoken_to_in_its_version(
    mosquitto: EmbeddedBroker, refusal: Any
) -> None:
    async with (
        TcpProxy(mosquitto.port, refuse_5=refusal) as proxy,
        asyncio.timeout(5),
        connect_newest(MqttSettings(port=proxy.port)) as connected,
    ):
        assert not connected.is_5


@pytest.mark.parametrize("host", ["a..b", "x" * 200, ".nvr"])
def test_host_that_no_resolver_takes_is_a_wrong_setting(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "--host", host]) == 2
    assert capsys.readouterr().err == (
        "moondream2mqtt: --host: mqtt.host: must be a host name or an address\n"
    )


@pytest.mark.parametrize(
    "host",
    ["mqtt://me:hunter2@nvr.local", "me:hunter2@nvr", "nvr.local:1883", "nvr/x", "a b", "[::1]"],
)
def test_url_as_host_is_a_wrong_setting_and_its_password_is_not_shown(
    host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["watch", "--host", host]) == 2
    said = capsys.readouterr().err
    assert said.startswith("moondream2mqtt: --host: mqtt.host: must be a host name or an address ")
    assert host not in said


@pytest.mark.parametrize(
    "host", ["nvr", "nvr_1.local", "::1", "fe80::1%eth0", "192.0.2.1", "bücher"]
)
def test_host_name_or_address_is_taken(host: str) -> None:
    assert MqttSettings(host=host).host == host


@pytest.fixture
def words(guarded: int, tmp_path: Path) -> list[str]:
    """`publish` of a picture, with the account of the camera `front`."""
    (tmp_path / "password").write_text("right\n")
    (tmp_path / "photo.jpg").write_bytes(make_image())
    (tmp_path / "config.yaml").write_text("mqtt: {base_topic: base}")
    return [
        *("publish", str(tmp_path / "photo.jpg"), "--config", str(tmp_path / "config.yaml")),
        *("--port", str(guarded), "--username", "camera"),
        *("--password-file", str(tmp_path / "password")),
    ]


async def test_publish_that_the_rules_forbid_is_said(
    guarded: int, words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    listener = {"username": "listener", "password": "right"}
    async with aiomqtt.Client("127.0.0.1", guarded, **listener) as heard:  # type: ignore[arg-type]
        await heard.subscribe("base/+/frame", qos=1)
        assert await asyncio.to_thread(main, [*words, "--camera", "front"]) == 0
        assert await anext(aiter(heard.messages))
    assert capsys.readouterr().out
    assert await asyncio.to_thread(main, [*words, "--camera", "back"]) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    *_, line = shown.err.splitlines()
    assert line.startswith(f"moondream2mqtt: broker 127.0.0.1:{guarded}: ")
    assert "Not authorized: account 'camera' may not publish to base/back/frame" in line


async def test_publish_that_3_1_1_refuses_in_silence_is_a_possibility(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOONDREAM2MQTT__MQTT__PROTOCOL", "3.1.1")
    waits = ["--camera", "back", "--wait", "--timeout", "0.3"]
    assert await asyncio.to_thread(main, [*words, *waits]) == 1
    *_, line = capsys.readouterr().err.splitlines()
    assert "may this account publish frames of this camera, and read its status" in line
