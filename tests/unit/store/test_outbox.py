"""Messages stay until they are sent, in their order, on both databases."""

from datetime import timedelta

from schemas.outbox import Channel, OutboxMessage
from service.store.store import Store
from tests.factories import NOON


def make_message(
    destination: str, second: float = 0, channel: Channel = Channel.WEBHOOK
) -> OutboxMessage:
    at = NOON + timedelta(seconds=second)
    return OutboxMessage(
        job_key=None,
        channel=channel,
        destination=destination,
        payload=b"\x00payload",
        created_at=at,
        next_attempt_at=at,
    )


def number(message: OutboxMessage) -> int:
    assert message.message_id is not None
    return message.message_id


async def test_due_gives_the_oldest_whose_time_has_come(store: Store) -> None:
    now, soon, other = await store.accept(
        [], {}, [make_message("a"), make_message("a", 10), make_message("a", 0, Channel.MQTT)]
    )
    assert await store.outbox.due(Channel.WEBHOOK, NOON, 10) == [now]
    assert await store.outbox.due(Channel.MQTT, NOON, 10) == [other]
    later = NOON + timedelta(seconds=10)
    assert await store.outbox.due(Channel.WEBHOOK, later, 10) == [now, soon]
    assert await store.outbox.due(Channel.WEBHOOK, later, 1) == [now]


async def test_due_leaves_out_busy_receivers_and_messages_under_way(store: Store) -> None:
    messages = [make_message(destination) for destination in ("dead", "dead", "live", "live")]
    _, _, third, fourth = await store.accept([], {}, messages)
    due = await store.outbox.due(
        Channel.WEBHOOK, NOON, 1, exclude_destinations=["dead"], exclude_ids=[number(third)]
    )
    assert due == [fourth]


async def test_keep_attempts_leaves_messages_due(store: Store) -> None:
    first, second, third = await store.accept([], {}, [make_message(each) for each in "abc"])
    await store.outbox.keep_attempts({number(first): 2, number(third): 1, 999: 4})
    await store.outbox.keep_attempts({number(first): 2})
    due = await store.outbox.due(Channel.WEBHOOK, NOON, 10)
    assert [(each.destination, each.attempts) for each in due] == [("a", 2), ("b", 0), ("c", 1)]
    assert due[1] == second


async def test_due_keeps_the_order_of_writing_after_a_defer(store: Store) -> None:
    first, second = await store.accept([], {}, [make_message("a"), make_message("a")])
    await store.outbox.defer(number(first), NOON + timedelta(seconds=60))
    assert await store.outbox.due(Channel.WEBHOOK, NOON, 10) == [second]
    again, last = await store.outbox.due(Channel.WEBHOOK, NOON + timedelta(seconds=60), 10)
    assert last == second
    assert again.message_id == first.message_id
    assert again.attempts == 1
    assert again.created_at == first.created_at
    assert again.next_attempt_at == NOON + timedelta(seconds=60)


async def test_sent_and_remove_forget(store: Store) -> None:
    first, second, third = await store.accept([], {}, [make_message("a") for _ in range(3)])
    await store.outbox.sent([number(first), number(third)])
    await store.outbox.sent([])
    assert await store.outbox.due(Channel.WEBHOOK, NOON, 10) == [second]
    await store.outbox.remove(number(second))
    assert await store.outbox.pending_count(Channel.WEBHOOK) == 0


async def test_ids_are_never_used_again(store: Store) -> None:
    [first] = await store.accept([], {}, [make_message("a")])
    await store.outbox.sent([number(first)])
    [second] = await store.accept([], {}, [make_message("a")])
    assert number(second) > number(first)


async def test_pending_oldest_and_next_attempt_describe_the_backlog(store: Store) -> None:
    outbox = store.outbox
    assert await outbox.oldest(Channel.WEBHOOK) is None
    assert await outbox.next_attempt_at(Channel.WEBHOOK) is None
    first, second = await store.accept([], {}, [make_message("a"), make_message("a", 5)])
    await outbox.defer(number(first), NOON + timedelta(seconds=60))
    assert await outbox.pending_count(Channel.WEBHOOK) == 2
    assert await outbox.pending_count(Channel.MQTT) == 0
    assert await outbox.oldest(Channel.WEBHOOK) == NOON
    assert await outbox.next_attempt_at(Channel.WEBHOOK) == second.next_attempt_at
