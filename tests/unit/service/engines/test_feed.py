"""One engine's feed, without an engine behind it."""

import asyncio

import pytest

from engine.protocol import Submit, TaskSpec
from schemas.frame import Priority
from schemas.status import ModelStatus
from service.engines.feed import Feed, Running
from service.engines.process import EngineEvent
from service.queue.tickets import ticket_of
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock


class Engine:
    """Writes down what it is sent; reads when a test lets it."""

    def __init__(self, capacity: int = 8) -> None:
        self.events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.capacity = capacity
        self.sent: list[str] = []
        self.does_read = asyncio.Event()
        self.does_read.set()

    @property
    def state(self) -> ModelStatus:
        return ModelStatus(name="m", revision="1", device="cpu", dtype="float32", state="ready")

    async def submit(self, job: Submit) -> None:
        await self.does_read.wait()
        self.sent.append(f"submit {job.key}")

    async def cancel(self, key: str) -> None:
        await self.does_read.wait()
        self.sent.append(f"cancel {key}")


class Site:
    def __init__(self, capacity: int = 8) -> None:
        self.clock = FakeClock(NOON)
        self.engine = Engine(capacity)
        self.feed = Feed(self.engine, self.clock)

    def give(self, job_id: str, priority: Priority = Priority.NORMAL) -> Running:
        job = make_job(priority, job_id=job_id)
        self.feed.hold(job.key)
        running = Running(job, ticket_of(job, self.clock), self.feed, 0.0, is_alone=False)
        tasks = (TaskSpec("caption", "normal"),)
        self.feed.give(running, Submit(job.key, job.camera_id, (-float(priority),), tasks))
        return running

    async def send_one(self) -> None:
        await self.feed.send(await self.feed.next_order())


@pytest.fixture
def site() -> Site:
    return Site()


async def test_jobs_are_sent_by_rank(site: Site) -> None:
    site.give("a")
    site.give("b", Priority.CRITICAL)
    for _ in range(2):
        await site.send_one()
    assert site.engine.sent == ["submit front/b", "submit front/a"]


async def test_seat_is_kept_until_the_job_has_left(site: Site) -> None:
    running = site.give("a")
    assert (site.feed.seats, site.feed.num_held) == (7, 1)
    await site.send_one()
    assert site.feed.seats == 7
    site.feed.release(running.job.key)
    assert (site.feed.seats, site.feed.num_held) == (8, 0)
    site.feed.release(running.job.key)  # twice is no error
    assert site.feed.seats == 8


async def test_few_jobs_are_on_their_way_whatever_room_there_is() -> None:
    site = Site(capacity=100)
    assert site.feed.room == 8
    for number in range(8):
        site.feed.hold(f"front/{number}")
    assert (site.feed.room, site.feed.seats) == (0, 92)
    site.feed.release("front/0")
    site.give("a")
    assert site.feed.room == 0
    await site.send_one()
    assert site.feed.room == 1


async def test_job_that_is_not_sent_yet_is_taken_back(site: Site) -> None:
    first, second = site.give("a"), site.give("b")
    assert site.feed.take_back(second)
    site.feed.release(second.job.key)
    await site.send_one()
    assert site.engine.sent == ["submit front/a"]
    assert site.feed.num_held == 1
    assert first.job.key != second.job.key


async def test_job_that_is_sent_is_cancelled_before_others_are_sent(site: Site) -> None:
    running = site.give("a")
    await site.send_one()
    site.give("b", Priority.CRITICAL)
    assert not site.feed.take_back(running)
    assert site.feed.seats == 7  # its place is another's at once
    for _ in range(2):
        await site.send_one()
    assert site.engine.sent == ["submit front/a", "cancel front/a", "submit front/b"]


async def test_engine_that_does_not_read_is_given_nothing_more(site: Site) -> None:
    site.engine.does_read.clear()
    site.give("a")
    sending = asyncio.create_task(site.send_one())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    site.clock.advance(0.9)
    assert site.feed.room == 7
    site.clock.advance(0.2)
    assert (site.feed.room, site.feed.seats, site.feed.is_working) == (0, 0, False)
    site.engine.does_read.set()
    await sending
    assert (site.feed.room, site.feed.is_working) == (7, True)


def test_engine_that_lost_capacity_has_no_room(site: Site) -> None:
    for number in range(8):
        site.feed.hold(f"front/{number}")
    site.engine.capacity = 2
    assert site.feed.room < 0
    site.engine.capacity = 0
    assert not site.feed.is_working


def test_engine_with_a_job_that_is_to_be_alone_says_so(site: Site) -> None:
    assert (site.feed.is_idle, site.feed.is_isolating) == (True, False)
    site.feed.hold("front/a", is_quarantined=True)
    assert (site.feed.is_idle, site.feed.is_isolating) == (False, True)
    site.feed.release("front/a")
    assert (site.feed.is_idle, site.feed.is_isolating) == (True, False)
    assert site.feed.num_given == 1
