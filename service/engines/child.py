"""One child process and the socket to it: started, spoken with, killed.

The child gets its own process group, so that a kill takes whatever it started with it and a Ctrl-C
at the terminal does not reach it. What it writes to stdout and stderr is logged, never parsed.
"""

import asyncio
import logging
import os
import re
import signal
import socket
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType

from engine.protocol import (
    PREAMBLE_BYTES,
    Message,
    ToEngine,
    decode,
    encode,
    lengths,
)

logger = logging.getLogger(__name__)

_LONGEST_LINE = 2000  # characters; the rest of a longer line is logged as the next one
_LEVELS = {
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
}
_NATIVE_WARNING = re.compile(r"\[W\d{0,4}[ :]")  # of torch's C++ side: for who writes programs
_OUR_SETTINGS = "MOONDREAM2MQTT__"  # broker password and webhook secret are not for the engine


class Child:
    """A running child.

    Args:
        command: Program and arguments; `--socket FD` is appended.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._last_error = ""

    async def __aenter__(self) -> "Child":
        ours, theirs = socket.socketpair()
        with theirs, ExitStack() as undo:
            undo.callback(ours.close)
            self._reader, self._writer = await asyncio.open_connection(sock=ours)
            undo.callback(self._writer.close)
            self._process = await self._spawn(theirs.fileno())
            undo.pop_all()
        self._log = asyncio.create_task(self._log_lines(), name="engine log")
        return self

    async def _spawn(self, descriptor: int) -> Process:
        return await asyncio.create_subprocess_exec(
            *self._command,
            *("--socket", str(descriptor)),
            pass_fds=[descriptor],
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=STDOUT,
            start_new_session=True,
            env=child_environment(),
        )

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        closing = asyncio.create_task(self._close(), name="engine close")
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError:
            await closing  # takes no time, and a child is never left behind
            raise

    async def _close(self) -> None:
        self.kill()
        self._writer.close()
        await self._process.wait()
        await self._drain_log()

    @property
    def pid(self) -> int:
        """Of the child, and of its process group."""
        return self._process.pid

    async def send(self, message: ToEngine) -> None:
        """Write a message; it may be lost when the child is ending.

        Waits while the child reads more slowly than we write.
        """
        self._writer.write(encode(message))
        try:
            await self._writer.drain()
        except ConnectionError:
            logger.debug("%s was not sent: the engine is ending", type(message).__name__)

    async def receive(self) -> Message | None:
        """Wait for the next message; None once the child has closed its side.

        Raises:
            ValueError: What came is not a message.
        """
        try:
            header_size, body_size = lengths(await self._reader.readexactly(PREAMBLE_BYTES))
            header = await self._reader.readexactly(header_size)
            body = await self._reader.readexactly(body_size)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        try:
            return decode(header, body)
        except ValueError:
            logger.error("not a message: %r", header[:200], extra={"action": "engine_output"})
            raise

    def kill(self) -> None:
        """End the child and its group at once; harmless when it has ended."""
        if self._process.returncode is None:
            try:
                os.killpg(self._process.pid, signal.SIGKILL)
            except ProcessLookupError:
                logger.debug("the engine had ended by itself")

    async def explain_end(self, patience_s: float = 2.0) -> str:
        """Say how the child ended, with the last error that it logged.

        What else it wrote may be anything, as a traceback's text: that is for our log alone.
        """
        try:
            async with asyncio.timeout(patience_s):
                code = await self._process.wait()
        except TimeoutError:
            return "closed its connection and did not end"
        await self._drain_log()
        how = f"was ended by {_signal_name(-code)}" if code < 0 else f"exited with {code}"
        return f"{how}: {self._last_error}" if self._last_error else how

    async def _drain_log(self) -> None:
        """Read what is left in the pipe; something that left the group may still hold it open."""
        await asyncio.wait({self._log}, timeout=2.0)
        self._log.cancel()

    async def _log_lines(self) -> None:
        """Log what the child writes, line by line, and keep the last error."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 - PIPE was asked for
        rest = b""
        while chunk := await stream.read(4096):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._log_line(line)
            if len(rest) > _LONGEST_LINE:
                self._log_line(rest)
                rest = b""
        self._log_line(rest)

    def _log_line(self, line: bytes) -> None:
        text = line.decode(errors="replace").rstrip()
        if not text:
            return
        level, _, message = text.partition(" ")
        if level not in _LEVELS:  # not from our logging: a traceback, a library, the C runtime
            level, message = "DEBUG" if _NATIVE_WARNING.match(text) else "WARNING", text
        if level == "ERROR":
            self._last_error = message
        logger.log(_LEVELS[level], "%s", message, extra={"action": "engine_output"})


def child_environment() -> dict[str, str]:
    """The environment of every child, which may meet hostile bytes: no secrets, no telemetry.

    huggingface_hub would tell the hub which libraries are installed, in which versions.
    """
    ours = {name: each for name, each in os.environ.items() if not name.startswith(_OUR_SETTINGS)}
    return {**ours, "HF_HUB_DISABLE_TELEMETRY": "1"}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
