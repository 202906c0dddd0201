"""The clock of waiting jobs: what is too old to be worth a caption ends, engine or no engine.

A running job is not watched: it has left the places where jobs wait.
"""

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Protocol

from service.queue.heap import Ticket

logger = logging.getLogger(__name__)

_TICK_S = 1.0  # how late an end may be; a tick without one costs two comparisons
# In one transaction: 100 take 23 ms on two busy cores, in which no frame is committed. Fewer, and
# a flood that expires at once pays for a commit more often. `python -m bench.expiry` prints it.
MOST_AT_ONCE = 100
_MOST_STALE = 1024


class Deadlines:
    """Tickets by the moment at which they expire.

    Adding and discarding cost O(log n) and O(1): what is discarded stays in the heap until its time
    comes, or until such entries outnumber the others.
    """

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, int, Ticket]] = {}
        self._heap: list[tuple[float, int, Ticket]] = []
        self._numbers = count()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, ticket: Ticket) -> None:
        """Watch a ticket; one of the same job takes the place of the other."""
        entry = (ticket.expires_at, next(self._numbers), ticket)
        self._entries[ticket.job_key] = entry
        heapq.heappush(self._heap, entry)
        self._tidy()

    def discard(self, job_key: str) -> None:
        """Watch a job no longer; one that is not watched is no error."""
        self._entries.pop(job_key, None)

    def pop_expired(self, now: float) -> list[Ticket]:
        """Take tickets whose time is over, the longest over first, `MOST_AT_ONCE` at most."""
        expired: list[Ticket] = []
        while self._heap and self._heap[0][0] <= now and len(expired) < MOST_AT_ONCE:
            entry = heapq.heappop(self._heap)
            ticket = entry[2]
            if self._entries.get(ticket.job_key) is entry:
                del self._entries[ticket.job_key]
                expired.append(ticket)
        return expired

    def _tidy(self) -> None:
        """Leave the discarded behind: linear, but only after as many additions as are left."""
        if len(self._heap) > max(_MOST_STALE, 2 * len(self._entries)):
            self._heap = list(self._entries.values())
            heapq.heapify(self._heap)


class Holder(Protocol):
    """Where jobs wait."""

    def pop_expired(self) -> list[Ticket]:
        """Let go of jobs whose time is over, `MOST_AT_ONCE` at most."""


class Expiry:
    """Ends jobs whose time is over.

    Args:
        holders: Where jobs wait.
        end: Ends jobs that a holder has let go, in one transaction.
    """

    def __init__(
        self,
        holders: Sequence[Holder],
        end: Callable[[Sequence[Ticket]], Awaitable[None]],
    ) -> None:
        self._holders = holders
        self._end = end

    async def run(self) -> None:
        """Look for ever, every second."""
        while True:
            await self.sweep()
            await asyncio.sleep(_TICK_S)

    async def sweep(self) -> None:
        """End everything whose time is over now."""
        for holder in self._holders:
            try:
                while tickets := holder.pop_expired():
                    await self._end(tickets)
            except Exception:
                # What cannot be ended must not keep the others.
                logger.exception("expired jobs cannot be ended")
