"""Time that no setting of the clock moves: what waits, expires or is kept is measured in it.

The time of day is wrong on a machine without a battery until the network has told it, and may jump
at any moment; so it is shown, and decides nothing. Two counts are kept in the store instead, and go
on where the last run ended:

- `elapsed`, real time as well as it is known. Over a restart of the service the machine's monotonic
  clock tells it exactly. Over a restart of the machine only the time of day does: it is believed
  forwards, and for a day at most.
- `running`, the time in which the service ran, for what is promised so many hours of trying.

Both are whole microseconds.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, insert, select, update

from service.clock import Clock
from service.store.rows import MICROSECONDS, Stamp, to_microseconds
from service.store.tables import timekeeping

# Less, and a machine that is off at night keeps frames for longer than it is told to; more, and a
# clock that starts in a wrong year ends more of what is kept.
_MOST_OFF = 86_400 * MICROSECONDS


@dataclass(frozen=True, slots=True)
class TimeRecord:
    """The counts, and what the clocks showed, at one moment."""

    elapsed: int
    running: int
    wall: int  # microseconds since 1970
    monotonic: int
    boot_id: str


class Timekeeper:
    """Counts on from the last record.

    Args:
        clock: The machine's.
        last: What the last run has left, if there was one.
    """

    def __init__(self, clock: Clock, last: TimeRecord | None = None) -> None:
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._started = clock.monotonic()
        self._elapsed = last.elapsed + self._since(last) if last else 0
        self._running = last.running if last else 0

    def stamp(self, instance: str) -> Stamp:
        """What is noted with what is written now."""
        now = self._clock.monotonic()
        passed = self._passed(now)
        return Stamp(instance, now, self._elapsed + passed, self._running + passed)

    def record(self) -> TimeRecord:
        """What the next run needs to count on."""
        now = self._clock.monotonic()
        passed = self._passed(now)
        return TimeRecord(
            elapsed=self._elapsed + passed,
            running=self._running + passed,
            wall=to_microseconds(self._clock.now()),
            monotonic=round(now * MICROSECONDS),
            boot_id=self._boot_id,
        )

    def elapsed(self) -> int:
        """Real time since the store was made, as well as it is known."""
        return self._elapsed + self._passed(self._clock.monotonic())

    def running(self) -> int:
        """The time in which the service ran."""
        return self._running + self._passed(self._clock.monotonic())

    def monotonic_at(self, elapsed: int) -> float:
        """The moment on this process's monotonic clock, in seconds; it may be before the start."""
        return self._started + (elapsed - self._elapsed) / MICROSECONDS

    def _passed(self, monotonic: float) -> int:
        return round((monotonic - self._started) * MICROSECONDS)

    def _since(self, last: TimeRecord) -> int:
        """What has passed between a record and the start of this process."""
        passed = round(self._started * MICROSECONDS) - last.monotonic
        if self._boot_id and self._boot_id == last.boot_id and passed >= 0:
            return passed
        return min(max(0, to_microseconds(self._clock.now()) - last.wall), _MOST_OFF)


def load_record(connection: Connection) -> TimeRecord | None:
    """What the last run has left."""
    row = connection.execute(select(timekeeping)).one_or_none()
    if row is None:
        return None
    return TimeRecord(row.elapsed, row.running, row.wall, row.monotonic, row.boot_id)


def save_record(connection: Connection, record: TimeRecord) -> None:
    """Leave it to the next run; of several services on one database the one furthest on counts."""
    last = load_record(connection)
    values = {
        "elapsed": max(record.elapsed, last.elapsed if last else 0),
        "running": max(record.running, last.running if last else 0),
        "wall": record.wall,
        "monotonic": record.monotonic,
        "boot_id": record.boot_id,
    }
    if last is None:
        connection.execute(insert(timekeeping).values(timekeeping_id=1, **values))
    else:
        connection.execute(update(timekeeping).values(**values))
