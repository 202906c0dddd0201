"""`watch` on a real broker, as lines and on a terminal."""

import asyncio
import fcntl
import os
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiomqtt
import pytest

from broker import codec
from broker.embedded import EmbeddedBroker
from broker.topics import Topics
from tests.integration.test_commands import run_command, start_command
from tests.support.factories import make_image
from tests.unit.service.commands.test_view import make_result

pytestmark = pytest.mark.timeout(180)  # an interpreter starts in each

SOON_S = 40.0
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
SIXEL_TERMINAL = b"\x1b[6;20;10t\x1b[?62;4c"


@pytest.fixture
def environment(own_mosquitto: EmbeddedBroker, topic_base: str) -> dict[str, str]:
    return {
        "MOONDREAM2MQTT__MQTT__PORT": str(own_mosquitto.port),
        "MOONDREAM2MQTT__MQTT__BASE_TOPIC": topic_base,
    }


async def publish(broker: EmbeddedBroker, topic: str, payload: bytes | str) -> None:
    async with aiomqtt.Client(broker.host, broker.port) as client:
        await client.publish(topic, payload, qos=1, retain=True)


class TerminalOfTest:
    """The far side of a pseudo terminal: what the program writes, and keys for it.

    Args:
        answer: What the terminal says when it is asked for its attributes.
    """

    def __init__(self, answer: bytes) -> None:
        self.written = ""
        self._answer = answer
        self._changed = asyncio.Event()
        self._ours, self.theirs = os.openpty()
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
        self.settings: list[Any] = termios.tcgetattr(self.theirs)

    def read(self) -> None:
        data = os.read(self._ours, 65536)
        self.written += data.decode(errors="replace")
        if data.endswith(b"\x1b[c"):
            os.write(self._ours, self._answer)
        self._changed.set()

    def press(self, key: str) -> None:
        os.write(self._ours, key.encode())

    async def shows(self, text: str) -> None:
        """Wait until it was written, and forget what was written before."""
        async with asyncio.timeout(SOON_S):
            while text not in self.written:
                self._changed.clear()
                await self._changed.wait()
        self.written = self.written.partition(text)[2]

    @asynccontextmanager
    async def running(
        self, *words: str, environment: dict[str, str]
    ) -> AsyncIterator[asyncio.subprocess.Process]:
        loop = asyncio.get_running_loop()
        loop.add_reader(self._ours, self.read)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "service", *words),
            stdin=self.theirs,
            stdout=self.theirs,
            stderr=self.theirs,
            env={
                **{name: value for name, value in os.environ.items() if name not in HIDDEN},
                "TERM": "xterm-256color",
                **environment,
            },
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            loop.remove_reader(self._ours)
            os.close(self._ours)
            os.close(self.theirs)


HIDDEN = {"TMUX", "STY", "ZELLIJ", "TERM_PROGRAM", "LC_TERMINAL", "KITTY_WINDOW_ID", "NO_COLOR"}


@pytest.mark.parametrize("camera", ["a/b", "bridge", "", "front door"])
async def test_camera_that_cannot_be_one_is_bad_usage(camera: str) -> None:
    ended = await run_command("watch", "--camera", camera)
    assert ended.code == 2
    assert "cannot name a camera" in ended.err


async def test_lines_go_on_after_the_broker_was_away(
    own_mosquitto: EmbeddedBroker, topic_base: str, environment: dict[str, str]
) -> None:
    caption = Topics(topic_base).caption("front")
    await publish(own_mosquitto, caption, codec.encode(make_result("Before.", camera_id="front")))
    process = await start_command("watch", "--lines", environment=environment)
    assert process.stdout is not None
    assert process.stderr is not None
    assert b"Before." in await process.stdout.readline()
    await own_mosquitto.stop(kill=True)
    assert b"trying again: broker" in await process.stderr.readline()
    await own_mosquitto.start()
    await publish(own_mosquitto, caption, codec.encode(make_result("After.", camera_id="front")))
    async with asyncio.timeout(SOON_S):
        while b"After." not in await process.stdout.readline():
            pass
    process.send_signal(signal.SIGINT)
    await process.communicate()
    assert process.returncode == 130


