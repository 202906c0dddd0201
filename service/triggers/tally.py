"""How each trigger is doing, for `bridge/health`."""

from collections.abc import Sequence
from dataclasses import dataclass

from schemas.status import HealthCheck
from service.trigger_settings import TriggerSettings

_MOST_SHOWN = 8
_LONGEST_REASON = 200  # characters


@dataclass(slots=True)
class _Count:
    num_pictures: int = 0
    num_failures: int = 0
    num_skipped: int = 0
    failure: str | None = None  #: of the newest attempt


class Tally:
    """Counts what triggers bring.

    Args:
        triggers: In the order of the settings.
    """

    def __init__(self, triggers: Sequence[TriggerSettings]) -> None:
        self._counts = [_Count() for _ in triggers]

    def taken(self, number: int) -> None:
        """A trigger has brought a picture."""
        self._counts[number].num_pictures += 1
        self._counts[number].failure = None

    def failed(self, number: int, reason: str) -> None:
        """A picture could not be had."""
        self._counts[number].num_failures += 1
        self._counts[number].failure = reason[:_LONGEST_REASON]

    def skipped(self, number: int) -> None:
        """There was motion, and no picture was asked for."""
        self._counts[number].num_skipped += 1

    def check(self) -> HealthCheck:
        """Degraded while the newest attempt of a trigger has failed."""
        numbers = sorted(range(len(self._counts)), key=lambda i: self._counts[i].failure is None)
        shown = "; ".join(self._describe(number) for number in numbers[:_MOST_SHOWN])
        if (more := len(numbers) - _MOST_SHOWN) > 0:
            shown += f"; and {more} more"
        is_failing = any(each.failure is not None for each in self._counts)
        return HealthCheck(status="degraded" if is_failing else "healthy", message=shown)

    def _describe(self, number: int) -> str:
        count = self._counts[number]
        text = f"{name_of(number)}: {count.num_pictures} pictures, {count.num_failures} failed"
        if count.num_skipped:
            text += f", {count.num_skipped} skipped"
        return text if count.failure is None else f"{text}, the last: {count.failure}"


def name_of(number: int) -> str:
    """A trigger as the settings call it."""
    return f"triggers[{number}]"
