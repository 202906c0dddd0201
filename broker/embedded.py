"""A broker of our own for the demo and the tests: Mosquitto as a child process, else amqtt.

Bound to 127.0.0.1 on a free port, so that it never meets a broker that is installed as a service.
amqtt keeps no queue for clients that are away and delivers nothing again, hence its banner.
"""

import asyncio
import importlib.util
import json
import os
import shutil
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from broker.errors import EmbeddedBrokerError

HOST = "127.0.0.1"
AMQTT_BANNER = "demo broker: frames in flight are lost on restart"

# Debian installs it there, outside an ordinary user's PATH.
_SBIN = ("/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin")
_START_TIMEOUT_S = 10.0
_STOP_TIMEOUT_S = 10.0
_NUM_TRIES = 3  # another process can take the free port before the broker does
_LOG_TAIL_BYTES = 400


@dataclass(frozen=True, slots=True)
class BrokerProgram:
    """What can be started."""

    kind: Literal["mosquitto", "amqtt"]
    command: tuple[str, ...]  #: the path of the configuration comes after it


def find_program(path: str | None = None) -> BrokerProgram:
    """The best broker that is installed.

    Args:
        path: Folders to look for Mosquitto in; None for PATH and the folders of daemons.

    Raises:
        EmbeddedBrokerError: None is; the message says what to install.
    """
    path = path or os.pathsep.join([os.environ.get("PATH", os.defpath), *_SBIN])
    if mosquitto := shutil.which("mosquitto", path=path):
        return BrokerProgram("mosquitto", (mosquitto, "-c"))
    if importlib.util.find_spec("amqtt") is not None:
        amqtt = (sys.executable, "-m", "amqtt.scripts.broker_script", "-c")
        return BrokerProgram("amqtt", amqtt)
    raise EmbeddedBrokerError(
        "no MQTT broker is installed: install mosquitto (apt install mosquitto, brew install "
        "mosquitto), or pip install 'moondream2mqtt[amqtt]'"
    )


class EmbeddedBroker:
    """A broker that lives as long as the context.

    Args:
        folder: For its configuration, log and data; made if it is missing.
        port: None for a free one, which it keeps over a restart.
        extra_lines: Appended to the configuration of Mosquitto.
        program: None for the best that is installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        extra_lines: Sequence[str] = (),
        program: BrokerProgram | None = None,
    ) -> None:
        self.host = HOST
        self._folder = folder.resolve()
        self._wanted_port = port
        self._port: int | None = port
        self._extra_lines = tuple(extra_lines)
        self._program = program
        self._process: asyncio.subprocess.Process | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        assert self._port is not None  # noqa: S101 - known once it has been started
        return self._port

    @property
    def label(self) -> str:
        """What it is, for people."""
        is_demo = self._program is not None and self._program.kind == "amqtt"
        return f"amqtt, {AMQTT_BANNER}" if is_demo else "mosquitto"

    @property
    def protocol(self) -> Literal["auto", "3.1.1"]:
        """What to connect with: amqtt takes ten seconds to refuse MQTT 5 with a last will."""
        is_demo = self._program is not None and self._program.kind == "amqtt"
        return "3.1.1" if is_demo else "auto"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            EmbeddedBrokerError: None is installed, or it does not start; the message has the end
                of its log.
        """
        self._program = self._program or find_program()
        self._folder.mkdir(parents=True, exist_ok=True)
        num_tries = 1 if self._port is not None else _NUM_TRIES
        while True:
            num_tries -= 1
            port = self._port or _free_port()
            await self._spawn(self._program, port)
            if await self._answers(port):
                self._port = port
                return
            await self.stop(kill=True)
            if num_tries == 0:
                raise EmbeddedBrokerError(f"{self.label} did not start: {self._log_tail()}")

    async def stop(self, *, kill: bool = False) -> None:
        """End it: with SIGTERM, on which Mosquitto saves its sessions, or with SIGKILL."""
        process, self._process = self._process, None
        if process is None:
            return
        with suppress(ProcessLookupError):
            process.kill() if kill else process.terminate()
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await process.wait()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def _spawn(self, program: BrokerProgram, port: int) -> None:
        if program.kind == "mosquitto":
            config = self._folder / "mosquitto.conf"
            config.write_text(self._mosquitto_config(port), encoding="utf-8")
        else:
            config = self._folder / "amqtt.json"
            config.write_text(_amqtt_config(port), encoding="utf-8")
        with self._log_path.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *program.command,
                str(config),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C is for us; the broker ends after we have said goodbye to it.
                start_new_session=True,
            )

    async def _answers(self, port: int) -> bool:
        assert self._process is not None  # noqa: S101 - spawned just before
        with suppress(TimeoutError):
            async with asyncio.timeout(_START_TIMEOUT_S):
                while self._process.returncode is None:
                    try:
                        _, writer = await asyncio.open_connection(HOST, port)
                    except OSError:
                        await asyncio.sleep(0.02)
                        continue
                    writer.close()
                    # Whoever else had the port would answer as well; then ours has ended.
                    await asyncio.sleep(0.05)
                    return self._process.returncode is None
        return False

    @property
    def _log_path(self) -> Path:
        return self._folder / "broker.log"

    def _log_tail(self) -> str:
        text = self._log_path.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace")
        return " ".join(text.split()) or "it said nothing"

    def _mosquitto_config(self, port: int) -> str:
        lines = [
            f"listener {port} {HOST}",
            "allow_anonymous true",
            "persistence true",
            f"persistence_location {self._folder}/",
            # Bounds what a kill loses.
            "autosave_interval 60",
            "max_inflight_messages 100",
            "max_queued_messages 10000",
            "max_queued_bytes 1073741824",
            # A frame of 4 MiB as base64 in JSON, and the rest of the JSON.
            "max_packet_size 6291456",
            # Else a caption right after a PUBACK waits for the receiver's delayed ACK, 40 ms.
            "set_tcp_nodelay true",
            "sys_interval 2",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            *self._extra_lines,
        ]
        if os.geteuid() == 0:
            # It would switch to an account that cannot write here.
            lines.append("user root")
        return "\n".join(lines) + "\n"


def _amqtt_config(port: int) -> str:
    return json.dumps(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"{HOST}:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {}},
        }
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port
