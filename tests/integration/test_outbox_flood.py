"""Many URLs, many hosts, many messages that nobody takes: what they cost, and what they bound."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import psutil
from sqlalchemy import event

from schemas.outbox import Channel, OutboxMessage
from schemas.status import DeadLetter
from service.clock import Clock
from service.delivery.attempts import Attempts
from service.delivery.receivers import Receivers
from service.delivery.webhooks import WebhookSender
from service.http.urls import GuardedHttp, origin
from service.settings import WebhookSettings
from service.store.sqlite import SqliteConnections
from service.store.store import Store
from tests.support.dead_letters import Letters
from tests.support.http_receivers import Receiver, Request, answers
from tests.support.webhook_bench import document, webhook_bench

_NUMBERS = count(1)


class Statements:
    """Of the database: how many, and how many values the largest question had."""

    def __init__(self, store: Store) -> None:
        self.number = 0
        self.most_values = 0
        connections = store._database._connections
        assert isinstance(connections, SqliteConnections)
        for engine in (connections._writes, connections._reads.sync_engine):
            event.listen(engine, "before_cursor_execute", self._note)

    def _note(self, _c: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
        self.number += 1
        if statement.startswith("SELECT"):
            self.most_values = max(self.most_values, len(values))


@dataclass
class Running:
    """A sender on the real clock."""

    store: Store
    sender: WebhookSender
    statements: Statements
    letters: list[DeadLetter] = field(default_factory=list)

    async def post(self, urls: list[str], payload: bytes = b"") -> None:
        """Commit one message for each URL, in groups as intake does."""
        for start in range(0, len(urls), 500):
            group = [message(url, payload) for url in urls[start : start + 500]]
            await self.store.accept([], {}, group)

    async def pending(self) -> int:
        return await self.store.outbox.pending_count(Channel.WEBHOOK)


def message(url: str, payload: bytes = b"") -> OutboxMessage:
    job_id = f"job-{next(_NUMBERS)}"
    return OutboxMessage(
        job_key=f"front/{job_id}",
        channel=Channel.WEBHOOK,
        destination=url,
        payload=payload or document(job_id).model_dump_json().encode(),
        options={"headers": {}, "trusted": True},
        created_at=datetime.now(UTC),
        receiver=origin(url),
    )


@asynccontextmanager
async def running(folder: Path, http: GuardedHttp | None = None) -> AsyncIterator[Running]:
    async with Store.open(f"sqlite:///{folder / 'jobs.db'}") as store:
        letters, settings = Letters(store), WebhookSettings()
        sender = WebhookSender(
            store.outbox,
            settings,
            attempts=Attempts(settings, http or GuardedHttp(), Clock(), "1.2.3"),
            letters=letters,
            clock=Clock(),
            rng=random.Random(1),
        )
        task = asyncio.create_task(sender.run())
        try:
            yield Running(store, sender, Statements(store), letters.written)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_two_thousand_urls_of_a_failing_receiver_cost_next_to_nothing(
    tmp_path: Path,
) -> None:
    """They took a core and half a gigabyte."""
    process = psutil.Process()
    payload = bytes(20_000)
    async with Receiver(answers(503)) as receiver, running(tmp_path) as flood:
        urls = [f"{receiver.url}/{number}" for number in range(2000)]
        await flood.post(urls, payload)
        statements, memory = flood.statements.number, process.memory_info().rss
        started, cpu = time.monotonic(), time.process_time()
        await asyncio.sleep(5)
        seconds = time.monotonic() - started
        share = (time.process_time() - cpu) / seconds
        statements = flood.statements.number - statements
        growth = (process.memory_info().rss - memory) / (1 << 20)
        print(  # noqa: T201 - the figures
            f"{len(receiver.requests)} requests, {share:.0%} of a core, {statements} statements of "
            f"at most {flood.statements.most_values} values, {growth:+.0f} MiB in {seconds:.0f} s"
        )
        assert await flood.pending() == 2000
        assert flood.letters == []
    assert len(receiver.requests) < 80
    assert statements < 1000
    assert flood.statements.most_values < 100
    assert growth < 64
    assert share < 0.5


async def test_urls_of_a_failing_receiver_get_everything_in_order_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with Receiver(answers(503)) as receiver, webhook_bench(tmp_path) as bench:
        expected: dict[str, list[str]] = {}
        for _ in range(2):
            for number in range(150):
                url = f"{receiver.url}/{number}"
                expected.setdefault(url, []).extend(await bench.post(url))
        for _ in range(100):
            bench.turn(30)
            await asyncio.sleep(0.01)
        assert len(receiver.requests) < 1000
        taken: dict[str, list[str]] = {}

        async def take(request: Request, writer: asyncio.StreamWriter) -> None:
            url = f"http://{request.headers['host']}{request.target}"
            taken.setdefault(url, []).append(request.headers["webhook-id"])
            await answers(200)(request, writer)

        receiver.behave = take
        async with asyncio.timeout(50):
            while await bench.pending():
                await bench.pass_time(30)
        assert taken == expected
        assert bench.letters == []


async def test_many_failing_urls_do_not_hold_up_a_good_one_of_their_host(tmp_path: Path) -> None:
    async def judge(request: Request, writer: asyncio.StreamWriter) -> None:
        await answers(200 if request.target.endswith("good") else 503)(request, writer)

    async with Receiver(judge) as receiver, webhook_bench(tmp_path) as bench:
        for number in range(30):
            await bench.post(f"{receiver.url}/{number}")
        await bench.until(lambda: len(receiver.requests) >= 30)
        for number in range(5):
            await bench.post(f"{receiver.url}/good")
            await bench.until_pending(30, timeout_s=5)
            assert len(bench.letters) == 0, number


async def test_long_line_for_a_dead_host_costs_the_others_nothing(tmp_path: Path) -> None:
    async with Receiver(answers(503)) as dead, Receiver() as living, running(tmp_path) as flood:
        await flood.post([f"{dead.url}/{number % 100}" for number in range(20_000)])
        waits = []
        statements = flood.statements.number
        for number in range(1, 21):
            started = time.monotonic()
            await flood.post([living.url])
            await living.wait_for(number)
            waits.append(time.monotonic() - started)
        statements = flood.statements.number - statements
        print(f"median {sorted(waits)[10]:.3f} s, {statements} statements")  # noqa: T201
        assert sorted(waits)[10] < 0.5
        assert statements < 20 * 40


async def test_give_up_reaches_all_urls_of_a_dead_host(tmp_path: Path) -> None:
    """Each has a turn now and then only: their messages do not wait for it to become too old."""
    async with Receiver() as receiver, webhook_bench(tmp_path) as bench:
        await receiver.stop()
        for number in range(200):
            await bench.post(f"{receiver.url}/{number}")
        await bench.until_failing()
        bench.turn(86400 + 3600)
        await bench.turn_until(30, lambda: len(bench.letters) == 200)
        await bench.until_pending(0)
        assert max(Counter(each.job_id for each in bench.letters).values()) == 1


async def test_more_hosts_than_are_remembered_are_all_served(tmp_path: Path) -> None:
    class Names:
        async def __call__(self, host: str, port: int) -> list[str]:
            return ["127.0.0.1"]

    async with (
        Receiver() as living,
        Receiver(answers(503)) as dead,
        webhook_bench(tmp_path, http=GuardedHttp(Names())) as bench,
    ):
        bench.sender._receivers = Receivers(concurrency=4, total=128, most_known=10)
        for number in range(50):
            await bench.post(f"http://h{number}.test:{dead.port}/", 2)
        for number in range(50):
            await bench.post(f"http://h{number}.test:{living.port}/", 2)
        await bench.turn_until(1, lambda: len(living.requests) == 100)
        await bench.until_pending(100)
        dead.behave = answers(200)
        async with asyncio.timeout(40):
            while await bench.pending():
                await bench.pass_time(20)
        assert bench.letters == []
