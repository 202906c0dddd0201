"""What happens, as whoever listens over HTTP hears it: one ring of events, and readers behind it.

An event is written once, whatever the number of readers; a reader keeps nothing but its place in
the ring. So one that does not read costs no memory, is never waited for, and is dropped when the
ring's end has passed it. It may come back with the id of the last event it has seen.
"""

import asyncio
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from gateway.problems import Problem

KINDS = (
    "state",
    "status",
    "result",
    "settings",
    "camera",
    "stats",
    "metrics",
    "health",
    "info",
    "batch",
    "log",
    "dead_letter",
)

#: Of these only the newest counts: a reader that comes late is told it once.
_COALESCED = frozenset({"state", "stats", "metrics", "health", "info"})

# 64 cameras with 20 captions a second make 80 events and 60 KB: a reader may sleep for a minute.
_MOST_EVENTS = 8192
_MOST_BYTES = 8 << 20
_MOST_READERS = 512
_GATHER_S = 0.02  # events of one moment go to all readers at once
_MOST_AT_ONCE = 512  # events in one piece
_STATE_AGE_S = 0.25  # readers that come within it are given the same state, and what came since
_RETRY_MS = 3000
_PING = b":\n\n"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that has happened, written out.

    Attributes:
        number: Rises by one with each.
        kind: One of `KINDS`.
        data: JSON, in one line.
        wire: The same as it travels.
        camera_id: Whose it is, if it is a camera's; so with the job and the batch.
        is_last: Nothing more comes of the job or the batch.
    """

    number: int
    kind: str
    data: bytes
    wire: bytes
    camera_id: str | None = None
    job_id: str | None = None
    batch_id: str | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Said:
    """A document for those who listen; see `Event`."""

    kind: str
    data: bytes
    camera_id: str | None = None
    job_id: str | None = None
    batch_id: str | None = None
    is_last: bool = False


@dataclass(frozen=True, slots=True)
class Which:
    """What a reader wants to hear; None: all."""

    kinds: frozenset[str] | None = None
    camera_id: str | None = None
    job_id: str | None = None
    batch_id: str | None = None
    with_state: bool = True

    def concerns(self, event: Event) -> bool:
        """Whether it is of the camera, the job and the batch that are meant."""
        if event.kind == "state":
            return self.with_state
        return (
            self.camera_id in {None, event.camera_id}
            and self.job_id in {None, event.job_id}
            and self.batch_id in {None, event.batch_id}
        )

    def wants(self, event: Event) -> bool:
        """Whether it is told."""
        return (self.kinds is None or event.kind in self.kinds) and self.concerns(event)

    def ends_with(self, event: Event) -> bool:
        """Whether nothing comes behind it that is wanted."""
        is_meant = self.job_id is not None or self.batch_id is not None
        return is_meant and event.is_last and self.concerns(event)


class Happenings(Protocol):
    """What a reader is told at its beginning; see `service.web.news`."""

    def state(self) -> bytes:
        """Everything as it stands, as JSON."""

    async def of_job(self, job_id: str, camera_id: str | None) -> Sequence[Said]:
        """Where a job stands; nothing when it is not known."""

    async def of_batch(self, batch_id: str) -> Sequence[Said]:
        """How a batch is doing; nothing when it is not known."""


class News:
    """The ring.

    Args:
        happenings: What has been before.
        most_events: Kept for readers that come late or again.
        most_bytes: The same.
        most_readers: At once.
    """

    def __init__(
        self,
        happenings: Happenings,
        *,
        most_events: int = _MOST_EVENTS,
        most_bytes: int = _MOST_BYTES,
        most_readers: int = _MOST_READERS,
    ) -> None:
        self.happenings = happenings
        self._run = uuid.uuid4().hex[:8]  # numbers of another run mean nothing
        self._most_events = most_events
        self._most_bytes = most_bytes
        self._most_readers = most_readers
        self._events: dict[int, Event] = {}
        self._num_bytes = 0
        self._last = 0  # number of the newest event
        self._readers: set[Reader] = set()
        self._waking: asyncio.TimerHandle | None = None
        self._state: tuple[float, Event] | None = None  # when it was made
        self.is_closed = False

    def __len__(self) -> int:
        return len(self._readers)

    @property
    def num_bytes(self) -> int:
        """Of all events kept."""
        return self._num_bytes

    @property
    def first(self) -> int:
        """Number of the oldest event kept."""
        return self._last - len(self._events) + 1

    @property
    def last(self) -> int:
        """Number of the newest event."""
        return self._last

    def tell(self, said: Said) -> None:
        """Let all readers hear of something."""
        self._last += 1
        event = self._write(said, self._last)
        self._events[event.number] = event
        self._num_bytes += len(event.wire)
        while len(self._events) > self._most_events or self._num_bytes > self._most_bytes:
            oldest = self._events.pop(self.first)
            self._num_bytes -= len(oldest.wire)
        if self._readers and self._waking is None:
            self._waking = asyncio.get_running_loop().call_later(_GATHER_S, self._wake)

    def tell_state(self) -> None:
        """Tell everything anew: something has been missed."""
        self._state = None
        self.tell(Said("state", self.happenings.state()))

    def since(self, number: int) -> list[Event]:
        """The events behind one, as many as make a piece."""
        last = min(self._last, number + _MOST_AT_ONCE)
        return [self._events[each] for each in range(max(number + 1, self.first), last + 1)]

    def state(self) -> Event:
        """Everything as it stood a moment ago; what has come since is behind its number."""
        now = asyncio.get_running_loop().time()
        is_fresh = self._state is not None and now - self._state[0] < _STATE_AGE_S
        if not is_fresh or self._state is None or self._state[1].number + 1 < self.first:
            event = self._write(Said("state", self.happenings.state()), self._last)
            self._state = now, event
        return self._state[1]

    def now(self, said: Said) -> bytes:
        """Something of before, as it travels to one reader alone."""
        return self._write(said, self._last).wire

    def place_of(self, event_id: str | None) -> int | None:
        """The number of the last event that a reader has seen; None: it has to begin anew."""
        run, _, number = (event_id or "").partition("-")
        if run != self._run or not number.isascii() or not number.isdigit() or len(number) > 18:
            return None
        place = int(number)
        return place if self.first - 1 <= place <= self._last else None

    @contextmanager
    def reader(self, which: Which, drop: Callable[[], None]) -> "Iterator[Reader]":
        """Listen while the block lasts.

        Args:
            which: What is told.
            drop: Called when it has fallen behind.

        Raises:
            Problem: `busy`: too many listen.
        """
        if len(self._readers) >= self._most_readers:
            raise Problem(
                "busy",
                f"{self._most_readers} listen to the events already; try again later",
                retry_after_s=10.0,
            )
        reader = Reader(self, which, drop)
        self._readers.add(reader)
        try:
            yield reader
        finally:
            self._readers.discard(reader)

    def close(self) -> None:
        """Let all readers end."""
        self.is_closed = True
        for reader in self._readers:
            reader.wake()
        if self._waking is not None:
            self._waking.cancel()

    def _wake(self) -> None:
        self._waking = None
        for reader in list(self._readers):
            if reader.is_behind:
                reader.drop()
            else:
                reader.wake()

    def _write(self, said: Said, number: int) -> Event:
        head = f"id: {self._run}-{number}\nevent: {said.kind}\ndata: ".encode()
        return Event(
            number,
            said.kind,
            said.data,
            head + said.data + b"\n\n",
            said.camera_id,
            said.job_id,
            said.batch_id,
            said.is_last,
        )


class Reader:
    """Follows the ring; made by `News.reader`."""

    def __init__(self, news: News, which: Which, drop: Callable[[], None]) -> None:
        self._news = news
        self._which = which
        self._place = news.last
        self._awake = asyncio.Event()
        self._is_over = False
        self.drop = drop

    @property
    def is_behind(self) -> bool:
        """Whether it has missed something."""
        return self._place + 1 < self._news.first

    def wake(self) -> None:
        """Something has happened."""
        self._awake.set()

    async def begin(self, last_event_id: str | None) -> bytes:
        """What comes first: how to come back, and where things stand."""
        news, which = self._news, self._which
        head = f"retry: {_RETRY_MS}\n\n".encode()
        if (place := news.place_of(last_event_id)) is not None:
            self._place = place
            return head
        before = await self._before()
        if not which.with_state:
            return head + before
        state = news.state()
        self._place = min(self._place, state.number)
        return head + state.wire + before

    async def _before(self) -> bytes:
        """Where the job or the batch stands that is meant; what comes meanwhile comes behind it."""
        which, happenings = self._which, self._news.happenings
        found: list[Said] = []
        if which.job_id is not None:
            found += await happenings.of_job(which.job_id, which.camera_id)
        if which.batch_id is not None:
            found += await happenings.of_batch(which.batch_id)
        self._is_over = any(each.is_last for each in found)
        wanted = (each for each in found if which.kinds is None or each.kind in which.kinds)
        return b"".join(map(self._news.now, wanted))

    async def next(self, silence_s: float) -> bytes | None:
        """What has happened since; a comment after a silence; None: nothing more comes."""
        while not (self._is_over or self._news.is_closed or self.is_behind):
            self._awake.clear()
            if pieces := self._take():
                return b"".join(pieces)
            if self._place < self._news.last or self._is_over:
                continue
            try:
                async with asyncio.timeout(silence_s):
                    await self._awake.wait()
            except TimeoutError:
                return _PING
        return None

    def _take(self) -> list[bytes]:
        events = self._news.since(self._place)
        wanted: list[Event] = []
        for event in events:
            if self._which.wants(event):
                wanted.append(event)
            self._is_over = self._is_over or self._which.ends_with(event)
        if events:
            self._place = events[-1].number
        newest = {event.kind: event.number for event in wanted if event.kind in _COALESCED}
        return [
            event.wire for event in wanted if newest.get(event.kind, event.number) == event.number
        ]
