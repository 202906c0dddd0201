"""Queues of a device that is not there: what is launched is done at once, what it says is not."""

from collections.abc import Callable
from random import Random


class FiresOnDemand:
    """A queue whose events are done when the test says so."""

    def __init__(self) -> None:
        self.num_launched = 0
        self.num_done = 0

    def launch(self, run: Callable[[], object]) -> "Fired":
        """Do it, and pretend that it waits."""
        run()
        self.num_launched += 1
        return Fired(self, self.num_launched)

    def fire(self, count: int | None = None) -> None:
        """Let the device do what is launched, or some of it."""
        waiting = self.num_launched - self.num_done
        self.num_done += waiting if count is None else min(count, waiting)

    def look(self) -> None:
        """Somebody looks how far it is."""


class FiresAtRandom(FiresOnDemand):
    """A queue that is further, or not, whenever somebody looks."""

    def __init__(self, draw: Random) -> None:
        super().__init__()
        self._draw = draw

    def look(self) -> None:
        """Go on by chance."""
        self.fire(self._draw.choice((0, 0, 1, 3, 12)))


class Fired:
    """A place in a queue."""

    def __init__(self, queue: FiresOnDemand, number: int) -> None:
        self._queue, self._number = queue, number

    def is_done(self) -> bool:
        """Whether as much has been fired."""
        self._queue.look()
        return self._queue.num_done >= self._number
