"""The sender of the outbox: a real store, and a connection that does what the test says."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from broker.errors import BrokerError, ConnectionLostError, NotConnectedError, PublishError
from broker.handover import Publish
from broker.publisher import address, to_outbox
from broker.topics import Topics
from schemas.outbox import Channel, OutboxMessage
from schemas.status import DeadLetter
from service.clock import Clock
from service.delivery.mqtt import MqttSender
from service.errors import UNEXPECTED
from service.store.store import Store
from tests.support.dead_letters import Letters
from tests.support.factories import NOON

SOON_S = 20.0
TOPICS = Topics("base")


class ScriptedConnection:
    """Takes messages as a connection does; the test says what becomes of them."""

    def __init__(self) -> None:
        self.in_flight: list[Publish] = []
        self.refused: dict[str, PublishError] = {}  # by topic, at once

    def send(self, message: Publish) -> asyncio.Future[None]:
        if message.topic in self.refused:
            raise self.refused[message.topic]
        message.done = asyncio.get_running_loop().create_future()
        self.in_flight.append(message)
        return message.done

    @property
    def topics(self) -> list[str]:
        return [message.topic for message in self.in_flight]

    async def takes(self, *topics: str) -> None:
        """Wait until exactly these are in flight."""
        async with asyncio.timeout(SOON_S):
            while self.topics != list(topics):  # noqa: ASYNC110 - a list has no event
                await asyncio.sleep(0.005)

    def acknowledge(self) -> None:
        for message in self._take():
            assert message.done is not None
            message.done.set_result(None)

    def end(self, error: BrokerError) -> None:
        for message in self._take():
            assert message.done is not None
            message.done.set_exception(error)

    def _take(self) -> list[Publish]:
        taken, self.in_flight = self.in_flight, []
        return taken


class Bench:
    """A sender at work."""

    def __init__(self, store: Store, connection: ScriptedConnection) -> None:
        self.store = store
        self.connection = connection
        self.letters = Letters(store)
        is_connected = asyncio.Event()
        is_connected.set()
        self.sender = MqttSender(
            store.outbox,
            connection,  # type: ignore[arg-type]
            is_connected,
            letters=self.letters,
            clock=Clock(),
        )

    async def add(self, *topics: str, **fields: Any) -> list[OutboxMessage]:
        return await self.store.accept([], {}, [row(topic, **fields) for topic in topics])

    async def all_gone(self) -> None:
        async with asyncio.timeout(SOON_S):
            await self.sender.flush()
        assert await self.store.outbox.pending_count(Channel.MQTT) == 0

    async def attempts(self) -> dict[str, int]:
        """As the store has them."""
        rows = await self.store.outbox.for_broker(100)
        return {each.destination: each.attempts for each in rows}


def row(
    topic: str, payload: bytes = b"{}", options: dict[str, Any] | None = None, **fields: Any
) -> OutboxMessage:
    """Args: options: As a row can hold them that an earlier version has written: not validated."""
    message = OutboxMessage(
        job_key="front/job-1",
        channel=Channel.MQTT,
        destination=topic,
        payload=payload,
        created_at=NOON,
        **fields,
    )
    return message if options is None else message.model_copy(update={"options": options})


LOST = ConnectionLostError("the connection was lost")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'jobs.sqlite3'}") as opened:
        yield opened


@pytest.fixture
async def at_work(store: Store) -> AsyncIterator[Callable[[], Awaitable[Bench]]]:
    """Starts a sender; a second one is the next life of the service, over the same store."""
    tasks: list[asyncio.Task[None]] = []

    async def stop() -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def start() -> Bench:
        await stop()
        bench = Bench(store, ScriptedConnection())
        tasks.append(asyncio.create_task(bench.sender.run(), name="sender"))
        return bench

    yield start
    await stop()


Start = Callable[[], Awaitable[Bench]]


async def test_lost_row_is_sent_again_with_the_number_of_its_losses(at_work: Start) -> None:
    bench = await at_work()
    await bench.add("a", "b")
    for num_lost in range(3):
        await bench.connection.takes("a", "b")
        assert [each.num_lost for each in bench.connection.in_flight] == [num_lost] * 2
        bench.connection.end(LOST)
    await bench.connection.takes("a", "b")
    bench.connection.acknowledge()
    await bench.all_gone()
    assert bench.letters.written == []


async def test_row_that_never_left_has_lost_nothing(at_work: Start) -> None:
    bench = await at_work()
    await bench.add("a")
    for _ in range(3):
        await bench.connection.takes("a")
        assert bench.connection.in_flight[0].num_lost == 0
        bench.connection.end(NotConnectedError("away"))
    await bench.connection.takes("a")
    bench.connection.acknowledge()
    await bench.all_gone()


async def test_losses_are_counted_over_a_restart_of_the_service(at_work: Start) -> None:
    """Else a row that ends each life of the service would be innocent in the next."""
    bench = await at_work()
    await bench.add("a", "b")
    for _ in range(2):
        await bench.connection.takes("a", "b")
        bench.connection.end(LOST)
    async with asyncio.timeout(SOON_S):
        while await bench.attempts() != {"a": 2, "b": 2}:  # noqa: ASYNC110 - no event either
            await asyncio.sleep(0.01)
    again = await at_work()
    await again.connection.takes("a", "b")
    assert [each.num_lost for each in again.connection.in_flight] == [2, 2]


async def test_row_that_the_broker_hangs_up_on_gets_a_dead_letter_and_the_rest_goes_on(
    at_work: Start,
) -> None:
    bench = await at_work()
    await bench.add("poison", payload=b'{"camera_id": "front"}', attempts=2)
    await bench.add("good")
    await bench.connection.takes("poison", "good")
    poison, good = bench.connection.in_flight
    assert poison.done is not None
    assert good.done is not None
    poison.done.set_exception(PublishError("unsendable", "the connection ended 3 times"))
    good.done.set_result(None)
    await bench.all_gone()
    [letter] = bench.letters.written
    assert (letter.error.code, letter.topic, letter.camera_id) == ("unsendable", "poison", "front")
    assert (letter.job_id, letter.attempts, letter.size) == ("job-1", 3, 22)
    assert "3 times" in letter.error.message


async def test_row_that_the_broker_refuses_gets_a_dead_letter(at_work: Start) -> None:
    bench = await at_work()
    bench.connection.refused["large"] = PublishError("too_large", "9 bytes; at most 8")
    await bench.add("large", "good")
    await bench.connection.takes("good")
    bench.connection.acknowledge()
    await bench.all_gone()
    [letter] = bench.letters.written
    assert (letter.topic, letter.error.code) == ("large", "unsendable")
    assert letter.error.message == "9 bytes; at most 8"


@pytest.mark.parametrize(
    "options",
    [
        {"correlation_data": "not hexadecimal"},
        {"correlation_data": 5},
        {"user_properties": 5},
        {"user_properties": [["one"]]},
    ],
)
async def test_row_that_is_no_message_gets_a_dead_letter(
    at_work: Start, options: dict[str, Any]
) -> None:
    bench = await at_work()
    await bench.all_gone()  # from here on rows are handed over, not read from the store
    await bench.add("bad", options=options)
    await bench.add("good")
    await bench.connection.takes("good")
    bench.connection.acknowledge()
    await bench.all_gone()
    [letter] = bench.letters.written
    assert (letter.topic, letter.error.message) == ("bad", UNEXPECTED)


@pytest.mark.parametrize("payload", [b"", b"\xff\xd8\xff", b"[1]", b'{"camera_id": "a/b"}'])
async def test_dead_letter_names_no_camera_where_the_payload_names_none(
    at_work: Start, payload: bytes
) -> None:
    bench = await at_work()
    bench.connection.refused["bad"] = PublishError("refused", "not authorized")
    await bench.add("bad", payload=payload)
    await bench.all_gone()
    assert bench.letters.written[0].camera_id is None


async def test_broken_dead_letter_lets_its_row_go(at_work: Start) -> None:
    bench = await at_work()
    bench.letters.is_broken = True
    bench.connection.refused["bad"] = PublishError("refused", "not authorized")
    await bench.add("bad", "good")
    await bench.connection.takes("good")
    bench.connection.acknowledge()
    await bench.all_gone()


async def test_dead_letter_itself_is_a_row_like_any_other(at_work: Start) -> None:
    bench = await at_work()
    letter = DeadLetter.model_validate(
        {
            "topic": "a",
            "camera_id": None,
            "size": 1,
            "sha256": None,
            "error": {"code": "unsendable", "message": "m"},
            "attempts": 3,
            "timestamp": NOON,
        }
    )
    stored = to_outbox(address(letter, TOPICS), job_key=None, created_at=NOON)
    await bench.store.accept([], {}, [stored])
    await bench.connection.takes(TOPICS.bridge("dead_letter"))
    sent = json.loads(bench.connection.in_flight[0].payload)
    assert sent["error"]["code"] == "unsendable"
    bench.connection.acknowledge()
    await bench.all_gone()


async def test_watched_row_is_answered_when_the_broker_has_it_or_will_not_have_it(
    at_work: Start,
) -> None:
    bench = await at_work()
    bench.connection.refused["bad"] = PublishError("refused", "not authorized")
    [good] = await bench.add("good")
    is_good_taken = bench.sender.watch(good.row_id)
    [bad] = await bench.add("bad")
    is_bad_taken = bench.sender.watch(bad.row_id)
    await bench.connection.takes("good")
    bench.connection.end(LOST)
    await bench.connection.takes("good")
    assert not is_good_taken.done()
    bench.connection.acknowledge()
    async with asyncio.timeout(SOON_S):
        assert await is_good_taken
        assert not await is_bad_taken
    assert not bench.sender._watched
    await bench.all_gone()


async def test_row_that_was_answered_a_moment_ago_is_answered_to_who_watches_now(
    at_work: Start,
) -> None:
    bench = await at_work()
    bench.connection.refused["bad"] = PublishError("refused", "not authorized")
    [good] = await bench.add("good")
    await bench.connection.takes("good")
    bench.connection.acknowledge()
    [bad] = await bench.add("bad")
    await bench.all_gone()
    async with asyncio.timeout(SOON_S):
        assert await bench.sender.watch(good.row_id)
        assert not await bench.sender.watch(bad.row_id)
    assert not bench.sender._watched


async def test_row_that_nobody_watches_any_more_is_sent_all_the_same(at_work: Start) -> None:
    bench = await at_work()
    [written] = await bench.add("a")
    bench.sender.watch(written.row_id).cancel()
    await bench.connection.takes("a")
    bench.connection.acknowledge()
    await bench.all_gone()
