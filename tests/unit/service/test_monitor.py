"""What becomes of what the parts say of themselves."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from pydantic import BaseModel

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.status import (
    BridgeInfo,
    Figures,
    Health,
    HealthCheck,
    LoadedModel,
    ModelStatus,
    Stats,
)
from service.engines.view import EnginesView
from service.logs import BridgeLog
from service.monitor import About, Monitor, Watched
from service.statistics import Statistics
from tests.support.factories import NOON
from tests.support.fakes import FakeClock

WELL = HealthCheck(status="healthy", message="ok")
TINY = ModelStatus(name="tiny", revision="1", device="cpu", dtype="float32", state="ready")


@dataclass
class Engine:
    """What is seen of an engine."""

    state: ModelStatus = TINY
    capacity: int = 4
    loaded: LoadedModel | None = None
    silent_s: float = 0.0


@dataclass
class Wall:
    """Where the documents are put up; or nowhere, while the broker is away."""

    documents: list[BaseModel] = field(default_factory=list)
    is_there: bool = True

    def announce(self, document: BaseModel) -> bool:
        if self.is_there:
            self.documents.append(document)
        return self.is_there

    def all(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.documents if isinstance(each, kind)]


async def queue(*, processing: bool = True) -> Figures:
    return {
        "active_jobs": 1,
        "queue_size": 2,
        "queue_by_priority": {"high": 2},
        "processing": processing,
    }


async def elsewhere() -> Figures:
    return {
        "total_jobs": 3,
        "status_counts": {JobStatus.COMPLETED: 3},
        "webhook_success_rate": None,
        "connection": {"reconnects": 0},
        **Statistics().figures(0.0),
    }


@dataclass
class Site:
    """A monitor and what it looks at."""

    wall: Wall
    engine: Engine
    monitor: Monitor
    clock: FakeClock


def site(
    *parts: Watched, processing: bool = True, mqtt_version: Callable[[], str] = lambda: "5"
) -> Site:
    wall, engine, clock = Wall(), Engine(), FakeClock(NOON)
    about = About("1.2.3", "home", mqtt_version, {"queue_capacity": 9}, {}, 3600.0)

    async def of_the_queue() -> Figures:
        return await queue(processing=processing)

    watched = (
        Watched("queue", figures=of_the_queue),
        Watched("store", lambda: WELL, elsewhere),
        *parts,
    )
    view = EnginesView([engine])
    monitor = Monitor(wall, watched, view, about, lambda: (), BridgeLog(clock), clock)
    return Site(wall, engine, monitor, clock)


@asynccontextmanager
async def running(made: Site) -> AsyncIterator[None]:
    task = asyncio.create_task(made.monitor.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not is_so():  # noqa: ASYNC110 - a list has no event
            await asyncio.sleep(0.01)


async def test_stats_are_what_the_parts_know_together() -> None:
    made = site()
    made.clock.advance(5.0)
    stats = await made.monitor.stats()
    assert (stats.active_jobs, stats.queue_size, stats.total_jobs, stats.uptime) == (1, 2, 3, 5.0)
    assert (stats.max_concurrent_jobs, stats.system_status) == (4, "running")


def test_every_figure_has_one_part_that_knows_it() -> None:
    by_the_monitor = {"max_concurrent_jobs", "system_status", "uptime", "since"}
    assert set(Figures.__annotations__) == set(Stats.model_fields) - by_the_monitor


@pytest.mark.parametrize(
    ("state", "processing", "expected"),
    [
        ("ready", True, "running"),
        ("ready", False, "paused"),
        ("loading", True, "loading"),
        ("failed", True, "failed"),
        ("failed", False, "paused"),
    ],
)
async def test_system_status_says_what_the_whole_does(
    state: Any, processing: bool, expected: str
) -> None:
    made = site(processing=processing)
    made.engine.state = TINY.model_copy(update={"state": state})
    assert (await made.monitor.stats()).system_status == expected
    made.monitor.is_stopping = True
    assert (await made.monitor.stats()).system_status == "stopping"


async def test_stats_say_at_once_what_the_engines_have_become() -> None:
    made = site()
    async with running(made):
        await until(lambda: bool(made.wall.all(Stats)))
        made.engine.state = TINY.model_copy(update={"state": "unloaded"})
        await until(lambda: len(made.wall.all(Stats)) == 2)
        await asyncio.sleep(0.4)
    assert [each.system_status for each in made.wall.all(Stats)] == ["running", "unloaded"]


async def test_stats_that_are_asked_for_are_said_after_those_that_were_begun_before() -> None:
    """Or what was true before a switch would stand on the topic after it."""
    made = site()
    is_processing, may_go_on, calls = True, asyncio.Event(), count()

    async def of_the_switch() -> Figures:
        return {"processing": is_processing}

    async def slow_at_first() -> Figures:
        if next(calls) == 0:
            await may_go_on.wait()
        return {}

    made.monitor.watch(
        Watched("switch", figures=of_the_switch), Watched("slow", figures=slow_at_first)
    )
    begun = asyncio.create_task(made.monitor.publish_stats())
    await asyncio.sleep(0)
    is_processing = False
    asked = asyncio.create_task(made.monitor.publish_stats())
    await asyncio.sleep(0)
    may_go_on.set()
    assert [(await each).processing for each in (begun, asked)] == [True, False]
    assert [each.processing for each in made.wall.all(Stats)] == [True, False]


def test_worst_part_decides_about_health() -> None:
    ill = HealthCheck(status="unhealthy", message="no room")
    made = site(Watched("disk", lambda: ill), Watched("frames"))
    health = made.monitor.health()
    assert health.status == "unhealthy"
    assert health.checks == {"store": WELL, "disk": ill}


async def test_info_is_published_when_it_changes_and_only_then() -> None:
    made = site()
    async with running(made):
        await until(lambda: bool(made.wall.all(BridgeInfo)))
        await asyncio.sleep(0.6)  # three looks
        assert len(made.wall.all(BridgeInfo)) == 1
        made.engine.state = TINY.model_copy(update={"state": "failed"})
        await until(lambda: len(made.wall.all(BridgeInfo)) == 2)
        await asyncio.sleep(0.4)
    assert [each.model.state for each in made.wall.all(BridgeInfo)] == ["ready", "failed"]
    assert len(made.wall.all(Health)) == 1


async def test_words_of_a_start_are_published_at_most_every_two_seconds() -> None:
    made = site()
    loading = TINY.model_copy(update={"state": "loading", "message": "starting"})
    made.engine.state = loading
    async with running(made):
        await until(lambda: bool(made.wall.all(BridgeInfo)))
        made.engine.state = loading.model_copy(update={"message": "loading the model"})
        await asyncio.sleep(0.5)  # two looks
        assert len(made.wall.all(BridgeInfo)) == 1
        for share in (1, 2, 3, 4):
            made.engine.state = loading.model_copy(update={"message": f"{share} %"})
            made.clock.advance(1.0)
            await asyncio.sleep(0.5)
        made.engine.state = TINY
        await until(lambda: made.wall.all(BridgeInfo)[-1].model.state == "ready")
    messages = [each.model.message for each in made.wall.all(BridgeInfo)]
    assert messages == ["starting", "2 %", "4 %", None]
    assert len(made.wall.all(Stats)) == 2  # at the start, and when it became ready


async def test_info_is_not_published_again_after_an_error() -> None:
    answers = iter(["5", "broken"])

    def version() -> str:
        answer = next(answers, "5")
        if answer == "broken":
            raise RuntimeError
        return answer

    made = site(mqtt_version=version)
    async with running(made):
        await asyncio.sleep(1.7)  # the look after the error comes a second later
    assert len(made.wall.all(BridgeInfo)) == 1
    assert next(answers, None) is None


async def test_info_that_did_not_get_out_is_published_once_it_can() -> None:
    made = site()
    made.wall.is_there = False
    async with running(made):
        await asyncio.sleep(0.3)
        made.wall.is_there = True
        await until(lambda: len(made.wall.all(BridgeInfo)) == 1)


def test_statistics_have_a_reader_for_each_count() -> None:
    statistics = Statistics(num_preempted=2)
    statistics.ended(JobStatus.REJECTED, "not_an_image")
    statistics.completed(Priority.LOW, 1.0, 0.1, now=0.0)
    figures = statistics.figures(1.0)
    assert figures["preempted"] == 2
    assert figures["rejected"] == {"not_an_image": 1}
    assert figures["captions_per_minute"] == 1.0
