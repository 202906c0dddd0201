"""An unexpected error in dispatch ends one job; those beside it and behind it are captioned."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from engine.protocol import BoxesAnswer, Cancelled, Done, Failed, Started, Submit, TextAnswer
from schemas.job import JobStatus, job_key
from schemas.status import ModelStatus
from service.engines.dispatch import Dispatcher
from service.engines.process import EngineEvent, Lost
from service.store.jobs import Attempt, Ending
from tests.boundaries.bench import (
    Bench,
    Breaking,
    assert_internal,
    boundary_bench,
    check_log,
    names,
)

ODD, EVEN = "odd-1", ("even-1", "even-2")
ODD_KEY, EVEN_KEYS = job_key("front", ODD), tuple(job_key("front", each) for each in EVEN)
ANSWER = TextAnswer("A cat", (1,), 0.5)


class Engine:
    """Answers each job at once, or as a test says."""

    capacity = 4
    state = ModelStatus(
        name="tiny", revision="1", device="cpu", dtype="float32", state="ready", message=None
    )

    def __init__(self) -> None:
        self.events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.answers: dict[str, EngineEvent] = {}  # by key, in place of a caption
        self.is_holding = False
        self.taken: list[str] = []

    async def submit(self, job: Submit) -> None:
        self.taken.append(job.key)
        if self.is_holding:
            return
        self.events.put_nowait(Started(job.key))
        self.events.put_nowait(self.answers.pop(job.key, self.done(job.key)))

    async def cancel(self, key: str) -> None:
        self.events.put_nowait(Cancelled(key))

    def done(self, key: str) -> Done:
        return Done(key, (ANSWER,), 0.1)


@dataclass
class Stage:
    """The bench with a dispatcher behind it, paused."""

    bench: Bench
    engine: Engine
    broken_engine: Any
    dispatcher: Dispatcher

    async def queue(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.bench.send(job_id, max_attempts=3)
        for job_id in job_ids:
            await self.bench.until_status(job_id, JobStatus.QUEUED)
        await self.bench.until(lambda: len(self.bench.line) == len(job_ids))

    async def odd_fails_alone(self, caplog: pytest.LogCaptureFixture) -> None:
        """The odd job has ended as it should, the others are captioned, and no slot is lost."""
        await self.bench.until_status(ODD, JobStatus.FAILED)
        self.bench.send("next")
        for job_id in (*EVEN, "next"):
            await self.bench.until_status(job_id, JobStatus.COMPLETED)
        [status] = self.bench.statuses(ODD)
        assert_internal(status, JobStatus.FAILED)
        await self.bench.until(lambda: self.dispatcher.num_running == 0)
        check_log(caplog)


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    async with boundary_bench(tmp_path, queue={"retry_delay": 0.01}) as bench:
        engine = Engine()
        broken = Breaking(engine)
        dispatcher = Dispatcher(
            bench.line,
            bench.store,
            bench.deliver,
            [broken],
            bench.settings,
            bench.statistics,
            bench.clock,
            bench.cameras,
        )
        dispatcher.pause()
        running = asyncio.create_task(dispatcher.run())
        try:
            yield Stage(bench, engine, broken, dispatcher)
            assert not running.done(), "the dispatcher has ended"
        finally:
            running.cancel()
            await asyncio.wait([running])


class OddTasks(Breaking):
    """Hands out the odd job with tasks that nobody can read."""

    async def start(
        self, job_keys: Sequence[str], at: datetime, *, is_urgent: bool = False
    ) -> list[Attempt]:
        attempts = await self.part.start(job_keys, at)
        return [self._odd(each) if each.job.job_id == ODD else each for each in attempts]

    def _odd(self, attempt: Attempt) -> Attempt:
        return replace(attempt, job=attempt.job.model_copy(update={"tasks": (None,)}))


async def test_job_whose_tasks_make_no_order_fails_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with boundary_bench(tmp_path) as bench:
        engine = Engine()
        dispatcher = Dispatcher(
            bench.line,
            OddTasks(bench.store),  # type: ignore[arg-type]
            bench.deliver,
            [engine],
            bench.settings,
            bench.statistics,
            bench.clock,
            bench.cameras,
        )
        dispatcher.pause()
        running = asyncio.create_task(dispatcher.run())
        stage = Stage(bench, engine, engine, dispatcher)
        await stage.queue(EVEN[0], ODD, EVEN[1])
        dispatcher.resume()
        await stage.odd_fails_alone(caplog)
        assert sorted(engine.taken) == sorted([*EVEN_KEYS, job_key("front", "next")])
        running.cancel()
        await asyncio.wait([running])


@pytest.mark.parametrize(
    ("part", "method"),
    [
        ("store", "start"),
        ("deliver", "announce"),
        ("broken_engine", "submit"),
    ],
)
async def test_job_that_cannot_be_started_fails_alone(
    stage: Stage, part: str, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(EVEN[0], ODD, EVEN[1])
    breaking = stage.broken_engine if part == "broken_engine" else getattr(stage.bench, part)
    breaking.break_at(method, names(ODD))
    stage.dispatcher.resume()
    await stage.odd_fails_alone(caplog)


def completes(key: str) -> Callable[[Sequence[Ending]], bool]:
    return lambda endings: any(
        (each.job_key, each.status) == (key, JobStatus.COMPLETED) for each in endings
    )


async def test_outcome_that_cannot_be_stored_fails_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(EVEN[0], ODD, EVEN[1])
    stage.bench.store.break_at("finish_many", completes(ODD_KEY))
    stage.dispatcher.resume()
    await stage.odd_fails_alone(caplog)


@pytest.mark.parametrize(
    "answer",
    [
        Done(ODD_KEY, (), 0.1),
        Done(ODD_KEY, (BoxesAnswer((), 0.5),), 0.1),
        Done(ODD_KEY, (TextAnswer("A cat", (1,), float("nan")),), 0.1),
        Done(ODD_KEY, (ANSWER,), float("inf")),
    ],
)
async def test_answer_that_is_none_fails_alone(
    stage: Stage, answer: Done, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(EVEN[0], ODD, EVEN[1])
    stage.engine.answers[ODD_KEY] = answer
    stage.dispatcher.resume()
    await stage.odd_fails_alone(caplog)


@pytest.mark.parametrize(
    "answer",
    [Failed(ODD_KEY, "engine", "no", can_retry=True), Cancelled(ODD_KEY)],
    ids=["retry", "free"],
)
async def test_job_that_cannot_be_returned_fails_alone(
    stage: Stage, answer: EngineEvent, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(EVEN[0], ODD, EVEN[1])
    stage.engine.answers[ODD_KEY] = answer
    stage.bench.store.break_at("requeue", names(ODD))
    stage.dispatcher.resume()
    await stage.odd_fails_alone(caplog)


async def test_job_that_cannot_be_returned_after_a_loss_fails_alone(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(EVEN[0], ODD, EVEN[1])
    stage.bench.store.break_at("requeue", names(ODD))
    stage.engine.is_holding = True
    stage.dispatcher.resume()
    await stage.bench.until(lambda: len(stage.engine.taken) == 3)
    stage.engine.is_holding = False
    stage.engine.events.put_nowait(Lost((EVEN_KEYS[0], ODD_KEY, EVEN_KEYS[1]), "it died"))
    await stage.odd_fails_alone(caplog)


async def test_job_that_cannot_even_be_ended_frees_its_slot(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(EVEN[0], ODD, EVEN[1])
    stage.bench.store.break_at(
        "finish_many", lambda endings: any(each.job_key == ODD_KEY for each in endings)
    )
    stage.dispatcher.resume()
    stage.bench.send("next")
    for job_id in (*EVEN, "next"):
        await stage.bench.until_status(job_id, JobStatus.COMPLETED)
    await stage.bench.until(lambda: stage.dispatcher.num_running == 0)
    assert stage.bench.statuses(ODD) == []
    check_log(caplog)
    # The next start takes it back.
    [waiting] = await stage.bench.store.recover()
    assert waiting.job_id == ODD


@pytest.mark.parametrize("method", ["pop", "wait", "most_urgent"])
async def test_feeding_that_breaks_begins_again(
    stage: Stage, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    await stage.queue(*EVEN)
    line = stage.bench.line
    line.break_at(method)
    stage.dispatcher.resume()
    await stage.bench.until(lambda: line.num_broken >= 1)
    assert line.num_broken <= 2  # not in a hot loop
    line.mend()
    for job_id in EVEN:
        await stage.bench.until_status(job_id, JobStatus.COMPLETED)
    check_log(caplog)


async def test_evicted_job_that_cannot_be_dropped_keeps_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with boundary_bench(tmp_path, queue={"capacity": 1}) as bench:
        bench.store.break_at("finish_many", names(ODD))
        for job_id in (ODD, *EVEN):
            bench.send(job_id, priority="low")
        bench.send("next", priority="critical")
        for job_id in EVEN:
            await bench.until_status(job_id, JobStatus.DROPPED)
        await bench.until_acknowledged(4)
        assert len(bench.line) == 1
        check_log(caplog)
