"""Frames encoded beside what is generated: on a queue of the device, a little ahead of it.

A device that works on two things at once generates while it encodes, if the two are launched into
different queues. A frame is launched in units, one block of a network each, and no more of them at
once than keep the device busy until the next step: a queue cannot be overtaken, so whoever is more
urgent waits for what is launched and for nothing else.

Nothing here touches the pool of slots. Replayed steps write into idle slots below the highest that
runs, where contexts are fixed a slot is cleared when a row begins, and a slot may be taken or
cancelled at any time, all of it in the order of generating. A prefix that another queue wrote
straight into a slot would get in the way of each of these. So prefixes go to a small pool of their
own, and are copied into a slot, in the order of generating, once their event says that they are
there.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from moondream2.cache import SlotCache

#: Units that are launched and not done. A unit of three frames of the public model takes an H200
#: about a millisecond: fewer would run out while a step generates, more hold up who is urgent.
_MOST_LAUNCHED = 12


class Event(Protocol):
    """A place in a queue."""

    def is_done(self) -> bool:
        """Whether the device is past it."""


class Queue(Protocol):
    """Work of a device, done in order, beside the work that generates."""

    def launch(self, run: Callable[[], object]) -> Event:
        """Put what `run` launches at the end; the event is that of its last work."""


class CudaQueue:
    """A stream that gives way to those of a higher priority.

    Args:
        device: Where it runs.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]  # the lowest
        # The weights were made on the stream that is current.
        self._stream.wait_stream(torch.cuda.current_stream(device))

    def launch(self, run: Callable[[], object]) -> Event:
        """Launch on the stream."""
        with torch.cuda.stream(self._stream):
            run()
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record(self._stream)
        return _CudaEvent(event)


class _CudaEvent:
    def __init__(self, event: torch.cuda.Event) -> None:
        self._event = event

    def is_done(self) -> bool:
        return bool(self._event.query())  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Encoded:
    """What came out."""

    #: Of the frames, each in a slot, in order: their prefixes, and the prompts behind them.
    cache: SlotCache
    #: (F, W) output of the last block for the last token of each prompt; None: none was read.
    hidden: Tensor | None = None


class Ahead:
    """Frames that are encoded together.

    Args:
        rank: Their class.
        units: Launches one unit at each step, and gives what comes out at the last.
    """

    def __init__(self, rank: tuple[float, ...], units: Iterator[Encoded | None]) -> None:
        self.rank = rank
        self._units = units
        self._encoded: Encoded | None = None
        self._last: Event | None = None
        self._begun_at = 0.0

    @property
    def is_begun(self) -> bool:
        """Something of them is launched."""
        return self._last is not None

    @property
    def is_launched(self) -> bool:
        """All of them is launched."""
        return self._encoded is not None

    @property
    def is_done(self) -> bool:
        """What came out can be read."""
        return self.is_launched and self._last is not None and self._last.is_done()

    @property
    def seconds(self) -> float:
        """Time since the first unit was launched."""
        return time.monotonic() - self._begun_at

    @property
    def encoded(self) -> Encoded:
        """What came out."""
        assert self._encoded is not None, "frames are read before they are encoded"
        return self._encoded

    def launch(self, queue: Queue) -> Event:
        """Launch the next unit."""
        if self._last is None:
            self._begun_at = time.monotonic()
        self._last = queue.launch(self._next)
        return self._last

    def _next(self) -> None:
        self._encoded = next(self._units)
        if self._encoded is not None:
            self._units = iter(())  # and what they hold of activations is free


class Beside:
    """What is being encoded, by urgency.

    Args:
        queue: Where it is launched.
    """

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._waiting: list[Ahead] = []  # for the launch of a unit
        self._launched: deque[Event] = deque()

    def add(self, ahead: Ahead) -> None:
        """Take frames, of which nothing is launched yet."""
        self._waiting.append(ahead)

    def launch(self) -> None:
        """Launch units of the most urgent frames, as far ahead as may be.

        Raises:
            torch.OutOfMemoryError: What was added is then to be forgotten.
        """
        while self._launched and self._launched[0].is_done():
            self._launched.popleft()
        while self._waiting and len(self._launched) < _MOST_LAUNCHED:
            first = min(self._waiting, key=lambda ahead: ahead.rank)  # of equals the earliest
            self._launched.append(first.launch(self._queue))
            if first.is_launched:
                self._waiting.remove(first)

    def drop(self, ahead: Ahead) -> None:
        """Launch nothing more of frames that nobody wants."""
        if ahead in self._waiting:
            self._waiting.remove(ahead)

    def clear(self) -> None:
        """Forget all frames; what is launched is done all the same."""
        self._waiting.clear()
