"""What time it is: one object to hand around, so that tests can turn the hands."""

import time
from datetime import UTC, datetime


class Clock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time of day, with zone; for documents and the store."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; for durations and order."""
        return time.monotonic()
