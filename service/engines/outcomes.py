"""From what an engine says of its jobs to their fates in the store, many in one transaction.

What arrives while a transaction runs is the next group, so that groups grow with the load and
nothing waits for company. A job is done with only when the store has it: until then it counts as
running, and a restart takes it back.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from engine.protocol import Done, TextAnswer
from schemas.job import ErrorDetail, JobStatus
from service.boundary import isolate
from service.delivery.deliver import Captioned, Deliver, Outcome
from service.engines.answers import build_result
from service.engines.fate import End, Fate, Quarantine, Requeue, Retry, Setback, fate_of
from service.engines.feed import Running
from service.queue.heap import Ticket
from service.queue.job_queue import JobQueue
from service.store.retry import until_stored
from service.store.store import Store

logger = logging.getLogger(__name__)

_MOST_IN_GROUP = 64  # in one transaction, in which no frame is acknowledged

_F = TypeVar("_F", bound=Fate)


@dataclass(frozen=True, slots=True)
class Said:
    """What an engine said of a job."""

    running: Running
    event: Done | Setback
    at: float  #: on the monotonic clock


class Outcomes:
    """Brings jobs that come out of engines to their end, or back into the queue.

    Args:
        queue: Where they wait again.
        store: Job records.
        deliver: The exit.
        retry_delay_s: Before a second attempt; doubles each time.
        max_tokens: What engines were told of the longest text.
        on_settled: Told of each job whose fate is stored, before it waits again.
    """

    def __init__(
        self,
        queue: JobQueue,
        store: Store,
        deliver: Deliver,
        retry_delay_s: float,
        max_tokens: int,
        on_settled: Callable[[Running], None],
    ) -> None:
        self._queue = queue
        self._store = store
        self._deliver = deliver
        self._retry_delay_s = retry_delay_s
        self._max_tokens = max_tokens
        self._on_settled = on_settled
        self._waiting: asyncio.Queue[Said] = asyncio.Queue(_MOST_IN_GROUP)

    async def put(self, said: Said) -> None:
        """Let it be settled; waits while a whole group waits already."""
        await self._waiting.put(said)

    async def run(self) -> None:
        """Settle for ever."""
        while True:
            group = [await self._waiting.get()]
            while len(group) < _MOST_IN_GROUP and not self._waiting.empty():
                group.append(self._waiting.get_nowait())
            await self._settle_or_fail(group)

    async def fail(self, running: Running) -> None:
        """End a job that an unexpected error has hit; one that resists waits for the next start."""
        await self._deliver.abandon([running.job])
        self._settled(running)

    async def _settle_or_fail(self, group: Sequence[Said]) -> None:
        """Settle all; a job with which that fails unexpectedly ends alone, as failed."""
        for said in await isolate(self._settle, group, "outcomes cannot be settled"):
            await self.fail(said.running)

    async def _settle(self, group: Sequence[Said]) -> None:
        """Do what is to be done with some jobs; done twice, it is as if it were done once."""
        fates: list[tuple[Running, Fate]] = []
        over: list[tuple[Running, Outcome]] = []
        for said in group:
            running, event = said.running, said.event
            if running.is_settled:
                continue
            if running.is_cancelled:  # the store has its end
                self._settled(running)
                continue
            if isinstance(event, Done):
                over.append((running, _captioned(running, event, said.at, self._max_tokens)))
                continue
            fate = fate_of(running.job, event, self._retry_delay_s)
            if isinstance(fate, End):
                over.append((running, Outcome(running.job, fate.status, fate.error)))
            fates.append((running, fate))
        await self._end(over)
        await self._requeue(_with(Requeue, fates))
        await self._quarantine(_with(Quarantine, fates))
        for running, retry in _with(Retry, fates):
            await self._retry(running, retry)

    async def _end(self, over: Sequence[tuple[Running, Outcome]]) -> None:
        if not over:
            return
        outcomes = [outcome for _, outcome in over]
        await until_stored(
            lambda: self._deliver.finish(outcomes), f"{len(over)} outcomes cannot be stored"
        )
        for running, outcome in over:
            running.is_captioned = outcome.captioned is not None
            self._settled(running)

    async def _requeue(self, chosen: Sequence[tuple[Running, Requeue]]) -> None:
        await self._return([running for running, _ in chosen], refund=True)
        await self._queue.put_back(_wanted(chosen))

    async def _quarantine(self, chosen: Sequence[tuple[Running, Quarantine]]) -> None:
        await self._return([running for running, _ in chosen], count_loss=True)
        self._queue.quarantine(_wanted(chosen))

    async def _retry(self, running: Running, retry: Retry) -> None:
        await self._return([running], error=retry.error)
        for ticket in _wanted([(running, retry)]):
            self._queue.delay(ticket, retry.delay_s)
        logger.warning(
            "%s %s attempt %d failed, next in %.1f s: %s",
            running.job.job_id,
            running.job.camera_id,
            running.job.attempts,
            retry.delay_s,
            retry.error.message,
            extra={"action": "job_retried"},
        )

    async def _return(
        self,
        chosen: Sequence[Running],
        *,
        refund: bool = False,
        count_loss: bool = False,
        error: ErrorDetail | None = None,
    ) -> None:
        """Let jobs be queued in the store."""
        if not chosen:
            return
        keys = [running.job.key for running in chosen]
        requeue = partial(
            self._store.requeue, keys, refund=refund, count_loss=count_loss, error=error
        )
        await until_stored(requeue, f"{len(keys)} jobs cannot be returned")
        for running in chosen:
            self._settled(running)

    def _settled(self, running: Running) -> None:
        running.is_settled = True
        self._on_settled(running)


def _with(kind: type[_F], fates: Sequence[tuple[Running, Fate]]) -> list[tuple[Running, _F]]:
    """Those jobs that have this fate."""
    return [(running, fate) for running, fate in fates if isinstance(fate, kind)]


def _wanted(chosen: Sequence[tuple[Running, Fate]]) -> list[Ticket]:
    """The tickets of those that were not cancelled while they were returned."""
    return [running.ticket for running, _ in chosen if not running.is_cancelled]


def _captioned(running: Running, done: Done, at: float, max_tokens: int) -> Outcome:
    latency = at - running.ticket.queued_at
    model = running.model or running.feed.engine.state
    result = build_result(running.job, done, model, latency, max_tokens)
    num_tokens = sum(len(each.token_ids) for each in done.answers if isinstance(each, TextAnswer))
    captioned = Captioned(
        result, done.body or None, latency, running.fingerprint, num_tokens=num_tokens
    )
    return Outcome(running.job, JobStatus.COMPLETED, captioned=captioned)
