"""Which message may leave next, and what is made of one that connections end with."""

import asyncio

import pytest

from broker.errors import ConnectionLostError, PublishError
from broker.handover import Publish
from broker.outgoing import Outgoing, lost, unsendable

LATER = 100.0  # seconds after the broker has accepted us


async def message(name: str = "a", num_lost: int = 0) -> Publish:
    done = asyncio.get_running_loop().create_future()
    return Publish(name, b"", num_lost=num_lost, done=done)


def opened(
    *messages: Publish, quiet_s: float = 0.0, receive_maximum: int | None = None
) -> Outgoing:
    outgoing = Outgoing(quiet_s)
    outgoing.accepted(0.0, receive_maximum)
    for each in messages:
        outgoing.add(each)
    return outgoing


def send_all(outgoing: Outgoing, now: float = LATER) -> list[str]:
    """Send what may leave, with the topic's number as packet id; return the topics."""
    topics = []
    while publish := outgoing.take(now):
        outgoing.sent(hash(publish.topic), publish, now)
        topics.append(publish.topic)
    return topics


def is_alone(outgoing: Outgoing, message: Publish | None) -> bool:
    return outgoing.quarantined is message


def acknowledge(outgoing: Outgoing, topic: str) -> None:
    assert outgoing.answered(hash(topic)) is not None


async def test_messages_leave_in_order_up_to_what_the_broker_takes() -> None:
    outgoing = opened(*[await message(name) for name in "abc"], receive_maximum=2)
    assert send_all(outgoing) == ["a", "b"]
    acknowledge(outgoing, "a")
    assert send_all(outgoing) == ["c"]


async def test_nothing_leaves_over_a_quiet_connection_at_first() -> None:
    outgoing = opened(await message(), quiet_s=3.0)
    assert send_all(outgoing, 2.9) == []
    assert send_all(outgoing, 3.0) == ["a"]


async def test_message_that_two_connections_ended_with_leaves_alone() -> None:
    messages = [await message("a"), await message("b", num_lost=2), await message("c")]
    outgoing = opened(*messages)
    assert send_all(outgoing) == ["a"]
    acknowledge(outgoing, "a")
    assert send_all(outgoing) == ["b"]
    assert is_alone(outgoing, messages[1])
    acknowledge(outgoing, "b")
    assert is_alone(outgoing, None)
    assert send_all(outgoing) == ["c"]


async def test_message_that_one_connection_ended_with_leaves_with_the_others() -> None:
    outgoing = opened(await message("a", num_lost=1), await message("b", num_lost=1))
    assert send_all(outgoing) == ["a", "b"]
    assert outgoing.quarantined is None


async def test_message_in_quarantine_waits_until_the_connection_has_held() -> None:
    outgoing = opened(await message("a", num_lost=2))
    assert send_all(outgoing, 1.0) == []
    assert send_all(outgoing, 2.0) == ["a"]


async def test_birth_message_makes_nothing_busy_and_holds_up_the_quarantine() -> None:
    outgoing = opened(await message("a", num_lost=2))
    outgoing.sent(1, Publish("bridge/state", b"online"), LATER)
    assert not outgoing.is_busy
    assert send_all(outgoing) == []
    outgoing.answered(1)
    assert send_all(outgoing) == ["a"]
    assert outgoing.is_busy


async def test_end_tells_what_was_on_its_way_from_what_never_left() -> None:
    outgoing = opened(*[await message(name) for name in "abc"], receive_maximum=1)
    send_all(outgoing)
    in_flight, waiting = outgoing.end()
    assert [each.topic for each in in_flight] == ["a"]
    assert [each.topic for each in waiting] == ["b", "c"]


@pytest.mark.parametrize(("num_lost", "is_last"), [(0, False), (3, False), (4, True)])
async def test_message_is_given_up_after_five_connections_whatever_ended_them(
    num_lost: int, is_last: bool
) -> None:
    error = lost(await message(num_lost=num_lost), "away")
    assert isinstance(error, PublishError if is_last else ConnectionLostError)


async def test_unsendable_says_how_often_a_connection_ended() -> None:
    error = unsendable(await message(num_lost=2))
    assert error.code == "unsendable"
    assert "3 times" in str(error)
