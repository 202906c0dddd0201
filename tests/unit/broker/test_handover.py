"""What crosses between the threads, with both sides played by the test."""

import asyncio
import threading
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from broker.errors import NotConnectedError
from broker.handover import Ack, Event, Finished, Handover, Publish
from broker.message import MESSAGE_OVERHEAD_BYTES, Message


def make_message(num_bytes: int, mid: int = 1) -> Message:
    return Message(
        "a", b"x" * num_bytes, 1, False, False, 1, mid, datetime(2026, 1, 1, tzinfo=UTC), 0.0
    )


@pytest.fixture
async def handover() -> AsyncIterator[Handover]:
    handover = Handover(10_000)
    handover.open(asyncio.get_running_loop(), lambda: None)
    yield handover
    handover.close()


def is_woken(handover: Handover) -> bool:
    try:
        return bool(handover.wake_receiver.recv(64))
    except BlockingIOError:
        return False


async def test_commands_wake_the_thread_once_until_it_looks(handover: Handover) -> None:
    for mid in range(100):
        handover.command(Ack(1, mid))
    assert len(handover.wake_receiver.recv(200)) == 1
    handover.clear_wake()
    handover.command(Ack(1, 100))
    assert is_woken(handover)
    assert [each.mid for each in handover.commands if isinstance(each, Ack)] == list(range(101))


async def test_gate_closes_at_the_capacity_and_release_wakes_the_thread(
    handover: Handover,
) -> None:
    messages = [make_message(4000, mid) for mid in range(2)]
    for message in messages:
        assert handover.is_gate_open()
        handover.receive(message)
    assert not handover.is_gate_open()
    assert handover.held_bytes == 2 * (4000 + MESSAGE_OVERHEAD_BYTES)
    handover.release(messages[0].num_bytes)
    assert is_woken(handover)
    assert handover.is_gate_open()


async def test_gate_counts_tiny_messages_too(handover: Handover) -> None:
    num_received = 0
    while handover.is_gate_open():
        handover.receive(make_message(0))
        num_received += 1
    assert num_received == 10


async def test_refused_commands_fail_publishes_and_count_acks(handover: Handover) -> None:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    handover.command(Publish("a", b"", done=done))
    handover.command(Ack(1, 1))
    handover.refuse_commands("away")
    [event] = handover.take()
    assert isinstance(event, Finished)
    assert isinstance(event.error, NotConnectedError)
    assert handover.counters.stale_acks == 1


async def test_command_after_the_end_is_refused_by_take(handover: Handover) -> None:
    handover.end()
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    handover.command(Publish("a", b"", done=done))
    assert [isinstance(event, Finished) for event in handover.take()] == [True]


async def test_events_of_a_busy_thread_all_arrive_in_order() -> None:
    handover = Handover(1 << 40)
    arrived: list[Event] = []
    handover.open(asyncio.get_running_loop(), lambda: arrived.extend(handover.take()))

    def produce() -> None:
        for mid in range(20_000):
            handover.receive(make_message(0, mid))

    thread = threading.Thread(target=produce)
    thread.start()
    async with asyncio.timeout(10):
        while len(arrived) < 20_000:  # noqa: ASYNC110 - the thread knows no event
            await asyncio.sleep(0.001)
    thread.join()
    handover.close()
    assert [each.mid for each in arrived if isinstance(each, Message)] == list(range(20_000))
