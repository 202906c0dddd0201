"""A folder as a reader has it who follows a page, with a broker where plain commands find one.

Commands are run as they stand in the page. What cannot be is in `NOT_RUN`, with its reason; what
never ends by itself is ended once it has done its work.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from demo import picture
from tests.docs.reference import ROOT
from tests.support.checker import until
from tests.support.conversation import Conversation
from tests.support.free_port import free_port

#: Beginnings of commands that are not run, and why.
NOT_RUN = {
    "make demo": "tests/integration/test_demo.py runs its program",
    "docker ": "needs Docker's engine",
    "uvx ": "an environment of 3 GB; the wheel itself is built and tried in tests/docs",
    "uv tool install ": "the same",
    "pipx install ": "the same",
    "pip install ": "the same",
    "moondream2mqtt download": "4 GB from the hub",
}
_CLIENTS = ("mosquitto_pub", "mosquitto_sub", "mosquitto_rr")
#: They set the shell up for what comes after them.
_OF_THE_SHELL = ("source ", "export ")
_LIMIT_S = 60.0
_LISTENS_S = 3  # mosquitto_sub without an end of its own
_TIMED_OUT = 27  # its exit code then
_INTERRUPTED = 130

# The gateway is where it listens here, and what it refuses is an error, with what it said.
_CURL = """#!/bin/bash
exec {program} --no-progress-meter --fail-with-body "${{@//localhost:8808/127.0.0.1:{port}}}"
"""
# Wherever the page says that the broker is, and in the order of the page's words.
_CLIENT = """#!/bin/bash
words=()
while [ $# -gt 0 ]; do
  case "$1" in -h) shift 2 ;; *) words+=("$1"); shift ;; esac
