"""What was missed is found in Frigate's database."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.frigate import Subject
from service.errors import FrigateError
from service.frigate_settings import FrigateSettings
from service.sources.frigate.catch_up import SILENT_S, CatchUp
from service.sources.frigate.events import Events
from service.sources.frigate.submissions import Submissions
from service.sources.names import Names
from service.store.store import Store
from tests.support.factories import NOON
from tests.support.fakes import FakeClock
from tests.support.frigate_messages import EVENT_ID, stored_event

NOW = NOON.timestamp()


class Database:
    """What Frigate has stored."""

    def __init__(self) -> None:
        self.stored: list[Any] = []
        self.detect: Any = {"width": 1280, "height": 720}
        self.after = 0.0
        self.most_listed = 1000
        self.num_lists = 0
        self.asked: list[str] = []

    async def event(self, event_id: str) -> dict[str, Any] | None:
        self.asked.append(event_id)
        return next((each for each in self.stored if each["id"] == event_id), None)

    async def events(self, *, after: float, limit: int) -> list[dict[str, Any]]:
        self.after = after
        self.num_lists += 1
        if limit > self.most_listed:
            raise FrigateError("more bytes than are read")
        return self.stored[:limit]

    async def config(self) -> dict[str, Any]:
        return {"cameras": {"yard": {"detect": self.detect}}}


class Bench:
    def __init__(self, store: Store, clock: FakeClock, **settings: Any) -> None:
        wanted = FrigateSettings.model_validate(settings)
        self.clock, self.database = clock, Database()
        self.events = Events(store.frigate, clock)
        self.submissions = Submissions(wanted, self.events.reviews, Names(lambda _: None), clock)
        self.catch_up = CatchUp(self.events, self.database, self.submissions, wanted, clock)


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    clock = FakeClock(NOON)
    async with Store.open(tmp_path / "jobs.sqlite3", clock=clock) as store:
        yield Bench(store, clock)


async def test_objects_that_ended_unheard_are_heard_of(bench: Bench) -> None:
    bench.database.stored = [
        stored_event("1.1-new", end_time=NOW - 10),
        stored_event("1.2-old", end_time=NOW - 1000),
        stored_event("1.3-goes-on", end_time=None),
        "nonsense",
        {"id": "../.."},
    ]
    await bench.catch_up.look_back()
    found = {each.subject.id: each.is_old for each in bench.events.open}
    assert found == {"1.1-new": False, "1.2-old": True}
    assert all(each.ended == bench.clock.monotonic() for each in bench.events.open)
    assert bench.database.after == pytest.approx(NOW - 3600)


async def test_list_that_is_too_long_is_asked_for_in_part(bench: Bench) -> None:
    bench.database.most_listed = 30
    bench.database.stored = [stored_event(f"1.{k}-x", end_time=NOW - 10) for k in range(40)]
    await bench.catch_up.look_back()
    assert len(bench.events.open) == 30


async def test_online_said_again_and_again_is_asked_after_once(bench: Bench) -> None:
    running = asyncio.create_task(bench.catch_up.run())
    for _ in range(50):
        bench.catch_up.order()
        await asyncio.sleep(0.01)
    running.cancel()
    assert bench.database.num_lists == 1


async def test_objects_that_are_known_are_left_as_they_are(bench: Bench) -> None:
    bench.database.stored = [stored_event(end_time=NOW - 10)]
    await bench.catch_up.look_back()
    [each] = bench.events.open
    bench.events.finish(each)
    await bench.catch_up.look_back()
    assert not bench.events.open


async def test_end_that_was_missed_of_one_that_is_followed_is_heard(bench: Bench) -> None:
    each = bench.events.hear(Subject(id=EVENT_ID, camera="front_door"))
    assert each is not None
    bench.database.stored = [stored_event(end_time=NOW - 1000)]
    await bench.catch_up.look_back()
    assert each.ended == bench.clock.monotonic()
    assert each.is_old


async def test_detect_sizes_are_learnt(bench: Bench) -> None:
    await bench.catch_up.look_back()
    assert bench.submissions.detect_sizes == {"yard": (1280.0, 720.0)}


@pytest.mark.parametrize(
    "detect",
    [None, {}, {"width": 1280}, {"width": "1280", "height": 720}, {"width": 0, "height": 1}],
)
async def test_size_that_is_none_is_left_out(bench: Bench, detect: Any) -> None:
    bench.database.detect = detect
    await bench.catch_up.look_back()
    assert bench.submissions.detect_sizes == {}


async def test_object_that_is_silent_for_long_is_asked_about(bench: Bench) -> None:
    bench.events.hear(Subject(id=EVENT_ID, camera="yard", zones=("porch",), frame_time=5.0))
    bench.clock.advance(SILENT_S - 1)
    await bench.catch_up.ask_silent()
    assert bench.database.asked == []
    bench.clock.advance(1)
    bench.database.stored = [stored_event(end_time=None)]
    await bench.catch_up.ask_silent()
    await bench.catch_up.ask_silent()  # not again at once
    [each] = bench.events.open
    assert (bench.database.asked, each.ended) == ([EVENT_ID], None)
    bench.clock.advance(SILENT_S)
    bench.database.stored = [stored_event(end_time=NOW)]
    await bench.catch_up.ask_silent()
    assert each.ended == bench.clock.monotonic()
    assert each.subject.frame_time == 5.0  # what the messages said and the database does not


async def test_object_that_frigate_has_not_kept_is_let_go(bench: Bench) -> None:
    bench.events.hear(Subject(id=EVENT_ID, camera="yard"))
    bench.clock.advance(SILENT_S)
    await bench.catch_up.ask_silent()
    assert not bench.events.open


async def test_review_is_over_with_its_object(bench: Bench) -> None:
    review = Subject(id="1.5-rev", kind="review", camera="yard", detections=(EVENT_ID,))
    bench.events.hear(review)
    bench.clock.advance(SILENT_S)
    bench.database.stored = [stored_event(end_time=NOW)]
    await bench.catch_up.ask_silent()
    [each] = bench.events.open
    assert each.subject.kind == "review"
    assert each.ended is not None
