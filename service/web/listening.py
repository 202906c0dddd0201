"""The gateway is opened, and tried again where it cannot be: MQTT goes on meanwhile."""

import asyncio
import logging
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from schemas.status import HealthCheck
from service.errors import ServiceError

logger = logging.getLogger(__name__)

_AGAIN_S = 10.0

#: Listens and answers while the block lasts; the task ends if the server does.
Opening = Callable[[], AbstractAsyncContextManager["asyncio.Task[None]"]]


class Listening:
    """Keeps the gateway open.

    Args:
        opening: See `Opening`; raises OSError or ServiceError where it cannot be opened.
        again_s: Seconds between tries.
    """

    def __init__(self, opening: Opening, again_s: float = _AGAIN_S) -> None:
        self._opening = opening
        self._again_s = again_s
        self._trouble: str | None = "not open yet"

    async def run(self) -> None:
        """Keep it open for ever."""
        while True:
            try:
                async with self._opening() as answering:
                    self._trouble = None
                    await asyncio.wait([answering])
                    answering.result()
                trouble = "the server has ended"
            except (OSError, ServiceError) as error:
                trouble = str(error)
            self._note(trouble)
            await asyncio.sleep(self._again_s)

    def health(self) -> HealthCheck:
        """Whether it can be reached."""
        if self._trouble is None:
            return HealthCheck(status="healthy", message="ok")
        return HealthCheck(status="degraded", message=self._trouble)

    def _note(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._trouble = trouble
            logger.warning(
                "no HTTP: %s; tried again every %g s",
                trouble,
                self._again_s,
                extra={"action": "http_failed"},
            )