done
exec {program} -h 127.0.0.1 -p {port} "${{words[@]}}"
"""


@dataclass(slots=True)
class Sandbox:
    """A clone in which nothing has been done, or one in which the quickstart has.

    Args:
        folder: Empty.
        talk: With the broker; hears what the service says.
        port: Of the broker.
        is_set_up: The environment is active, there are `config.yaml` and `photo.jpg`.

    Attributes:
        out: What the newest command printed.
    """

    folder: Path
    talk: Conversation
    port: int
    is_set_up: bool
    out: str = ""
    _shell: list[str] = field(default_factory=list)
    _http_port: int = field(default_factory=free_port)
    _service: Process | None = None

    async def __aenter__(self) -> Self:
        (self.folder / "bin").mkdir()
        for name in _CLIENTS:
            client = self.folder / "bin" / name
            client.write_text(_CLIENT.format(program=shutil.which(name), port=self.port))
            client.chmod(0o755)
        if (program := shutil.which("curl")) is not None:
            curl = self.folder / "bin" / "curl"
            curl.write_text(_CURL.format(program=program, port=self._http_port))
            curl.chmod(0o755)
        environment = self.folder / ".venv" / "bin"
        environment.mkdir(parents=True)
        # The one that runs the tests, whatever it is called; the clients above come before its own.
        activate = f'PATH="{self.folder / "bin"}:{Path(sys.executable).parent}:$PATH"\n'
        (environment / "activate").write_text(activate)
        for name in ("config.example.yaml", ".env.example"):
            shutil.copy(ROOT / name, self.folder)
        shutil.copytree(ROOT / "mosquitto", self.folder / "mosquitto")
        if self.is_set_up:
            self._shell.append("source .venv/bin/activate")
            self.write("config.yaml", "{}")
            (self.folder / "mosquitto" / "passwd").touch(0o600)
            picture.main([str(self.folder / "photo.jpg")])
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        service, self._service = self._service, None
        if service is None:
            return
        with suppress(ProcessLookupError):
            service.terminate()
        async with asyncio.timeout(_LIMIT_S):
            code = await service.wait()
        assert code == 0 or error, self._log

    def write(self, name: str, content: str) -> None:
        """Put a file there that the page shows, changed as its reader does: to the broker's place.

        Args:
            name: Below the folder.
            content: YAML is changed, everything else left as it is.
        """
        path = self.folder / name
        path.write_text(content, encoding="utf-8")
        if path.suffix == ".yaml":
            settings = yaml.safe_load(content)
            settings.setdefault("mqtt", {}).update(host="127.0.0.1", port=self.port)
            settings.setdefault("http", {}).update(port=self._http_port)
            path.write_text(yaml.safe_dump(settings), encoding="utf-8")

    async def run(self, command: str) -> None:
        """Do what a reader does with a command.

        Raises:
            AssertionError: It failed, or complained, or its frame was not accepted.
        """
        if command.startswith(tuple(NOT_RUN)):
            return
        if command.startswith("moondream2mqtt serve"):
            await self.serve(command)
        elif command.startswith("moondream2mqtt watch"):
            await self._watch(command)
        elif command.startswith("mosquitto_sub ") and " -C " not in command:
            timed = command.replace("mosquitto_sub ", f"mosquitto_sub -W {_LISTENS_S} ", 1)
            await self._succeed(timed, _TIMED_OUT)
            assert self.out, f"{command}: nothing was heard"
        elif frames := re.findall(r"mosquitto_pub .*-t moondream2mqtt/(\w+)/frame", command):
            before = len(self._ends(frames[0]))
            await self._succeed(command)
            await self._accepts(frames[0], before)
        else:
            await self._succeed(command)
            if command.startswith(_OF_THE_SHELL):
                self._shell.append(command)
            elif command.startswith("cp config.example.yaml "):
                name = command.split()[-1]
                self.write(name, (self.folder / name).read_text(encoding="utf-8"))

    async def serve(self, command: str = "moondream2mqtt serve") -> None:
        """Start the service, once in a page, and wait until it takes frames."""
        if self._service is not None:
            return
        with (self.folder / "service.log").open("wb") as log:
            self._service = await self._start(command, log.fileno())
        online = asyncio.create_task(self.talk.wait_for("bridge/health", status="healthy"))
        ended = asyncio.create_task(self._service.wait())
        await asyncio.wait({online, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        assert online.done(), self._log
        await online

    async def publish(self, document: str) -> None:
        """Send a frame in JSON as the page has it."""
        before = len(self._ends("front_door"))
        await self.talk.send("front_door", document.encode())
        await self._accepts("front_door", before)

    async def _watch(self, command: str) -> None:
        """Look at one caption, and press Ctrl-C."""
        process = await self._start(command, PIPE)
        assert process.stdout is not None
        seen = asyncio.create_task(process.stdout.readline())
        while not seen.done():
            await self.talk.send("front_door", (self.folder / "photo.jpg").read_bytes())
            await asyncio.wait({seen}, timeout=1)
        process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
        assert seen.result(), errors.decode()
        assert process.returncode == _INTERRUPTED

    async def _succeed(self, command: str, *also: int) -> None:
        """Run a command to its end, which is 0 or one of `also`."""
        process = await self._start(command, PIPE)
        async with asyncio.timeout(_LIMIT_S):
            self.out, err = (each.decode() for each in await process.communicate())
        said = f"{command}\n{self.out}\n{err}\n{self._log}"
        assert process.returncode in {0, *also}, said
        assert not re.search(r"\berror\b|traceback|not authori", err, re.IGNORECASE), said

    async def _start(self, command: str, out: int) -> Process:
        script = "\n".join(["set -euo pipefail", *self._shell, _last(command)])
        return await asyncio.create_subprocess_exec(
            *("bash", "-c", script),
            cwd=self.folder,
            env=self._environment(),
            stdin=DEVNULL,
            stdout=out,
            stderr=PIPE if out == PIPE else out,
        )

    def _environment(self) -> dict[str, str]:
        ours = {
            "HOME": str(self.folder),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "HF_HUB_OFFLINE": "1",
            "MOONDREAM2MQTT__MODEL__NAME": str(ROOT / "demo" / "model"),
            "MOONDREAM2MQTT__MODEL__DEVICE": "cpu",
            "MOONDREAM2MQTT__STATS_INTERVAL": "0.5",  # how soon it is seen that all is well
        }
        if not (self.folder / "config.yaml").exists():  # their broker is where it is looked for
            ours["MOONDREAM2MQTT__MQTT__PORT"] = str(self.port)
        others = {k: v for k, v in os.environ.items() if not k.startswith("MOONDREAM2MQTT")}
        return {**others, **ours}

    async def _accepts(self, camera_id: str, before: int) -> None:
        """Wait for one more end of a frame, which is that of an accepted one."""
        await until(lambda: len(self._ends(camera_id)) > before, _LIMIT_S)
        assert self._ends(camera_id)[-1] in {"completed", "duplicate"}

    def _ends(self, camera_id: str) -> list[str]:
        """Of the camera's frames, so far."""
        return [
            each for each in self.talk.statuses(camera_id) if each not in {"queued", "processing"}
        ]

    @property
    def _log(self) -> str:
        path = self.folder / "service.log"
        return path.read_text(encoding="utf-8", errors="replace")[-3000:] if path.exists() else ""


def _last(command: str) -> str:
    """In place of the shell, so that signals reach it; a pipeline has no one place."""
    is_one = command.startswith("moondream2mqtt ") and not re.search(r"[|&;]", command)
    return f"exec {command}" if is_one else command
