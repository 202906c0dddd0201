"""Messages stay until they are sent, in their order, on both databases."""

from collections.abc import AsyncIterator, Collection, Sequence

import pytest

from schemas.job import JobStatus
from schemas.outbox import Channel, OutboxMessage
from service.errors import StoreError
from service.store.outbox import Batch, Size
from service.store.store import Ending, Store
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.store_faults import FailEvery, open_faulty

pytestmark = pytest.mark.both_databases

MANY = Size(100, 1 << 20)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(NOON)


@pytest.fixture
async def store(store_url: str, clock: FakeClock) -> AsyncIterator[Store]:
    async with Store.open(store_url, clock=clock) as opened:
        yield opened


def make_message(url: str | None = None, payload: bytes = b"\x00payload") -> OutboxMessage:
    """For a webhook, or for the broker."""
    return OutboxMessage(
        job_key=None,
        channel=Channel.MQTT if url is None else Channel.WEBHOOK,
        destination=url or "base/front/status",
        payload=payload,
        created_at=NOON,
        receiver="" if url is None else "/".join(url.split("/")[:3]),
    )


async def write(store: Store, *urls: str | None) -> list[OutboxMessage]:
    return await store.accept([], {}, [make_message(url) for url in urls])


async def read(
    store: Store,
    receiver: str = "http://a",
    *,
    after: int | None = None,
    skip: Collection[int] = (),
    num_urls: int = 10,
    limit: Size = MANY,
) -> list[Batch]:
    return await store.outbox.batches(receiver, after, skip, num_urls, limit)


def ids(batches: Collection[Batch]) -> list[list[int]]:
    return sorted([message.row_id for message in batch.messages] for batch in batches)


async def test_keep_attempts_leaves_messages_due(store: Store) -> None:
    first, second, third = await write(store, None, None, None)
    await store.outbox.keep_attempts({first.row_id: 2, third.row_id: 1, 999: 4})
    await store.outbox.keep_attempts({first.row_id: 2})
    waiting = await store.outbox.for_broker(10)
    assert [each.attempts for each in waiting] == [2, 0, 1]
    assert waiting[1] == second


async def test_for_broker_gives_the_oldest_and_no_webhooks(store: Store) -> None:
    first, _, second = await write(store, None, "http://a/1", None)
    assert await store.outbox.for_broker(10) == [first, second]
    assert await store.outbox.for_broker(1) == [first]


async def test_batches_are_in_order_and_by_url(store: Store) -> None:
    rows = await write(store, "http://a/1", "http://a/2", "http://b/1", None, "http://a/1")
    one, two, other, _, again = (row.row_id for row in rows)
    assert ids(await read(store)) == [[one, again], [two]]
    assert ids(await read(store, "http://b")) == [[other]]
    assert await read(store, "http://c") == []


async def test_batches_are_bounded_in_messages_and_bytes(store: Store) -> None:
    urls = ["http://a/1"] * 5
    rows = await store.accept([], {}, [make_message(url, bytes(1000)) for url in urls])
    numbers = [row.row_id for row in rows]
    assert ids(await read(store, limit=Size(3, 1 << 20))) == [numbers[:3]]
    assert ids(await read(store, limit=Size(100, 2500))) == [numbers[:2]]
    assert ids(await read(store, limit=Size(100, 10))) == [numbers[:1]]


async def test_batches_give_every_url_its_turn(store: Store) -> None:
    rows = await write(store, *(f"http://a/{number}" for number in range(10)))
    seen: list[list[int]] = []
    after = None
    for _ in range(4):
        turn = await read(store, after=after, num_urls=3)
        assert len(turn) == 3
        seen += ids(turn)
        after = turn[-1].key
    assert {number for [number] in seen} == {row.row_id for row in rows}
    assert len(await read(store, after=after, num_urls=30)) == 10


async def test_batches_leave_out_urls_without_a_turn(store: Store) -> None:
    rows = await write(store, *(f"http://a/{number}" for number in range(5)))
    keys = [batch.key for batch in await read(store)]
    left = await read(store, skip=keys[1:4], num_urls=5)
    assert [batch.key for batch in left] == [keys[0], keys[4]]
    assert len(rows) == 5


async def test_failed_message_stays_first_or_lets_others_pass(
    store: Store, clock: FakeClock
) -> None:
    first, second = (row.row_id for row in await write(store, "http://a/1", "http://a/1"))
    await store.outbox.failed(first)
    assert ids(await read(store)) == [[first, second]]
    await store.outbox.failed(first, aside_s=60)
    assert ids(await read(store)) == [[second]]
    clock.advance(59)
    assert ids(await read(store)) == [[second]]
    clock.advance(1)
    [batch] = await read(store)
    assert [(each.row_id, each.attempts) for each in batch.messages] == [(first, 2), (second, 0)]


