"""A live view on the terminal, until its documents end or a key ends it."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress

from rich.console import Console

from service.commands.follow import Document
from service.commands.live.frame import Frame
from service.commands.live.graphics import Graphics, detect
from service.commands.live.screen import ENTER, LEAVE, Screen
from service.commands.live.thumbnails import decoded_or_none
from service.commands.live.tty import Terminal
from service.commands.view import View

REFRESHES_PER_SECOND = 4  # a terminal over ssh keeps up; faster shows nothing more


async def show(
    view: View,
    documents: AsyncIterator[Document],
    console: Console,
    terminal: Terminal,
    graphics: Graphics,
) -> None:
    """Show what comes; returns when `q` is pressed or the terminal is gone.

    Args:
        view: Fed with the documents.
        documents: What the service publishes.
        console: On a terminal.
        terminal: The same, for its keys.
        graphics: How pictures are drawn.
    """
    screen = Screen(console, graphics)
    with (
        terminal.single_keys(),
        _alternate(screen) as output,
        terminal.listening(view.press),
    ):
        feeding = asyncio.create_task(_feed(view, documents), name="feed the view")
        refreshing = asyncio.create_task(_refresh(view, screen, console, output), name="refresh")
        tasks = (feeding, refreshing)
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()


def graphics_of(console: Console, terminal: Terminal, *, with_images: bool) -> Graphics:
    """What the terminal can draw; asks it where the environment does not say."""
    if not with_images:
        return Graphics()
    colors = None if console.no_color else console.color_system
    with terminal.single_keys():  # or its answer would be seen
        return detect(os.environ, colors, terminal.cell(), terminal.ask)


class _Output:
    """Standard output, which a thread may still write to when the view has ended."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_open = True

    def write(self, text: str) -> None:
        """Write at once; nothing after `close`."""
        with self._lock:
            if self._is_open and text:
                self._put(text)

    def close(self, text: str) -> None:
        """Write the last."""
        with self._lock:
            self._is_open = False
            with suppress(OSError):  # the terminal is gone
                self._put(text)

    def _put(self, text: str) -> None:
        # Letters that the terminal's encoding lacks are no reason to end.
        sys.stdout.buffer.write(text.encode(sys.stdout.encoding, "replace"))
        sys.stdout.buffer.flush()


@contextmanager
def _alternate(screen: Screen) -> Iterator[_Output]:
    output = _Output()
    output.write(ENTER)
    try:
        yield output
    finally:
        output.close(screen.removal() + LEAVE)


async def _feed(view: View, documents: AsyncIterator[Document]) -> None:
    async for document in documents:
        view.feed(document)


async def _refresh(view: View, screen: Screen, console: Console, output: _Output) -> None:
    def write(frame: Frame, width: int, height: int) -> None:
        output.write(screen.paint(frame, width, height))

    while not view.is_closed:
        # Decoding waits for the processor and writing for the terminal: neither is for the loop.
        if (taken := view.thumbnails.take(view.pictured)) is not None:
            picture = await asyncio.to_thread(decoded_or_none, taken[1])
            view.thumbnails.keep(taken[0], picture)
        width, height = console.size
        try:
            await asyncio.to_thread(write, view.compose(width, height), width, height)
        except OSError:  # nobody can see it any more
            return
        await asyncio.sleep(1 / REFRESHES_PER_SECOND)
