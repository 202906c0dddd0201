"""What callers are told of the engines and the queue."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from broker.topics import Topics
from gateway.problems import Problem
from schemas.frame import Priority
from schemas.status import ModelState, ModelStatus
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.statistics import Statistics
from service.store.store import Store
from service.web.readiness import Readiness
from tests.support.factories import NOON, make_job
from tests.support.fakes import FakeClock
from tests.support.stages import Nobody, any_camera


class Engine:
    def __init__(self) -> None:
        self.now: ModelState = "ready"

    @property
    def state(self) -> ModelStatus:
        return ModelStatus(
            name="m", revision="1", device="cpu", dtype="f", state=self.now, message="no weights"
        )


@pytest_asyncio.fixture
async def queue(tmp_path: Path) -> AsyncIterator[JobQueue]:
    clock, topics = Clock(), Topics("base")
    async with Store.open(tmp_path / "store.db") as store:
        cameras = any_camera(store, clock, topics)
        deliver = Deliver(store, topics, Nobody(), Statistics(), clock, cameras)
        queue = JobQueue(JobHeap(100), store, deliver, clock)
        queue.pace.capacity = 1
        queue.pace.ended(0.0, 0, alone_s=2.0)
        yield queue


async def test_wait_is_for_those_that_matter_as_much(queue: JobQueue) -> None:
    queue.push([make_job(rank) for rank in Priority])
    readiness = Readiness([Engine()], queue, FakeClock(NOON))
    waits = {rank: readiness.wait_s(rank) for rank in Priority}
    assert waits == {
        Priority.CRITICAL: 4.0,
        Priority.HIGH: 6.0,
        Priority.NORMAL: 8.0,
        Priority.LOW: 10.0,
    }


async def test_what_is_in_the_way_is_said(queue: JobQueue) -> None:
    readiness = Readiness([Engine()], queue, FakeClock(NOON))
    said = [readiness.obstacle]
    queue.pace.capacity, queue.pace.loading = 0, "12 % of 4 GB"
    said.append(readiness.obstacle)
    queue.pace.is_paused = True
    said.append(readiness.obstacle)
    assert said == [None, "the model is not loaded: 12 % of 4 GB", "processing is paused"]


async def test_model_that_has_failed_for_a_while_is_said_to_have(queue: JobQueue) -> None:
    clock, engines = FakeClock(NOON), [Engine(), Engine()]
    readiness = Readiness(engines, queue, clock)
    for each in engines:
        each.now = "failed"
    readiness.wait_s(Priority.HIGH)  # it may have been lost a moment ago
    clock.advance(3.0)
    with pytest.raises(Problem, match="no model works: no weights") as caught:
        readiness.wait_s(Priority.HIGH)
    assert (caught.value.status, caught.value.retry_after_s) == (503, 30.0)


@pytest.mark.parametrize("state", ["loading", "ready", "unloaded"])
async def test_model_that_is_loaded_again_is_waited_for(queue: JobQueue, state: ModelState) -> None:
    clock, engines = FakeClock(NOON), [Engine(), Engine()]
    readiness = Readiness(engines, queue, clock)
    engines[0].now = engines[1].now = "failed"
    readiness.wait_s(Priority.HIGH)
    engines[1].now = state
    clock.advance(60.0)
    readiness.wait_s(Priority.HIGH)
