"""What must be stored is tried until the store takes it.

While the database refuses there is nothing better to do: what has happened cannot be forgotten, and
what is not stored may not be said.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.errors import StoreError

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

# A lock is free again in milliseconds, a disk in minutes; 5 s is how late we notice.
_DELAYS_S = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)


async def until_stored(work: Callable[[], Awaitable[_T]], what: str) -> _T:
    """Do something with the store again and again until it succeeds.

    Args:
        work: May have been committed by a try that failed, when only the answer was lost; doing it
            once more must be harmless.
        what: For the log, with its verb: "an outcome cannot be stored".

    Returns:
        What the last try returned.
    """
    num_failures = 0
    while True:
        try:
            return await work()
        except StoreError as error:
            delay = _DELAYS_S[min(num_failures, len(_DELAYS_S) - 1)]
            num_failures += 1
            logger.error(
                "%s, again in %.1f s: %s", what, delay, error, extra={"action": "store_failed"}
            )
            await asyncio.sleep(delay)