async def test_messages_know_how_long_the_service_has_run_with_them(
    store: Store, clock: FakeClock
) -> None:
    await write(store, "http://a/1")
    clock.advance(90)
    clock.set_now(NOON.replace(year=2100))
    [batch] = await read(store)
    assert [message.waited_s for message in batch.messages] == [90]


async def test_receivers_are_named_once(store: Store) -> None:
    await write(store, "http://b/1", "http://a/1", "http://a/2", None, "http://c/1")
    assert await store.outbox.receivers(None, 10) == ["http://a", "http://b", "http://c"]
    assert await store.outbox.receivers("http://a", 1) == ["http://b"]


async def test_sent_messages_are_forgotten(store: Store) -> None:
    first, second, third = (row.row_id for row in await write(store, *["http://a/1"] * 3))
    await store.outbox.sent([first, third])
    await store.outbox.sent([])
    assert ids(await read(store)) == [[second]]
    assert [each.row_id for each in await store.outbox.get([first, second])] == [second]


async def test_ids_are_never_used_again(store: Store) -> None:
    [first] = await write(store, None)
    await store.outbox.sent([first.row_id])
    [second] = await write(store, None)
    assert second.row_id > first.row_id


async def test_sizes_and_the_oldest_describe_what_waits(store: Store) -> None:
    urls = ["http://a/1", "http://a/2", "http://b/1", None]
    rows = await store.accept([], {}, [make_message(url, bytes(1000)) for url in urls])
    outbox = store.outbox
    webhooks = await outbox.size(Channel.WEBHOOK)
    assert webhooks.num_messages == 3
    assert 3000 < webhooks.num_bytes < 3200
    assert (await outbox.size(Channel.MQTT)).num_messages == 1
    assert await outbox.pending_count(Channel.WEBHOOK) == 3
    assert list(await outbox.larger_than(Size(1, 1 << 20))) == ["http://a"]
    assert set(await outbox.larger_than(Size(9, 100))) == {"http://a", "http://b"}
    numbers = [row.row_id for row in rows]
    found = [number for number, _ in await outbox.oldest(Channel.WEBHOOK, None, 2)]
    assert found == numbers[:2]
    assert [number for number, _ in await outbox.oldest(Channel.WEBHOOK, "http://b", 9)] == [
        numbers[2]
    ]
    assert outbox.written == Size(4, 4000)


class Sender:
    """Is told of what is committed."""

    def __init__(self, store: Store, *channels: Channel) -> None:
        self.told: list[Sequence[OutboxMessage]] = []
        for channel in channels:
            store.outbox.subscribe(channel, self.take)

    def take(self, messages: Sequence[OutboxMessage]) -> None:
        self.told.append(messages)


async def test_subscribers_are_told_of_their_channel_once(store: Store) -> None:
    mqtt, webhook = Sender(store, *[Channel.MQTT] * 2), Sender(store, Channel.WEBHOOK)
    first, second, third = await write(store, None, "http://a/1", None)
    assert mqtt.told == [[first, third]]
    assert webhook.told == [[second]]
    await write(store, None)
    assert (len(mqtt.told), len(webhook.told)) == (2, 1)


async def test_subscribers_are_told_of_the_end_of_a_job(store: Store) -> None:
    job, sender = make_job(), Sender(store, Channel.MQTT)
    await store.accept([job], {})
    ending = Ending(job.key, JobStatus.CANCELLED, NOON, messages=[make_message()])
    [(_, messages)] = await store.finish_many([ending])
    assert sender.told == [messages]


async def test_rows_of_a_try_whose_answer_was_lost_are_looked_for(
    store_url: str, clock: FakeClock
) -> None:
    faults = FailEvery(1_000_000, "committed")
    async with open_faulty(store_url, faults, clock=clock) as store:
        job, sender = make_job(), Sender(store, Channel.MQTT)
        await store.accept([job], {})
        ending = Ending(job.key, JobStatus.CANCELLED, NOON, messages=[make_message()])
        faults.fail_in(1)
        with pytest.raises(StoreError):
            await store.finish_many([ending])
        assert sender.told == [()]  # at once: perhaps nobody tries again
        assert len(await store.outbox.for_broker(10)) == 1
        faults.fail_in(1_000_000)
        assert await store.finish_many([ending]) == []
        assert sender.told == [(), ()]  # PostgreSQL may have committed after its answer was lost


async def test_subscriber_that_breaks_keeps_nobody_from_hearing(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(messages: Sequence[OutboxMessage]) -> None:
        raise RuntimeError("broken")

    store.outbox.subscribe(Channel.MQTT, broken)
    sender = Sender(store, Channel.MQTT)
    written = await write(store, None)
    assert sender.told == [written]
    assert "cannot be told" in caplog.text
