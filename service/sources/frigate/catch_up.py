"""Asks Frigate for what was missed: ends that were said while nobody listened.

Frigate publishes at QoS 0 by default and says an end once, so it can be lost by either side's
restart or by the broker's. So its database is asked: at the start and when Frigate comes back for
all that began lately; of what is followed and has been silent for longer than Frigate ever is,
whether it has ended.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from schemas.frigate import Subject, read_stored_event
from service.clock import Clock
from service.errors import FrigateError, ServiceError
from service.frigate_settings import FrigateSettings
from service.logs import Throttle
from service.sources.frigate.events import Events
from service.sources.frigate.moments import LONGEST_S, Followed
from service.sources.frigate.submissions import Submissions, detect_sizes

logger = logging.getLogger(__name__)

#: Frigate speaks of what it tracks every 60 s at least.
SILENT_S = 150.0
_EVERY_S = 300.0
_LOOK_S = 10.0
_SHORTEST_S = 2.0  # between two looks, however often Frigate says that it is online
# Of one list, 10 KiB each; where that is too much, because their paths are long, fewer.
_MOST_LISTED = (300, 30)
_MOST_ASKED = 20  # in one look
_OLD_S = 120.0


class Database(Protocol):
    """What Frigate has stored; see `service.frigate.api`."""

    async def event(self, event_id: str) -> Mapping[str, Any] | None:
        """One event; None when there is no such. Raises ServiceError."""

    async def events(self, *, after: float, limit: int) -> Sequence[Mapping[str, Any]]:
        """Those that began after a time, the newest first. Raises ServiceError."""

    async def config(self) -> Mapping[str, Any]:
        """Its configuration. Raises ServiceError."""


class CatchUp:
    """Tells `Events` what nobody has said.

    Args:
        events: What is followed.
        database: Is asked.
        submissions: Learns the detect sizes.
        settings: How far back to look.
        clock: For silences; Frigate's is taken to agree with ours.
    """

    def __init__(
        self,
        events: Events,
        database: Database,
        submissions: Submissions,
        settings: FrigateSettings,
        clock: Clock,
    ) -> None:
        self._events = events
        self._database = database
        self._submissions = submissions
        self._settings = settings
        self._clock = clock
        self._warnings = Throttle()
        self._is_due = asyncio.Event()
        self._is_due.set()
        self._next = clock.monotonic() + _EVERY_S

    def order(self) -> None:
        """Look for what was missed, soon."""
        self._is_due.set()

    async def run(self) -> None:
        """Ask for ever."""
        while True:
            try:
                if self._is_due.is_set() or self._clock.monotonic() >= self._next:
                    self._is_due.clear()
                    self._next = self._clock.monotonic() + _EVERY_S
                    await self.look_back()
                await self.ask_silent()
                self._events.forget_done(self._settings.catch_up + LONGEST_S)
            except ServiceError as error:
                self._next = self._clock.monotonic() + _LOOK_S
                if self._warnings.allows("missed", self._clock.monotonic()):
                    logger.warning(
                        "Frigate cannot be asked for what was missed: %s",
                        error,
                        extra={"action": "frigate_not_asked"},
                    )
            await asyncio.sleep(_SHORTEST_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_S):
                    await self._is_due.wait()

    async def look_back(self) -> None:
        """Read the configuration, and hear of the objects that ended lately.

        Raises:
            ServiceError: Frigate cannot say.
        """
        self._submissions.detect_sizes = detect_sizes(await self._database.config())
        if not self._settings.events or not self._settings.catch_up:
            return
        now = self._clock.now().timestamp()
        num_missed = 0
        for content in await self._newest(now - self._settings.catch_up):
            with suppress(ValueError):
                subject = read_stored_event(content)
                if subject.is_ended and not self._events.is_over(subject):
                    self._hear(subject, now)
                    num_missed += 1
        if num_missed:
            logger.info("%d of Frigate's objects were missed and are described now", num_missed)

    async def _newest(self, after: float) -> Sequence[Mapping[str, Any]]:
        """Objects that began after a time, as many as Frigate can tell at once."""
        for limit in _MOST_LISTED[:-1]:
            with suppress(FrigateError):
                return (await self._database.events(after=after, limit=limit))[:limit]
        return await self._database.events(after=after, limit=_MOST_LISTED[-1])

    async def ask_silent(self) -> None:
        """Ask about those that nothing was heard of for long.

        Raises:
            ServiceError: Frigate cannot say.
        """
        moment = self._clock.monotonic()
        silent = [
            each
            for each in list(self._events.open)
            if each.ended is None and moment - max(each.heard, each.asked) >= SILENT_S
        ]
        for each in silent[:_MOST_ASKED]:
            each.asked = moment
            await self._ask(each)

    async def _ask(self, each: Followed) -> None:
        event_id = each.subject.picture_id
        content = None if event_id is None else await self._database.event(event_id)
        if content is None:
            self._events.finish(each)  # never worth keeping to Frigate, or deleted there
            return
        with suppress(ValueError):
            subject = read_stored_event(content)
            if not subject.is_ended:
                return
            if each.subject.kind == "review":  # over at the latest with its object
                subject = each.subject.model_copy(update={"is_ended": True})
            self._hear(subject, self._clock.now().timestamp())

    def _hear(self, subject: Subject, now: float) -> None:
        is_old = subject.stopped is not None and now - subject.stopped > _OLD_S
        self._events.hear(subject, is_old=is_old)
