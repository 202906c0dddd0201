"""A webhook sender on a real store, with a clock the test turns and real receivers."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from schemas.job import JobStatus, job_key
from schemas.outbox import Channel, OutboxMessage
from schemas.result import ResultDocument
from schemas.status import DeadLetter
from service.delivery.attempts import Attempts
from service.delivery.webhooks import WebhookSender
from service.http.urls import GuardedHttp, origin
from service.settings import WebhookSettings
from service.store.outbox import Batch
from service.store.store import Store
from tests.support.dead_letters import Letters
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.store_faults import NO_FAULTS, Faults, open_faulty

SECRET = "whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3BxcnN0dXY="  # noqa: S105 - of the tests
_NUMBERS = count(1)


class RestingSender(WebhookSender):
    """Says when it has looked for what is due and nothing is being posted."""

    is_resting = False
    _num_working = 0

    def _work(self, receiver: str, batch: Batch) -> Coroutine[Any, Any, None]:
        self._num_working += 1  # before it begins
        return self._counted(receiver, batch)

    async def _counted(self, receiver: str, batch: Batch) -> None:
        try:
            await super()._work(receiver, batch)
        finally:
            self._num_working -= 1

    def _pause(self) -> float:
        self.is_resting = not self._num_working
        return super()._pause()

    async def rest(self) -> None:
        """Wait until it has looked once more, and posted what it found."""
        self.is_resting = False
        self.notify([])
        while self._wake.is_set() or not self.is_resting:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.002)


@dataclass
class Bench:
    """What a test of webhooks works with."""

    store: Store
    sender: RestingSender
    clock: FakeClock
    letters: list[DeadLetter] = field(default_factory=list)

    async def post(
        self,
        url: str,
        count: int = 1,
        *,
        trusted: bool = True,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> list[str]:
        """Commit messages for one URL and return their job ids, in order."""
        now = self.clock.now()
        # As a row can hold them that an earlier version has written: not validated.
        written = {"headers": headers or {}, "trusted": trusted, **options}
        messages = [
            OutboxMessage(
                job_key=job_key("front", job_id := f"job-{next(_NUMBERS)}"),
                channel=Channel.WEBHOOK,
                destination=url,
                payload=document(job_id).model_dump_json().encode(),
                created_at=now,
                receiver=origin(url),
            ).model_copy(update={"options": written})
            for _ in range(count)
        ]
        stored = await self.store.accept([], {}, messages)
        return [message.job_id or "" for message in stored]

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.advance(seconds)
        self.sender.notify([])

    async def pass_time(self, seconds: float) -> None:
        """Let time pass, and wait until what is due then has been tried."""
        async with asyncio.timeout(20):
            self.clock.advance(seconds)
            await self.sender.rest()

    async def pending(self) -> int:
        return await self.store.outbox.pending_count(Channel.WEBHOOK)

    async def until_failing(self) -> None:
        """Wait until an attempt has failed and the next one waits for its time."""
        await self.until(lambda: self.sender.check().status == "degraded")

    async def turn_until(self, seconds: float, done: Callable[[], bool]) -> None:
        """Let time pass in steps until something becomes true."""
        async with asyncio.timeout(20):
            while not done():
                self.turn(seconds)
                await asyncio.sleep(0.02)

    async def until(self, done: Callable[[], bool], timeout_s: float = 10.0) -> None:
        """Wait for something to become true."""
        async with asyncio.timeout(timeout_s):
            while not done():  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.005)

    async def until_pending(self, number: int = 0, timeout_s: float = 20.0) -> None:
        """Wait until so many messages are left."""
        async with asyncio.timeout(timeout_s):
            while await self.pending() != number:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)

    async def attempts(self) -> Sequence[int]:
        """Failed attempts of each message that is left, oldest first."""
        found = await self.store.outbox.oldest(Channel.WEBHOOK, None, 10_000)
        rows = await self.store.outbox.get([message_id for message_id, _ in found])
        return [row.attempts for row in rows]


def document(job_id: str) -> ResultDocument:
    """What a receiver gets."""
    return ResultDocument(
        job_id=job_id,
        camera_id="front",
        status=JobStatus.FAILED,
        result=None,
        error_message="the picture is torn",
        timestamp=NOON,
        location="Front Door",
        metadata={"zone": "entrance"},
    )


@asynccontextmanager
async def webhook_bench(
    folder: Path,
    *,
    http: GuardedHttp | None = None,
    faults: Faults | None = None,
    clock: FakeClock | None = None,
    **settings: Any,
) -> AsyncIterator[Bench]:
    """A running sender; `settings` are those of `webhooks`, the time limit is 1 s."""
    values = {"secret": SecretStr(SECRET), "timeout": 1.0, **settings}
    clock = clock or FakeClock(NOON)
    url = f"sqlite:///{folder / 'jobs.db'}"
    async with open_faulty(url, faults or NO_FAULTS, clock=clock) as store:
        letters = Letters(store)
        of_webhooks = WebhookSettings(**values)
        sender = RestingSender(
            store.outbox,
            of_webhooks,
            attempts=Attempts(of_webhooks, http or GuardedHttp(), clock, "1.2.3"),
            letters=letters,
            clock=clock,
            rng=random.Random(1),
        )
        running = asyncio.create_task(sender.run())
        try:
            yield Bench(store, sender, clock, letters.written)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
