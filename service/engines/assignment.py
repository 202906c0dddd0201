"""Which waiting job goes to which engine.

One job after the other, the most urgent first, each to the engine with the most room; of equals to
the one that was given the fewest so far. A job in quarantine gets an engine that holds nothing
else; when none is idle one is emptied for it, and the others go on. Jobs of a batch leave a place
free in each engine, so that a camera's frame finds one at once.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from schemas.frame import Priority
from service.engines.feed import Feed
from service.queue.heap import Ticket
from service.queue.job_queue import JobQueue

# In one transaction: more would make an urgent newcomer wait for it, and hold more in memory.
_MOST_AT_ONCE = 16
_MOST_BYTES_AT_ONCE = 16 << 20


@dataclass(frozen=True, slots=True)
class Assigned:
    """A job whose turn has come, and the engine in which a place is kept for it."""

    ticket: Ticket
    feed: Feed

    @property
    def key(self) -> str:
        """Of the job."""
        return self.ticket.job_key


def release(assigned: Iterable[Assigned]) -> None:
    """Give up the places that were kept."""
    for each in assigned:
        each.feed.release(each.key)


class Assignment:
    """Brings waiting jobs and engines together.

    Args:
        queue: Waiting jobs.
        feeds: The engines.
    """

    def __init__(self, queue: JobQueue, feeds: Sequence[Feed]) -> None:
        self._queue = queue
        self._feeds = feeds

    def next_group(self) -> list[Assigned]:
        """Take jobs for free places, as many as one transaction may start."""
        group: list[Assigned] = []
        num_bytes = 0
        while len(group) < _MOST_AT_ONCE and num_bytes < _MOST_BYTES_AT_ONCE:
            if (found := self._next()) is None:
                break
            group.append(found)
            num_bytes += found.ticket.num_bytes
        return group

    def _next(self) -> Assigned | None:
        is_critical = self._queue.most_urgent() is Priority.CRITICAL
        if self._queue.has_quarantined and not is_critical:
            idle = _freest([feed for feed in self._feeds if feed.is_idle])
            if idle is not None:
                ticket = self._queue.pop_quarantined()
                idle.hold(ticket.job_key, is_quarantined=True)
                return Assigned(ticket, idle)
        feed = self._for_critical() if is_critical else self._for_lesser()
        if feed is None or (popped := self._queue.pop()) is None:
            return None
        feed.hold(popped.job_key)
        return Assigned(popped, feed)

    def _for_lesser(self) -> Feed | None:
        feeds = [feed for feed in self._feeds if feed.is_working and not feed.is_isolating]
        if self._queue.has_quarantined and feeds:
            feeds.remove(min(feeds, key=lambda feed: feed.num_held))  # it is being emptied
        num_kept = int(self._queue.is_batch_next)
        return _freest([feed for feed in feeds if feed.room > 0 and _has_more(feed, num_kept)])

    def _for_critical(self) -> Feed | None:
        """A critical job waits for nobody: if need be it runs beside one in quarantine."""
        free = [feed for feed in self._feeds if feed.seats > 0]
        return _freest([feed for feed in free if not feed.is_isolating] or free)


def _has_more(feed: Feed, num_kept: int) -> bool:
    """Whether places are left when one is taken; who has one only cannot keep it free."""
    return feed.seats > num_kept or feed.engine.capacity == 1


def _freest(feeds: Sequence[Feed]) -> Feed | None:
    return max(feeds, key=lambda feed: (feed.seats, -feed.num_given), default=None)
