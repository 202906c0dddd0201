"""Where an error that nobody foresaw ends: with the one thing it happened to.

What is raised on purpose (`service.errors`) is handled where the decision is made. Everything else
is a mistake, and one that reaches the task group of `service.app` would end the service, at every
restart again if a stored row or a sender repeats it. So each task does one thing at a time, and at
its boundary such an error ends that thing, with its traceback in the log. What belongs to no single
thing is tried again after a pause. `bridge/health` counts the tracebacks, so nothing is hidden.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from schemas.job import ErrorDetail
from service.errors import UNEXPECTED

logger = logging.getLogger(__name__)

#: How a thing ends that such an error has hit.
INTERNAL = ErrorDetail(code="internal", message=UNEXPECTED)

# A passing trouble costs a second, one that stays a line a minute.
_PAUSES_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_RECOVERED_S = 300.0  # who ran so long begins with the shortest pause again

_T = TypeVar("_T")


@contextmanager
def contained(what: str) -> Iterator[None]:
    """Let an unexpected error end what is inside, and nothing else.

    Args:
        what: For the log, with its verb: "the statistics cannot be published".
    """
    try:
        yield
    except Exception:
        logger.exception("%s", what, extra={"action": "unexpected_error"})


async def isolate(
    work: Callable[[Sequence[_T]], Awaitable[object]], things: Sequence[_T], what: str
) -> list[_T]:
    """Do something with several things together; after an unexpected error with each alone.

    Args:
        work: Has done nothing when it raises.
        things: At least one.
        what: For the log, with its verb: "frames cannot be accepted".

    Returns:
        Those with which it failed alone.
    """
    try:
        await work(things)
    except Exception:
        logger.exception("%d %s", len(things), what, extra={"action": "unexpected_error"})
    else:
        return []
    if len(things) == 1:
        return list(things)
    return [failed for thing in things for failed in await isolate(work, [thing], what)]


async def keep_running(run: Callable[[], Awaitable[None]], name: str) -> None:
    """Run something until it returns; after an unexpected error again, with growing pauses.

    Args:
        run: Can be called again after it has raised.
        name: For the log: "dispatch".
    """
    num_failures = 0
    while True:
        started = time.monotonic()
        try:
            return await run()
        except Exception:
            if time.monotonic() - started >= _RECOVERED_S:
                num_failures = 0
            pause = _PAUSES_S[min(num_failures, len(_PAUSES_S) - 1)]
            num_failures += 1
            logger.exception(
                "%s failed, again in %.0f s", name, pause, extra={"action": "unexpected_error"}
            )
        await asyncio.sleep(pause)
