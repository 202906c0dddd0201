"""An order that takes many transactions, a group of jobs in each, and does not let its sender wait.

Between two groups everybody else has a turn: frames are committed, and the event loop is free.
"""

import asyncio
import logging
from collections.abc import AsyncIterator

from schemas.requests.bridge import Swept
from service.operations.operations import OperationError

logger = logging.getLogger(__name__)

#: Jobs in one transaction: their documents take the event loop some 10 ms.
GROUP = 50
_ANSWER_AFTER_S = 5.0


class Sweep:
    """Does such orders one at a time.

    Args:
        what: For messages: "clearing".
        answer_after_s: How long its sender waits at most.
    """

    def __init__(self, what: str, answer_after_s: float = _ANSWER_AFTER_S) -> None:
        self._what = what
        self._answer_after_s = answer_after_s
        self._task: asyncio.Task[None] | None = None
        self._num_done = 0

    async def run(self, groups: AsyncIterator[int]) -> Swept:
        """Go through all groups; what takes longer than a few seconds goes on behind the answer.

        Args:
            groups: Does one group, and says how many jobs it had, each time it is asked.

        Raises:
            OperationError: `wrong_state`, the order before is not done yet.
        """
        if self._task is not None and not self._task.done():
            raise OperationError(
                "wrong_state", f"{self._what} is still going on, {self._num_done} jobs so far"
            )
        self._num_done = 0
        self._task = asyncio.create_task(self._do(groups), name=self._what)
        self._task.add_done_callback(self._note)
        done, _ = await asyncio.wait({self._task}, timeout=self._answer_after_s)
        for task in done:
            task.result()
        return Swept(count=self._num_done, is_complete=bool(done))

    async def _do(self, groups: AsyncIterator[int]) -> None:
        async for num_jobs in groups:
            self._num_done += num_jobs
            await asyncio.sleep(0)

    def _note(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.error(
                "%s ended after %d jobs: %s",
                self._what,
                self._num_done,
                type(error).__name__,
                extra={"action": "sweep_failed"},
            )
