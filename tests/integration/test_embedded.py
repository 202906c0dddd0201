"""The broker of our own: started, restarted, and what it says when it cannot be."""

import asyncio
import sys
from pathlib import Path

import pytest

from broker.connection import Connection
from broker.embedded import AMQTT_BANNER, BrokerProgram, EmbeddedBroker, find_program
from broker.errors import EmbeddedBrokerError
from broker.options import ConnectionOptions, Subscription
from tests.support.mosquitto import MISSING, mosquitto_or_skip, mosquitto_passwd_or_skip


async def echo(broker: EmbeddedBroker, num_bytes: int) -> int:
    """Publish through the broker; return how many bytes come back."""
    options = ConnectionOptions(broker.host, "echo", broker.port, protocol=broker.protocol)
    async with asyncio.timeout(15), Connection(options, [Subscription("a/frame")]) as connection:
        await connection.wait_connected()
        await connection.publish("a/frame", b"x" * num_bytes)
        return len((await connection.inbox.get()).payload)


async def test_broker_carries_the_largest_frame_as_json(mosquitto: EmbeddedBroker) -> None:
    num_bytes = (4 << 20) * 4 // 3 + 65536
    assert await echo(mosquitto, num_bytes) == num_bytes
    assert mosquitto.label == "mosquitto"


async def test_two_brokers_do_not_meet(mosquitto_program: BrokerProgram, tmp_path: Path) -> None:
    async with (
        EmbeddedBroker(tmp_path / "a", program=mosquitto_program) as first,
        EmbeddedBroker(tmp_path / "b", program=mosquitto_program) as second,
    ):
        assert first.port != second.port
        assert await echo(first, 10) == await echo(second, 10) == 10


@pytest.mark.parametrize("kill", [False, True])
async def test_restart_keeps_the_port(own_mosquitto: EmbeddedBroker, kill: bool) -> None:
    port = own_mosquitto.port
    await own_mosquitto.stop(kill=kill)
    await own_mosquitto.start()
    assert own_mosquitto.port == port
    assert await echo(own_mosquitto, 10) == 10


async def test_broker_listens_on_this_machine_only(mosquitto: EmbeddedBroker) -> None:
    process = await asyncio.create_subprocess_exec(
        "python3",
        "-c",
        f"import socket; socket.create_connection(('127.0.0.2', {mosquitto.port}), 1)",
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert await process.wait() != 0


async def test_port_that_is_taken_is_told_with_the_log(
    mosquitto: EmbeddedBroker, mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    with pytest.raises(EmbeddedBrokerError, match="in use"):
        await EmbeddedBroker(tmp_path, port=mosquitto.port, program=mosquitto_program).start()


async def test_bad_configuration_is_told_with_the_log(
    mosquitto_program: BrokerProgram, tmp_path: Path
) -> None:
    broker = EmbeddedBroker(tmp_path, extra_lines=["no_such_option 1"], program=mosquitto_program)
    with pytest.raises(EmbeddedBrokerError, match="no_such_option"):
        await broker.start()


def test_missing_broker_is_told_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "amqtt", None)  # Python's way to say that there is none
    with pytest.raises(EmbeddedBrokerError, match="install mosquitto"):
        find_program(str(tmp_path))


def test_tests_without_mosquitto_are_skipped_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(pytest.skip.Exception, match=MISSING):
        mosquitto_or_skip(str(tmp_path))
    with pytest.raises(pytest.skip.Exception, match=MISSING):
        mosquitto_passwd_or_skip(str(tmp_path))


async def test_amqtt_carries_frames_under_its_banner(tmp_path: Path) -> None:
    program = find_program(str(tmp_path))  # where there is no Mosquitto
    assert program.kind == "amqtt"
    async with EmbeddedBroker(tmp_path, program=program) as broker:
        assert AMQTT_BANNER in broker.label
        assert await echo(broker, 100_000) == 100_000
