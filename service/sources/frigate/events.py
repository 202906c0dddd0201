"""The tracked objects and reviews that are followed: in memory, and in the store behind it.

Bounded in number, whatever Frigate says: for one more than `MOST_OPEN`, the one that was silent
longest is forgotten, until something is said of it again; where more than half have ended and wait
for their pictures, the oldest of these is let go. Each is kept once, as it was said last; a
thousand updates a second of fifty objects are fifty rows, written together a few times a second.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable
from contextlib import suppress

from schemas.frigate import Subject
from service.boundary import isolate
from service.clock import Clock
from service.logs import Throttle
from service.sources.frigate.moments import Followed
from service.store.frigate_events import FrigateEvents, KeptSubject, subject_key
from service.store.retry import until_stored

logger = logging.getLogger(__name__)

MOST_OPEN = 1_000
_MOST_PARTS = 2_000  # events of which it is known which review they belong to
MOST_DONE = 10_000  # at some 100 bytes in memory
_LAST_WRITE_S = 2.0
_WRITE_EVERY_S = 0.5  # unless somebody waits for it


class Events:
    """Knows them by key; see `service.store.frigate_events.subject_key`.

    Args:
        store: Where they outlive a restart.
        clock: For when they were heard of.

    Attributes:
        news: Set when there is something new of one.
        reviews: The id of the review that an event is part of, by the event's.
    """

    def __init__(self, store: FrigateEvents, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._open: dict[str, Followed] = {}
        self._done: dict[str, float] = {}  # when heard of last, the oldest first
        self._by_job: dict[str, Followed] = {}
        self._dirty: dict[str, Followed] = {}
        self._gone: set[str] = set()  # to be deleted in the store
        self._unstored: set[str] = set()  # of which something is new that must not be lost
        self._committed: asyncio.Future[None] | None = None  # for those that wait
        self._warnings = Throttle()
        self._to_write = asyncio.Event()
        self._urgent = asyncio.Event()
        self.news = asyncio.Event()
        self.reviews: dict[str, str] = {}

    @property
    def open(self) -> Collection[Followed]:
        """Those of which something may still be due."""
        return self._open.values()

    def is_over(self, subject: Subject) -> bool:
        """Whether its end is known already."""
        each = self._open.get(subject_key(subject))
        return subject_key(subject) in self._done if each is None else each.ended is not None

    async def load(self) -> None:
        """Know what an earlier run has left.

        Raises:
            StoreError: It cannot be read.
        """
        for kept in await self._store.load():
            if kept.is_done:
                self._done[kept.key] = kept.heard
            else:
                self._open[kept.key] = _followed(kept)
        self._make_room()
        self.news.set()

    def hear(self, subject: Subject, *, is_old: bool = False) -> Followed | None:
        """Frigate says something of one; None when that is done already.

        Args:
            subject: As it is now.
            is_old: It ended while nobody listened.
        """
        key, now = subject_key(subject), self._clock.monotonic()
        self._note_parts(subject)
        if key in self._done:
            return None
        each = self._open.get(key)
        if each is None or _is_news(each.subject, subject):
            self._unstored.add(key)
        if each is None:
            ended = now if subject.is_ended else None
            each = Followed(subject, now, now, ended=ended, is_old=is_old)
            self._open[key] = each
            self._gone.discard(key)
            self._make_room()
        else:
            each.hear(subject, now)
            each.is_old = each.is_old or is_old
        self.note(each)
        self.news.set()
        return each

    def note(self, each: Followed) -> None:
        """Let the store know how it stands, soon."""
        self._dirty[subject_key(each.subject)] = each
        self._to_write.set()

    def committed(self, subject: Subject) -> "asyncio.Future[None] | None":
        """Be told when what was heard of one is in the store.

        None where nothing must be: whoever says the same of it a thousand times waits once.
        """
        if subject_key(subject) not in self._unstored:
            return None
        if self._committed is None:
            self._committed = asyncio.get_running_loop().create_future()
        self._urgent.set()
        self._to_write.set()
        return self._committed

    def waits(self, each: Followed, job_key: str | None) -> None:
        """Its newest job, until that ends."""
        if each.waiting_key is not None:
            self._by_job.pop(each.waiting_key, None)
        each.waiting_key = job_key
        if job_key is not None:
            self._by_job[job_key] = each

    def job_ended(self, job_key: str) -> None:
        """One of its jobs has ended, however."""
        each = self._by_job.get(job_key)
        if each is not None:
            self.waits(each, None)
            self.news.set()

    def finish(self, each: Followed) -> None:
        """Follow one no further."""
        each.is_done = True
        self.waits(each, None)
        key = subject_key(each.subject)
        self._open.pop(key, None)
        self._done[key] = each.heard
        self.note(each)
        while len(self._done) > MOST_DONE:
            self._gone.add(oldest := next(iter(self._done)))
            del self._done[oldest]

    def forget_done(self, older_s: float) -> None:
        """Forget what is done and was not heard of for so long."""
        before = self._clock.monotonic() - older_s
        old = [key for key, heard in self._done.items() if heard < before]
        for key in old:
            del self._done[key]
        self._gone.update(old)
        self._to_write.set()

    async def run(self) -> None:
        """Write for ever what has changed."""
        while True:
            await self._to_write.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(_WRITE_EVERY_S):
                    await self._urgent.wait()
            self._to_write.clear()
            self._urgent.clear()
            await self.flush()

    async def close(self) -> None:
        """Write what has changed, at the end."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WRITE_S):
                await self.flush()

    async def flush(self) -> None:
        """Write what has changed."""
        waiting, self._committed = self._committed, None
        self._unstored.clear()
        changed, self._dirty = self._dirty, {}
        gone, self._gone = list(self._gone), set()
        try:
            if changed:
                what = "of Frigate's events cannot be stored"
                await isolate(self._save, list(changed.values()), what)
            if gone:
                what = "old events of Frigate's cannot be deleted"
                await until_stored(lambda: self._store.delete(gone), what)
        except asyncio.CancelledError:
            self._dirty = changed | self._dirty  # for `close`
            self._gone.update(each for each in gone if each not in self._dirty)
            raise
        finally:
            if waiting is not None and not waiting.done():
                waiting.set_result(None)

    async def _save(self, some: Iterable[Followed]) -> None:
        rows = [_kept(each) for each in some]
        await until_stored(
            lambda: self._store.save(rows), f"{len(rows)} of Frigate's events cannot be stored"
        )

    def _note_parts(self, subject: Subject) -> None:
        for event_id in subject.detections:
            self.reviews.pop(event_id, None)  # the newest stand last
            self.reviews[event_id] = subject.id
        while len(self.reviews) > _MOST_PARTS:
            del self.reviews[next(iter(self.reviews))]

    def _make_room(self) -> None:
        while len(self._open) > MOST_OPEN:
            if self._warnings.allows("evicted", self._clock.monotonic()):
                logger.warning(
                    "more than %d of Frigate's objects are followed, some are let go",
                    MOST_OPEN,
                    extra={"action": "frigate_event_evicted"},
                )
            ended = [each for each in self._open.values() if each.ended is not None]
            if len(ended) > MOST_OPEN // 2:
                self.finish(min(ended, key=lambda each: each.heard))
            else:  # its end will be news
                self._forget(min(self._open.values(), key=_worth))

    def _forget(self, each: Followed) -> None:
        """Follow one no further until something is said of it."""
        key = subject_key(each.subject)
        self.waits(each, None)
        del self._open[key]
        self._dirty.pop(key, None)
        self._gone.add(key)
        self._to_write.set()


def _worth(each: Followed) -> tuple[bool, bool, float]:
    return each.ended is not None, each.is_busy, each.heard


def _is_news(before: Subject, after: Subject) -> bool:
    """Whether losing what is said now would cost a description, or make it another one."""
    fields = ("is_ended", "severity", "is_false_positive", "zones", "detections")
    return any(getattr(before, name) != getattr(after, name) for name in fields)


def _kept(each: Followed) -> KeptSubject:
    return KeptSubject(
        each.subject, each.first_heard, each.heard, each.ended, each.num_described, each.is_done
    )


def _followed(kept: KeptSubject) -> Followed:
    return Followed(
        kept.subject,
        kept.first_heard,
        kept.heard,
        ended=kept.ended,
        described=kept.subject if kept.num_described else None,
        num_described=kept.num_described,
    )
