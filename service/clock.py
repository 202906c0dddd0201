"""What time it is: one object to hand around, so that tests can turn the hands."""

import time
from datetime import UTC, datetime
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class Clock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The time of day, with zone.

        To be shown: it may be wrong, and jump, so it decides nothing.
        """
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; for durations and order."""
        return time.monotonic()

    def boot_id(self) -> str:
        """Name of this start of the machine, from which `monotonic` counts; empty if unknown.

        Two processes that read the same name read the same monotonic clock.
        """
        try:
            return _BOOT_ID.read_text(encoding="ascii").strip()
        except OSError:  # not Linux
            return ""
