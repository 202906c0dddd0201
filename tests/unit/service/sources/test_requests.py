"""How much is done for requests, and what becomes of those beyond it."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from broker.errors import NotConnectedError
from broker.handover import Publish
from broker.message import Message
from broker.topics import Topics
from schemas.requests.envelope import Answer, Nothing
from schemas.requests.operation import Operation
from service.clock import Clock
from service.operations.operations import Operations
from service.sources.requests import RequestTopics
from tests.support.factories import NOON
from tests.support.fakes import FakeClock

ECHO = Operation("echo", Nothing, Answer, "Nothing.")


class Sender:
    """Keeps what is sent."""

    def __init__(self) -> None:
        self.sent: list[Publish] = []
        self.is_connected = True

    def send(self, message: Publish) -> "asyncio.Future[None]":
        if not self.is_connected:
            raise NotConnectedError("away")
        self.sent.append(message)
        done = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    def said(self, word: str) -> int:
        """How many were answered with a status or a code."""
        return sum(word in json.dumps(json.loads(each.payload)) for each in self.sent)


async def echo(_: Nothing) -> Answer:
    return Answer()


def request(payload: bytes = b"", *, retain: bool = False) -> Message:
    return Message("base/bridge/request/echo", payload, 0, retain, False, 1, 1, NOON, 0.0)


def made(clock: Clock) -> tuple[RequestTopics, Sender]:
    sender = Sender()
    return RequestTopics(Topics("base"), Operations([ECHO.bind(echo)]), sender, clock), sender


@asynccontextmanager
async def running(source: RequestTopics) -> AsyncIterator[None]:
    task = asyncio.create_task(source.run(), name="requests")
    yield
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


async def test_what_comes_beyond_the_limits_is_busy_and_then_left_out() -> None:
    clock = FakeClock(NOON)
    source, sender = made(clock)
    for _ in range(1000):
        source.read(request())
    assert sender.said("busy") == len(sender.sent) == 20
    clock.advance(1.0)
    for _ in range(100):
        source.read(request())
    assert sender.said("busy") == 40


async def test_waiting_bytes_are_bounded_and_given_back() -> None:
    source, sender = made(FakeClock(NOON))
    half = b" " * (65 << 20)
    source.read(request(half))
    source.read(request(half))
    assert sender.said("busy") == 1
    async with running(source):
        while len(sender.sent) < 2:  # noqa: ASYNC110 - the first is too large, and gone
            await asyncio.sleep(0.01)
        source.read(request(half))
        assert sender.said("busy") == 1


async def test_requests_are_answered_at_a_pace() -> None:
    source, sender = made(Clock())
    for _ in range(100):
        source.read(request())
    async with running(source):
        await asyncio.sleep(0.3)
    assert 1 <= sender.said("ok") <= 40


async def test_without_a_connection_requests_are_let_go() -> None:
    source, sender = made(Clock())
    sender.is_connected = False
    source.read(request())
    async with running(source):
        await asyncio.sleep(0.05)
        sender.is_connected = True
        source.read(request())
        await asyncio.sleep(0.1)
    assert sender.said("ok") == 1


async def test_retained_request_is_nobodys() -> None:
    source, sender = made(Clock())
    source.read(request(retain=True))
    async with running(source):
        await asyncio.sleep(0.05)
    assert sender.sent == []
