"""What goes when too much waits, and what is said of it; on a real SQLite store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from broker.topics import Topics
from schemas.outbox import Channel, OutboxMessage
from schemas.status import DeadLetter
from service.delivery.dead_letters import DeadLetters
from service.delivery.overflow import Overflow
from service.settings import Settings
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.store_faults import FailEvery, open_faulty
from tests.support.webhook_bench import document

MIB = 1 << 20


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
async def store(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}", clock=clock) as opened:
        yield opened


class Letters(DeadLetters):
    """Takes dead letters, and writes them to the outbox as the service does."""

    def __init__(self, store: Store) -> None:
        super().__init__(store, Topics("base"))
        self.all: list[DeadLetter] = []

    async def write(self, *letters: DeadLetter) -> None:
        self.all.extend(letters)
        await self._store.accept([], {}, [to_broker(each.job_id or "-", 200) for each in letters])


def make_overflow(
    store: Store, clock: FakeClock, webhooks: dict[str, Any], **of_store: Any
) -> tuple[Overflow, Letters]:
    letters = Letters(store)
    settings = Settings.model_validate({"webhooks": webhooks, "store": of_store})
    return Overflow(store, settings, letters, clock), letters


def webhook(receiver: str, job_id: str, num_bytes: int = 0) -> OutboxMessage:
    return OutboxMessage(
        job_key=f"front/{job_id}",
        channel=Channel.WEBHOOK,
        destination=f"{receiver}/hook",
        payload=bytes(num_bytes) or document(job_id).model_dump_json().encode(),
        created_at=NOON,
        receiver=receiver,
    )


def to_broker(job_id: str, num_bytes: int) -> OutboxMessage:
    return OutboxMessage(
        job_key=f"front/{job_id}",
        channel=Channel.MQTT,
        destination="base/front/status",
        payload=bytes(num_bytes),
        created_at=NOON,
    )


async def left(store: Store, channel: Channel, receiver: str | None = None) -> list[str | None]:
    found = await store.outbox.oldest(channel, receiver, 100_000)
    return [each.job_id for each in await store.outbox.get([number for number, _ in found])]


async def test_within_the_limits_nothing_goes(store: Store, clock: FakeClock) -> None:
    await store.accept([], {}, [webhook("http://a", f"a{number}") for number in range(100)])
    overflow, letters = make_overflow(store, clock, {"max_messages": 100})
    await overflow.check()
    assert letters.all == []
    assert await store.outbox.pending_count(Channel.WEBHOOK) == 100


async def test_too_many_for_one_receiver_the_oldest_go(store: Store, clock: FakeClock) -> None:
    rows = [webhook("http://a", f"a{number}") for number in range(350)]
    rows[50:50] = [webhook("http://b", f"b{number}") for number in range(90)]
    await store.accept([], {}, rows)
    overflow, letters = make_overflow(store, clock, {"max_messages": 100})
    await overflow.check()
    kept = [f"a{number}" for number in range(250, 350)]
    assert await left(store, Channel.WEBHOOK, "http://a") == kept
    assert len(await left(store, Channel.WEBHOOK, "http://b")) == 90
    assert [letter.job_id for letter in letters.all] == [f"a{number}" for number in range(250)]
    letter = letters.all[0]
    assert (letter.error.code, letter.topic, letter.camera_id) == (
        "outbox_full",
        "http://a",
        "front",
    )


async def test_too_many_bytes_for_one_receiver_the_oldest_go(
    store: Store, clock: FakeClock
) -> None:
    rows = [webhook("http://a", f"a{number}", 100_000) for number in range(20)]
    await store.accept([], {}, rows)
    overflow, letters = make_overflow(store, clock, {"max_bytes": MIB})
    await overflow.check()
    assert await left(store, Channel.WEBHOOK) == [f"a{number}" for number in range(10, 20)]
    assert len(letters.all) == 10
    assert letters.all[0].size == 100_000


async def test_too_much_for_all_receivers_the_oldest_go(store: Store, clock: FakeClock) -> None:
    rows = [webhook(f"http://{number}", f"job{number}", MIB) for number in range(20)]
    await store.accept([], {}, rows)
    overflow, letters = make_overflow(store, clock, {}, max_message_bytes=16 * MIB)
    await overflow.check()
    assert len(letters.all) == 5
    assert await left(store, Channel.WEBHOOK) == [f"job{number}" for number in range(5, 20)]


async def test_too_much_for_the_broker_goes_with_one_letter(store: Store, clock: FakeClock) -> None:
    await store.accept([], {}, [webhook("http://a", "a")])
    await store.accept([], {}, [to_broker(f"job{number}", MIB) for number in range(20)])
    overflow, letters = make_overflow(store, clock, {}, max_message_bytes=16 * MIB)
    await overflow.check()
    [letter] = letters.all
    assert letter.error.code == "outbox_full"
    assert letter.error.message.startswith("5 messages")
    assert (letter.job_id, letter.topic) == ("job0", "base/front/status")
    # The letter itself waits behind what was there.
    assert await left(store, Channel.MQTT) == [
        *(f"job{number}" for number in range(5, 20)),
        "job0",
    ]
    assert await left(store, Channel.WEBHOOK) == ["a"]


async def test_too_many_for_a_broker_that_is_away_are_bounded(
    store: Store, clock: FakeClock
) -> None:
    for start in range(0, 12_000, 2000):
        rows = [to_broker(f"job{number}", 100) for number in range(start, start + 2000)]
        await store.accept([], {}, rows)
    overflow, letters = make_overflow(store, clock, {}, max_messages=10_000)
    await overflow.check()
    assert await store.outbox.pending_count(Channel.MQTT) == 10_001
    assert len(letters.all) == 1
    assert (await left(store, Channel.MQTT))[0] == "job2000"


async def test_flood_is_held_near_the_limit(store: Store, clock: FakeClock) -> None:
    overflow, letters = make_overflow(store, clock, {"max_messages": 2000})
    running = asyncio.create_task(overflow.run())
    most = 0
    for start in range(0, 20_000, 50):
        rows = [webhook("http://a", f"a{number}", 200) for number in range(start, start + 50)]
        await store.accept([], {}, rows)
        if start % 500 == 0:
            most = max(most, await store.outbox.pending_count(Channel.WEBHOOK))
    kept = await left(store, Channel.WEBHOOK)
    async with asyncio.timeout(20):
        # Between the letters and the end of their rows a message is both.
        while len(kept) > 2100 or len(kept) + len(letters.all) > 20_000:
            await asyncio.sleep(0.05)
            kept = await left(store, Channel.WEBHOOK)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    print(f"at most {most} waited")  # noqa: T201 - the figure
    # The flood does not pause, and a busy machine looks late; without a bound it were 20,000.
    assert most < 10_000
    assert [*(letter.job_id for letter in letters.all), *kept] == [
        f"a{number}" for number in range(20_000)
    ]


async def test_run_survives_a_store_that_refuses(tmp_path: Path, clock: FakeClock) -> None:
    faults = FailEvery(1_000_000)
    async with open_faulty(f"sqlite:///{tmp_path / 'store.db'}", faults) as store:
        await store.accept([], {}, [webhook("http://a", f"a{number}") for number in range(150)])
        overflow, letters = make_overflow(store, clock, {"max_messages": 100})
        faults.fail_in(1)
        running = asyncio.create_task(overflow.run())
        async with asyncio.timeout(5):
            while not faults.failed:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.01)
        faults.fail_in(1_000_000)
        clock.advance(61)
        async with asyncio.timeout(10):
            while not letters.all:  # noqa: ASYNC110 - no event tells
                await asyncio.sleep(0.05)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
        assert [letter.job_id for letter in letters.all] == [f"a{number}" for number in range(50)]
