"""A few threads for what need not hold up the model's loop, the most urgent first.

A frame is decoded and cut in some 30 ms, and Pillow lets go of the interpreter lock meanwhile. Two
threads keep up with any CPU; a large GPU captions more, and comes with more cores.
"""

import heapq
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

#: Half of the cores; the others launch, receive and commit.
NUM_THREADS = max(2, min(8, (os.cpu_count() or 2) // 2))


@dataclass(order=True, slots=True)
class _Entry:
    rank: tuple[float, ...]
    arrival: int
    name: str = field(compare=False)
    work: Callable[[], None] = field(compare=False)


class RankedPool:
    """Threads that take work in the order of its rank.

    Work must not raise: what does ends the process through the interpreter's hook, see `worker`.

    Args:
        threads: How many.
    """

    def __init__(self, threads: int = NUM_THREADS) -> None:
        self._entries: list[_Entry] = []
        self._arrivals = count()
        self._changed = threading.Condition()
        self._running: dict[int, tuple[str, float]] = {}
        for number in range(threads):
            threading.Thread(target=self._run, name=f"pool-{number}", daemon=True).start()

    def add(self, rank: tuple[float, ...], name: str, work: Callable[[], None]) -> None:
        """Let work wait for its turn; a smaller rank goes first."""
        with self._changed:
            heapq.heappush(self._entries, _Entry(rank, next(self._arrivals), name, work))
            self._changed.notify()

    def overdue(self, limit_s: float) -> str | None:
        """The name of work that has run for longer than this."""
        now = time.monotonic()
        for name, started_at in list(self._running.values()):
            if now - started_at > limit_s:
                return name
        return None

    def _run(self) -> None:
        me = threading.get_ident()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._entries)
                entry = heapq.heappop(self._entries)
            self._running[me] = entry.name, time.monotonic()
            entry.work()
            del self._running[me]
