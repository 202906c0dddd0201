"""In what order messages are acknowledged, also when a frame is not complete yet."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest_asyncio

from broker.message import Message, Properties5
from broker.options import Subscription
from schemas.frame import FrameOptions
from service.delivery.documents import Rejection
from service.intake.submission import Submission
from service.sources.mqtt import MqttFrames
from service.sources.source import Later
from tests.boundaries.bench import Inbox
from tests.support.checker import until
from tests.support.factories import NOON


class Pictures:
    """A source some of whose frames are completed by the test."""

    def __init__(self) -> None:
        self.later: dict[str, asyncio.Future[Any]] = {}
        self.subscriptions: Sequence[Subscription] = ()

    def claims(self, topic: str) -> bool:
        return True

    def read(self, message: Message) -> Submission | Rejection | Later | None:
        if message.topic.startswith("later"):
            self.later[message.topic] = asyncio.get_running_loop().create_future()
            return self.later[message.topic]
        return submission(message.topic)


class Store:
    """An intake that remembers what it has committed."""

    def __init__(self) -> None:
        self.committed: list[str] = []

    async def submit(self, items: Sequence[Submission | Rejection]) -> None:
        self.committed += [each.origin for each in items]


class Site:
    def __init__(self) -> None:
        self.inbox, self.pictures, self.store = Inbox(), Pictures(), Store()
        self.frames = MqttFrames(self.inbox, [self.pictures], self.store)  # type: ignore[arg-type]
        self._mid = 0

    def send(self, *topics: str) -> None:
        for topic in topics:
            self._mid += 1
            self.inbox.inbox.put_nowait(message(topic, self._mid))


def submission(name: str) -> Submission:
    return Submission(
        camera_id="door",
        options=FrameOptions(),
        image=b"x",
        frame_url=None,
        origin=name,
        content=b"x",
        arrived_at=NOON,
        arrived_monotonic=0.0,
    )


def message(topic: str, mid: int) -> Message:
    return Message(
        topic=topic,
        payload=b"x",
        qos=1,
        retain=False,
        dup=False,
        generation=1,
        mid=mid,
        arrived_at=NOON,
        arrived_monotonic=0.0,
        properties=Properties5(),
    )


@pytest_asyncio.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    running = asyncio.create_task(site.frames.run())
    yield site
    running.cancel()
    await asyncio.wait({running})


async def test_frame_that_is_not_complete_holds_up_acknowledgements_only(site: Site) -> None:
    site.send("a", "later-1", "b")
    await until(lambda: site.store.committed == ["a", "b"])
    site.send("c")
    await until(lambda: site.store.committed == ["a", "b", "c"])
    await until(lambda: site.inbox.num_released == 3)
    assert site.inbox.acknowledged == [1]
    site.pictures.later["later-1"].set_result(submission("later-1"))
    await until(lambda: site.inbox.acknowledged == [1, 2, 3, 4])
    assert site.store.committed[-1] == "later-1"
    assert site.inbox.num_released == 4


async def test_message_that_says_something_else_is_acknowledged_once_that_is_stored(
    site: Site,
) -> None:
    site.send("later-1", "a")
    await until(lambda: site.store.committed == ["a"])
    assert site.inbox.acknowledged == []
    site.pictures.later["later-1"].set_result(None)
    await until(lambda: site.inbox.acknowledged == [1, 2])
    assert site.store.committed == ["a"]


async def test_frame_that_cannot_be_completed_is_rejected_and_blocks_nobody(site: Site) -> None:
    site.send("later-1", "a")
    await until(lambda: bool(site.pictures.later))
    site.pictures.later["later-1"].set_exception(RuntimeError("broken"))
    await until(lambda: site.inbox.acknowledged == [1, 2])
    assert site.store.committed == ["a", "later-1"]


async def test_frame_that_is_not_complete_when_the_service_stops_is_not_acknowledged() -> None:
    site = Site()
    running = asyncio.create_task(site.frames.run())
    site.send("later-1", "a")
    await until(lambda: site.store.committed == ["a"])
    running.cancel()
    await asyncio.wait({running})
    await asyncio.sleep(0)
    assert site.inbox.acknowledged == []
    assert site.pictures.later["later-1"].cancelled()