async def test_camera_that_was_never_seen_is_said_on_stderr(environment: dict[str, str]) -> None:
    process = await start_command("watch", "--camera", "front_dor", environment=environment)
    assert process.stderr is not None
    assert b"nothing of camera front_dor below" in await process.stderr.readline()
    process.send_signal(signal.SIGINT)
    await process.communicate()


async def test_live_view_survives_its_broker_and_leaves_the_terminal_as_it_was(
    own_mosquitto: EmbeddedBroker, topic_base: str, environment: dict[str, str]
) -> None:
    caption = Topics(topic_base).caption("front")
    await publish(own_mosquitto, caption, codec.encode(make_result("Before.", camera_id="front")))
    terminal = TerminalOfTest(answer=b"\x1b[?62;22c")
    async with terminal.running("watch", environment=environment) as process:
        await terminal.shows(ENTER)
        await terminal.shows("Before.")
        await terminal.shows("no service")
        await own_mosquitto.stop(kill=True)
        await terminal.shows("no broker since 1 s")
        await own_mosquitto.start()
        answer = codec.encode(make_result("After.", camera_id="front"))
        await publish(own_mosquitto, caption, answer)
        await terminal.shows("After.")
        terminal.press("q")
        await terminal.shows(LEAVE)
        assert await process.wait() == 0
        assert termios.tcgetattr(terminal.theirs) == terminal.settings


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
async def test_live_view_that_is_ended_leaves_the_terminal_as_it_was(
    ending: signal.Signals, environment: dict[str, str]
) -> None:
    terminal = TerminalOfTest(answer=b"")
    async with terminal.running("watch", environment=environment) as process:
        await terminal.shows("no service")
        process.send_signal(ending)
        await terminal.shows(LEAVE)
        assert await process.wait() in {130, 128 + signal.SIGTERM}
        assert termios.tcgetattr(terminal.theirs) == terminal.settings


async def test_pictures_come_as_the_terminal_can(
    own_mosquitto: EmbeddedBroker, topic_base: str, environment: dict[str, str]
) -> None:
    topics = Topics(topic_base)
    document = codec.encode(make_result("A dog.", camera_id="front"))
    await publish(own_mosquitto, topics.caption("front"), document)
    await publish(own_mosquitto, topics.image("front"), b"\xff\xd8\xff no picture")
    terminal = TerminalOfTest(SIXEL_TERMINAL)
    async with terminal.running("watch", environment=environment) as process:
        await terminal.shows("A dog.")
        assert "\x1bP" not in terminal.written
        await publish(own_mosquitto, topics.image("front"), make_image())
        await terminal.shows("\x1bP0;1;0q")
        terminal.press("q")
        assert await process.wait() == 0


async def test_suspending_is_off_while_the_view_has_the_terminal(
    environment: dict[str, str],
) -> None:
    terminal = TerminalOfTest(answer=b"")
    async with terminal.running("watch", environment=environment) as process:
        await terminal.shows("no service")
        assert termios.tcgetattr(terminal.theirs)[6][termios.VSUSP] == b"\0"
        terminal.press("q")
        assert await process.wait() == 0
        assert termios.tcgetattr(terminal.theirs) == terminal.settings


async def test_dumb_terminal_gets_lines(
    own_mosquitto: EmbeddedBroker, topic_base: str, environment: dict[str, str]
) -> None:
    caption = Topics(topic_base).caption("front")
    await publish(own_mosquitto, caption, codec.encode(make_result("A dog.", camera_id="front")))
    terminal = TerminalOfTest(answer=b"")
    async with terminal.running("watch", environment={**environment, "TERM": "dumb"}) as process:
        await terminal.shows("front critical A dog.")
        assert "\x1b" not in terminal.written
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 130
