"""The terminal that a live view owns while it lasts: its keys, its size in pixels, its answers."""

import asyncio
import fcntl
import os
import select
import struct
import sys
import termios
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

_ANSWER_WITHIN_S = 0.3  # a terminal behind a slow line is taken for one that cannot show pictures
_MAX_ANSWER = 256


_NONE = -1  # is no terminal


class Terminal:
    """Standard input and output of this process, where both are a terminal.

    Args:
        keys: Where keys come from.
        screen: Where is written.
    """

    def __init__(self, keys: int, screen: int) -> None:
        self._keys = keys
        self._screen = screen
        self._is_both = os.isatty(keys) and os.isatty(screen)

    @classmethod
    def standard(cls) -> "Terminal":
        """That of the process."""
        return cls(_descriptor(sys.stdin), _descriptor(sys.stdout))

    @contextmanager
    def single_keys(self) -> Iterator[None]:
        """Let keys come one by one, unseen; Ctrl-C stays what it is, Ctrl-Z suspends nothing."""
        if not self._is_both:
            yield
            return
        before = termios.tcgetattr(self._keys)
        tty.setcbreak(self._keys, termios.TCSANOW)
        self._disable_suspending()
        try:
            yield
        finally:
            with suppress(termios.error):  # it was closed meanwhile
                termios.tcsetattr(self._keys, termios.TCSANOW, before)

    def _disable_suspending(self) -> None:
        """A suspended view would leave its screen and its keys to the shell."""
        mode = termios.tcgetattr(self._keys)
        mode[6][termios.VSUSP] = bytes([os.fpathconf(self._keys, "PC_VDISABLE") & 0xFF])
        termios.tcsetattr(self._keys, termios.TCSANOW, mode)

    @contextmanager
    def listening(self, on_key: Callable[[str], None]) -> Iterator[None]:
        """Call `on_key` in the event loop with each key."""
        if not self._is_both:
            yield
            return
        loop = asyncio.get_running_loop()

        def read() -> None:
            try:
                keys = os.read(self._keys, 64)
            except OSError:
                keys = b""
            if not keys:  # closed: asking again would never end
                loop.remove_reader(self._keys)
            for key in keys.decode(errors="ignore"):
                on_key(key)

        loop.add_reader(self._keys, read)
        try:
            yield
        finally:
            loop.remove_reader(self._keys)

    def ask(self, question: str) -> str:
        """Write a question that ends with one for the attributes, and return the answers to it.

        Empty where no answer comes in time. Only inside `single_keys`.
        """
        if not self._is_both:
            return ""
        os.write(self._screen, question.encode())
        answer = b""
        deadline = time.monotonic() + _ANSWER_WITHIN_S
        while not answer.endswith(b"c") and len(answer) < _MAX_ANSWER:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._keys], [], [], left)[0]:
                return ""
            piece = os.read(self._keys, 64)
            if not piece:
                return ""
            answer += piece
        return answer.decode(errors="ignore")

    def cell(self) -> tuple[int, int] | None:
        """Width and height of a cell in pixels; None where the terminal does not say."""
        try:
            answer = fcntl.ioctl(self._screen, termios.TIOCGWINSZ, bytes(8))
        except OSError:
            return None
        rows, columns, width, height = struct.unpack("HHHH", answer)
        if not (rows and columns and width >= columns and height >= rows):
            return None
        return width // columns, height // rows


def _descriptor(stream: TextIO | None) -> int:
    try:
        return stream.fileno() if stream is not None else _NONE
    except (OSError, ValueError):  # closed, or none of the system's
        return _NONE
