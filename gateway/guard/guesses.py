"""Wrong tokens, by who sends them: after a few, that caller's tokens are not looked at for a while.

Callers are remembered in bounded memory; whoever was heard of longest ago is forgotten.
"""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

logger = logging.getLogger(__name__)

_MOST_CALLERS = 4096
BURST = 10  #: wrong tokens that cost nothing
EVERY_S = 6.0  #: one more each


@dataclass(slots=True)
class _Record:
    left: float
    at: float
    is_told: bool = False


class Guesses:
    """Counts wrong tokens.

    Args:
        monotonic: Seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._records: OrderedDict[str, _Record] = OrderedDict()

    def wait_s(self, caller: str) -> float:
        """How long this caller's next token is not looked at; 0: it is."""
        record = self._refilled(caller)
        return 0.0 if record is None or record.left >= 1 else (1 - record.left) * EVERY_S

    def note_wrong(self, caller: str) -> None:
        """Count one; the first that is too much is a warning in the log."""
        record = self._refilled(caller)
        if record is None:
            record = self._records[caller] = _Record(BURST, self._monotonic())
            if len(self._records) > _MOST_CALLERS:
                self._records.popitem(last=False)
        record.left -= 1
        if record.left < 1 and not record.is_told:
            record.is_told = True
            logger.warning(
                "wrong tokens over HTTP from %s: slowed down",
                caller,
                extra={"action": "http_token_guessed"},
            )

    def _refilled(self, caller: str) -> _Record | None:
        record = self._records.get(caller)
        if record is None:
            return None
        now = self._monotonic()
        record.left = min(BURST, record.left + (now - record.at) / EVERY_S)
        record.at = now
        self._records.move_to_end(caller)
        return record
