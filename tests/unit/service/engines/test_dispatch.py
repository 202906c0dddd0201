"""Dispatch with a real store and engines that do what a test says."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from broker.topics import Topics
from engine.protocol import (
    Cancelled,
    Done,
    Failed,
    Piece,
    Ready,
    Similar,
    Started,
    Submit,
    TextAnswer,
)
from schemas.frame import Priority
from schemas.job import Job, JobStatus
from schemas.status import ModelStatus, StatusDocument
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.engines.dispatch import Dispatcher
from service.engines.process import EngineEvent, Lost
from service.errors import EngineError
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.jobs import Attempt, Ended, Ending
from service.store.store import Store
from tests.support.factories import make_job
from tests.support.stages import any_camera

SOON_S = 20.0
PRINT = b"\x01" + bytes(1024)


class Engine:
    """Holds jobs until a test lets them go."""

    def __init__(self, capacity: int = 8) -> None:
        self.events: asyncio.Queue[EngineEvent] = asyncio.Queue()
        self.capacity = capacity
        self.taken: list[Submit] = []  # in order
        self.held: list[str] = []
        self.does_read = asyncio.Event()
        self.does_read.set()
        self.is_quick = False  # captions what it gets at once
        self.refusals = 0
        self.model = "m"

    @property
    def state(self) -> ModelStatus:
        return ModelStatus(
            name=self.model, revision="1", device="cpu", dtype="float32", state="ready"
        )

    @property
    def keys(self) -> list[str]:
        return [each.key for each in self.taken]

    async def submit(self, job: Submit) -> None:
        await self.does_read.wait()
        if self.refusals:
            self.refusals -= 1
            raise EngineError("engine_full", "no room")
        self.taken.append(job)
        self.held.append(job.key)
        if self.is_quick:
            self.finish(job.key)

    async def cancel(self, key: str) -> None:
        await self.does_read.wait()
        if key in self.held:
            self.say(Cancelled(key))

    def finish(self, *keys: str) -> None:
        for key in keys or tuple(self.held):
            self.say(Done(key, (TextAnswer("A cat", (1,), 0.5),), 0.1))

    def say(self, event: Done | Failed | Cancelled | Similar) -> None:
        self.held.remove(event.key)
        self.events.put_nowait(event)

    def start(self, key: str, fingerprint: bytes | None = None) -> None:
        self.events.put_nowait(Started(key, fingerprint))

    def die(self) -> None:
        keys, self.held = tuple(self.held), []
        self.events.put_nowait(Lost(keys, "it died"))


class GroupingStore(Store):
    """Remembers which jobs ended together; a test can hold a commit up."""

    def prepare(self) -> None:
        self.groups: list[list[str]] = []
        self.may_commit = asyncio.Event()
        self.may_commit.set()
        self.may_start = asyncio.Event()
        self.may_start.set()
        self.may_return = asyncio.Event()  # a start that is committed
        self.may_return.set()
        self.num_starting = 0
        self.starts: list[tuple[list[str], bool]] = []  # and whether it was urgent
        self.ends: dict[str, Priority] = {}

    async def start(
        self, job_keys: Sequence[str], at: datetime, *, is_urgent: bool = False
    ) -> list[Attempt]:
        self.num_starting += len(job_keys)
        self.starts.append((list(job_keys), is_urgent))
        await self.may_start.wait()
        started = await super().start(job_keys, at, is_urgent=is_urgent)
        await self.may_return.wait()
        return started

    async def finish_many(self, endings: Sequence[Ending]) -> list[Ended]:
        self.groups.append([each.job_key for each in endings])
        self.ends |= {each.job_key: each.priority for each in endings}
        await self.may_commit.wait()
        return await super().finish_many(endings)


class Topic:
    """Hears what is announced."""

    def __init__(self) -> None:
        self.documents: list[BaseModel] = []

    def announce(self, document: BaseModel) -> bool:
        self.documents.append(document)
        return True


@dataclass
class Site:
    """A dispatcher that runs, and what is around it."""

    store: GroupingStore
    deliver: Deliver
    engines: list[Engine]
    queue: JobQueue
    dispatcher: Dispatcher
    clock: Clock
    topic: Topic
    statistics: Statistics = field(default_factory=Statistics)

    async def add(self, *jobs: Job) -> None:
        """Let jobs wait that are committed."""
        await self.store.accept(jobs, {job.key: job.key.encode() for job in jobs})
        self.queue.push(jobs)

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not is_so():  # noqa: ASYNC110 - polls real parts
                await asyncio.sleep(0.005)

    async def until_held(self, engine: Engine, *jobs: Job) -> None:
        await self.until(lambda: sorted(engine.held) == sorted(job.key for job in jobs))

    async def until_status(self, status: JobStatus, *jobs: Job) -> list[Job]:
        async with asyncio.timeout(SOON_S):
            while True:
                found = await self.store.existing([job.key for job in jobs])
                if all(each.status is status for each in found.values()):
                    return [found[job.key] for job in jobs]
                await asyncio.sleep(0.005)

    async def settled(self) -> None:
        """Wait until nothing moves that could."""
        await asyncio.sleep(0.1)


@asynccontextmanager
async def dispatching(folder: Path, engines: list[Engine], **settings: Any) -> AsyncIterator[Site]:
    clock, statistics, topic = Clock(), Statistics(), Topic()
    configured = Settings(**settings)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(GroupingStore.open(folder / "store.db"))
        store.prepare()
        topics = Topics("base")
        cameras = any_camera(store, clock, topics)
        deliver = Deliver(store, topics, topic, statistics, clock, cameras)
        queue = JobQueue(JobHeap(1000), store, deliver, clock)
        dispatcher = Dispatcher(
            queue, store, deliver, engines, configured, statistics, clock, cameras
        )
        running = asyncio.create_task(dispatcher.run(), name="dispatch")
        try:
            yield Site(store, deliver, engines, queue, dispatcher, clock, topic, statistics)
            assert not running.done(), "the dispatcher has ended"
        finally:
            running.cancel()
            await asyncio.wait([running])


def make_jobs(count: int, priority: Priority = Priority.NORMAL, **fields: Any) -> list[Job]:
    return [make_job(priority, **fields) for _ in range(count)]


# -- who gets what -------------------------------------------------------------------------------


async def test_jobs_spread_evenly_over_engines(tmp_path: Path) -> None:
    engines = [Engine(8) for _ in range(4)]
    async with dispatching(tmp_path, engines) as site:
        await site.add(*make_jobs(8))
        await site.until(lambda: sum(len(each.held) for each in engines) == 8)
        assert [len(each.held) for each in engines] == [2, 2, 2, 2]


async def test_one_by_one_jobs_take_turns_over_engines(tmp_path: Path) -> None:
    engines = [Engine(8) for _ in range(4)]
    for each in engines:
        each.is_quick = True
    async with dispatching(tmp_path, engines) as site:
        for _ in range(8):
            [job] = make_jobs(1)
            await site.add(job)
            await site.until_status(JobStatus.COMPLETED, job)
        assert [len(each.taken) for each in engines] == [2, 2, 2, 2]


async def test_the_store_is_told_what_is_urgent(tmp_path: Path) -> None:
    engine = Engine(8)
    engine.is_quick = True
    jobs = [make_job(priority) for priority in Priority]
    async with dispatching(tmp_path, [engine]) as site:
        for job in jobs:
            await site.add(job)
            await site.until_status(JobStatus.COMPLETED, job)
    is_critical = [([job.key], job.priority is Priority.CRITICAL) for job in jobs]
    assert site.store.starts == is_critical
    assert site.store.ends == {job.key: job.priority for job in jobs}


async def test_engine_with_the_most_room_is_given_the_next(tmp_path: Path) -> None:
    small, large = Engine(2), Engine(6)
    async with dispatching(tmp_path, [small, large]) as site:
        await site.add(*make_jobs(4))
        await site.until(lambda: len(large.held) == 4)
        await site.add(*make_jobs(4))
        await site.until(lambda: (len(small.held), len(large.held)) == (2, 6))


async def test_engines_get_no_more_than_they_have_room_for(tmp_path: Path) -> None:
    engines = [Engine(3), Engine(20)]
    async with dispatching(tmp_path, engines) as site:
        jobs = make_jobs(40)
        await site.add(*jobs)
        await site.until(lambda: [len(each.held) for each in engines] == [3, 20])
        await site.settled()
        assert [len(each.held) for each in engines] == [3, 20]
        for each in engines:
            each.is_quick = True
            each.finish()
        await site.until_status(JobStatus.COMPLETED, *jobs)


async def test_the_most_urgent_go_first(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        site.dispatcher.pause()
        low, high = make_job(Priority.LOW), make_job(Priority.HIGH)
        await site.add(low, high)
        engine.is_quick = True
        site.dispatcher.resume()
        await site.until_status(JobStatus.COMPLETED, low, high)
        assert engine.keys == [high.key, low.key]


async def test_caption_names_the_model_that_made_it_although_the_engine_has_another_now(
    tmp_path: Path,
) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1)
        await site.add(job)
        await site.until_held(engine, job)
        engine.finish()
        engine.model = "another"
        await site.until_status(JobStatus.COMPLETED, job)
        document = await site.store.result(job.key)
        assert document is not None
        assert document.result is not None
        assert document.result.model_info.model == "m"


async def test_engine_that_becomes_ready_is_fed(tmp_path: Path) -> None:
    engine = Engine(0)
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1)
        await site.add(job)
        [(_, place)] = site.queue.places([job])
        assert place.message == "Waiting for the model to load"
        engine.capacity = 4
        engine.events.put_nowait(Ready("m", "1", "cpu", "float32", 4, 1.0, 0.0, 0.0))
        await site.until_held(engine, job)


# -- an engine that does not read ----------------------------------------------------------------


async def test_engine_that_does_not_read_holds_up_nobody(tmp_path: Path) -> None:
    stuck, good = Engine(64), Engine(4)
    stuck.does_read.clear()
    good.is_quick = True
    async with dispatching(tmp_path, [stuck, good]) as site:
        jobs = make_jobs(100)
        await site.add(*jobs)
        await site.until(lambda: len(good.taken) >= 92)  # all but those on their way to the other
        await site.until(lambda: site.dispatcher.num_running == 8)
        late = make_job(Priority.CRITICAL)
        await asyncio.sleep(1.1)  # it counts as stuck now
        await site.add(late)
        await site.until_status(JobStatus.COMPLETED, late)
        assert late.key in good.keys
        stuck.is_quick = True
        stuck.does_read.set()
        await site.until_status(JobStatus.COMPLETED, *jobs)


async def test_engine_that_refuses_a_job_costs_it_no_attempt(tmp_path: Path) -> None:
    engine = Engine(4)
    engine.refusals = 1
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1)
        await site.add(job)
        await site.until_held(engine, job)
        engine.finish()
        [ended] = await site.until_status(JobStatus.COMPLETED, job)
        assert ended.attempts == 1


# -- outcomes ------------------------------------------------------------------------------------


async def test_outcomes_that_arrive_during_a_commit_are_the_next_group(tmp_path: Path) -> None:
    engines = [Engine(8), Engine(8)]
    async with dispatching(tmp_path, engines) as site:
        jobs = make_jobs(10)
        await site.add(*jobs)
        await site.until(lambda: sum(len(each.held) for each in engines) == 10)
        site.store.may_commit.clear()
        first, *rest = engines[0].held
        engines[0].finish(first)
        await site.until(lambda: len(site.store.groups) == 1)
        engines[0].finish(*rest)
        engines[1].say(Failed(engines[1].held[0], "prompt", "too long", can_retry=False))
        engines[1].finish()
        await site.until(lambda: all(each.events.empty() for each in engines))
        site.store.may_commit.set()
        await site.until(lambda: site.dispatcher.num_running == 0)
        assert [len(group) for group in site.store.groups] == [1, 9]
        assert (await site.store.counts())[JobStatus.FAILED] == 1


async def test_place_is_free_before_the_outcome_is_stored(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        first, second = make_jobs(2)
        await site.add(first, second)
        await site.until_held(engine, first)
        site.store.may_commit.clear()
        engine.finish()
        await site.until_held(engine, second)
        site.store.may_commit.set()
        await site.until_status(JobStatus.COMPLETED, first)


async def test_failed_attempt_is_made_again_later(tmp_path: Path) -> None:
    engine = Engine(4)
    async with dispatching(tmp_path, [engine], queue={"retry_delay": 0.01}) as site:
        [job] = make_jobs(1, max_attempts=2)
        await site.add(job)
        for _ in range(2):
            await site.until_held(engine, job)
            engine.say(Failed(job.key, "engine", "no luck", can_retry=True))
            await site.until(lambda: engine.held != [job.key])
        [ended] = await site.until_status(JobStatus.FAILED, job)
        assert ended.attempts == 2
        assert ended.error is not None
        assert ended.error.code == "engine"


async def test_frame_that_is_gone_fails_its_job_and_takes_no_place(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        gone, here = make_jobs(2)
        await site.store.accept([gone], {})
        site.queue.push([gone])
        [ended] = await site.until_status(JobStatus.FAILED, gone)
        assert ended.error is not None
        assert ended.error.code == "frame_gone"
        await site.add(here)
        await site.until_held(engine, here)


async def test_job_that_has_ended_meanwhile_takes_no_place(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        site.dispatcher.pause()
        ended, here = make_jobs(2)
        await site.add(ended, here)
        await site.store.finish(ended.key, JobStatus.CANCELLED, at=site.clock.now())
        site.dispatcher.resume()
        await site.until_held(engine, here)
        assert engine.keys == [here.key]


async def test_job_that_is_too_old_at_its_turn_expires(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        long_ago = site.clock.monotonic() - 100
        old, young = make_job(max_age=60, arrived_monotonic=long_ago), make_job()
        await site.add(old, young)
        await site.until_status(JobStatus.EXPIRED, old)
        await site.until_held(engine, young)


# -- preemption ----------------------------------------------------------------------------------


async def test_critical_job_takes_the_place_of_the_least_urgent(tmp_path: Path) -> None:
    engines = [Engine(1), Engine(1)]
    async with dispatching(tmp_path, engines) as site:
        high, low = make_job(Priority.HIGH), make_job(Priority.LOW)
        await site.add(high, low)
        await site.until(lambda: all(each.held for each in engines))
        critical = make_job(Priority.CRITICAL)
        await site.add(critical)
        await site.until(lambda: any(critical.key in each.held for each in engines))
        assert not any(low.key in each.held for each in engines)
        for each in engines:
            each.is_quick = True
            each.finish()
        [again] = await site.until_status(JobStatus.COMPLETED, low)
        assert again.attempts == 1
        assert site.statistics.num_preempted == 1


async def test_critical_jobs_preempt_no_more_than_they_need(tmp_path: Path) -> None:
    engine = Engine(4)
    async with dispatching(tmp_path, [engine]) as site:
        await site.add(*make_jobs(4, Priority.LOW))
        await site.until(lambda: len(engine.held) == 4)
        critical = make_jobs(2, Priority.CRITICAL)
        await site.add(*critical)
        await site.until(lambda: {job.key for job in critical} <= set(engine.held))
        await site.settled()
        assert len(engine.held) == 4
        assert site.statistics.num_preempted == 2


async def test_critical_job_preempts_no_critical_one(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        first, second = make_jobs(2, Priority.CRITICAL)
        await site.add(first, second)
        await site.until(lambda: len(engine.held) == 1)
        await site.settled()
        assert len(engine.taken) == 1


# -- quarantine ----------------------------------------------------------------------------------


async def test_jobs_of_a_lost_engine_run_alone_and_the_others_go_on(tmp_path: Path) -> None:
    dying, other = Engine(2), Engine(2)
    async with dispatching(tmp_path, [dying, other]) as site:
        jobs = make_jobs(4)
        await site.add(*jobs)
        await site.until(lambda: len(dying.held) == len(other.held) == 2)
        lost = set(dying.held)
        dying.die()
        await site.until(lambda: len(dying.held) == 1)
        await site.settled()
        assert len(dying.held) == 1  # alone
        assert set(dying.held) < lost
        ordinary = make_job()
        other.finish(other.held[0])
        await site.add(ordinary)
        # Of the other engine one place is free; it is emptied for the next in quarantine.
        other.finish(other.held[0])
        await site.until(lambda: len(other.held) == 1 and set(other.held) < lost)
        other.finish()
        dying.finish()
        await site.until(lambda: ordinary.key in dying.held + other.held)
        for each in (dying, other):
            each.is_quick = True
            each.finish()
        ended = await site.until_status(JobStatus.COMPLETED, *jobs)
        assert sum(job.engine_losses for job in ended) == 2


async def test_job_in_quarantine_does_not_stop_every_engine(tmp_path: Path) -> None:
    engines = [Engine(2) for _ in range(3)]
    async with dispatching(tmp_path, engines) as site:
        await site.add(*make_jobs(6))
        await site.until(lambda: all(len(each.held) == 2 for each in engines))
        await site.add(*make_jobs(6))
        [alone] = make_jobs(1)
        await site.store.accept([alone], {alone.key: b"x"})
        site.dispatcher.pause()
        site.queue.push([alone])
        tickets = [site.queue.pop() for _ in range(7)]
        mine = [each for each in tickets if each and each.job_key == alone.key]
        site.queue.quarantine(mine)
        await site.queue.put_back([each for each in tickets if each and each not in mine])
        site.dispatcher.resume()
        for each in engines:
            each.finish(each.held[0])
        # One of the three is being emptied, the others are full again.
        await site.until(lambda: sorted(len(each.held) for each in engines) == [1, 2, 2])
        [emptied] = [each for each in engines if len(each.held) == 1]
        emptied.finish()
        await site.until(lambda: emptied.held == [alone.key])


async def test_job_that_kills_two_engines_is_not_tried_again(tmp_path: Path) -> None:
    engine = Engine(4)
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1, max_attempts=5)
        await site.add(job)
        for _ in range(2):
            await site.until_held(engine, job)
            engine.die()
            await site.until(lambda: engine.held == [])
        [ended] = await site.until_status(JobStatus.FAILED, job)
        assert ended.error is not None
        assert ended.error.code == "engine_killer"


async def test_critical_job_runs_beside_one_in_quarantine(tmp_path: Path) -> None:
    engine = Engine(2)
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1)
        await site.add(job)
        await site.until_held(engine, job)
        engine.die()
        await site.until_held(engine, job)
        normal, critical = make_job(), make_job(Priority.CRITICAL)
        await site.add(normal, critical)
        await site.until_held(engine, job, critical)
        await site.settled()
        assert normal.key not in engine.keys


# -- the last frame of a camera ------------------------------------------------------------------


def last_of(engine: Engine, job: Job) -> str | None:
    [submit] = [each for each in engine.taken if each.key == job.key][-1:]
    return None if submit.last_frame is None else submit.last_frame.key


async def begin(site: Site, job: Job, fingerprint: bytes = PRINT) -> Engine:
    """Let an engine begin with a job; which one."""
    await site.add(job)
    await site.until(lambda: any(job.key in each.held for each in site.engines))
    [engine] = [each for each in site.engines if job.key in each.held]
    engine.start(job.key, fingerprint)
    await site.until(engine.events.empty)
    return engine


async def test_last_frame_goes_with_the_next_job_to_another_engine(tmp_path: Path) -> None:
    engines = [Engine(1), Engine(1)]
    async with dispatching(tmp_path, engines) as site:
        first, second, stranger = (
            make_job(similarity=0.9),
            make_job(similarity=0.9),
            make_job(similarity=0.9, camera_id="garden"),
        )
        one = await begin(site, first)
        two = await begin(site, second)
        assert one is not two
        assert last_of(one, first) is None
        assert last_of(two, second) == first.key
        [submit] = two.taken
        assert submit.last_frame is not None
        assert (submit.last_frame.fingerprint, submit.last_frame.importance) == (PRINT, 1)
        two.finish()
        await site.until_status(JobStatus.COMPLETED, second)
        other = await begin(site, stranger)
        assert last_of(other, stranger) is None


async def test_frame_whose_caption_fails_gives_way_to_the_one_before(tmp_path: Path) -> None:
    engine = Engine(8)
    async with dispatching(tmp_path, [engine]) as site:
        first, failing, third = (make_job(similarity=0.9) for _ in range(3))
        await begin(site, first)
        await begin(site, failing)
        engine.say(Failed(failing.key, "engine", "no", can_retry=False))
        await site.until_status(JobStatus.FAILED, failing)
        await begin(site, third)
        assert last_of(engine, third) == first.key


async def test_last_frame_survives_a_restart(tmp_path: Path) -> None:
    first, second, plain = make_job(similarity=0.9), make_job(similarity=0.9), make_job()
    engine = Engine(8)
    async with dispatching(tmp_path, [engine]) as site:
        await begin(site, first)
        engine.finish()
        await site.until_status(JobStatus.COMPLETED, first)
    engine = Engine(8)
    async with dispatching(tmp_path, [engine]) as site:
        await site.add(plain)
        await site.until_held(engine, plain)
        assert last_of(engine, plain) is None  # it is not to be compared
        await begin(site, second)
        assert last_of(engine, second) == first.key


async def test_similar_frame_ends_as_a_duplicate(tmp_path: Path) -> None:
    engine = Engine(8)
    async with dispatching(tmp_path, [engine]) as site:
        first, second = make_job(similarity=0.9), make_job(similarity=0.9)
        await begin(site, first)
        await site.add(second)
        await site.until_held(engine, first, second)
        engine.say(Similar(second.key, first.key, 0.97))
        [ended] = await site.until_status(JobStatus.DUPLICATE, second)
        assert ended.error is not None
        assert ended.error.message == f"Looks like the frame of {first.job_id} (97% alike)"


# -- the end -------------------------------------------------------------------------------------


async def test_drain_returns_what_does_not_end_in_time(tmp_path: Path) -> None:
    engine = Engine(8)
    async with dispatching(tmp_path, [engine]) as site:
        quick, slow = make_jobs(2)
        await site.add(quick, slow)
        await site.until_held(engine, quick, slow)
        draining = asyncio.create_task(site.dispatcher.drain(0.3))
        engine.finish(quick.key)
        await draining
        assert site.dispatcher.num_running == 0
        [done] = await site.until_status(JobStatus.COMPLETED, quick)
        [back] = await site.until_status(JobStatus.QUEUED, slow)
        assert (done.attempts, back.attempts) == (1, 0)


async def test_drain_waits_for_what_is_being_started(tmp_path: Path) -> None:
    engine = Engine(8)
    engine.is_quick = True
    async with dispatching(tmp_path, [engine]) as site:
        site.store.may_start.clear()
        [job] = make_jobs(1)
        await site.add(job)
        await site.until(lambda: site.store.num_starting == 1)
        draining = asyncio.create_task(site.dispatcher.drain(SOON_S))
        await site.settled()
        assert not draining.done()
        site.store.may_start.set()
        await draining
        await site.until_status(JobStatus.COMPLETED, job)


async def test_drain_of_nothing_takes_no_time(tmp_path: Path) -> None:
    async with dispatching(tmp_path, [Engine(8)]) as site:
        await asyncio.wait_for(site.dispatcher.drain(3600.0), 5)


async def test_waiting_job_hears_how_long_it_will_wait(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        for _ in range(3):
            [job] = make_jobs(1)
            await site.add(job)
            await site.until_held(engine, job)
            await asyncio.sleep(0.05)
            engine.finish()
            await site.until(lambda: site.dispatcher.num_running == 0)
        [job] = make_jobs(1)
        site.queue.push([job])
        [(_, place)] = site.queue.places([job])
        assert (place.position, place.message) == (1, "Next")
        assert place.wait_s is not None
        assert 0.05 <= place.wait_s < 5.0


async def test_running_job_is_announced(tmp_path: Path) -> None:
    engine = Engine(1)
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1)
        await site.add(job)
        await site.until_held(engine, job)
        [said] = site.topic.documents
        assert isinstance(said, StatusDocument)
        assert (said.job_id, said.status) == (job.job_id, JobStatus.PROCESSING)


@pytest.mark.parametrize("num_jobs", [1, 30])
async def test_pause_lets_nothing_leave(tmp_path: Path, num_jobs: int) -> None:
    engine = Engine(64)
    async with dispatching(tmp_path, [engine]) as site:
        site.dispatcher.pause()
        jobs = make_jobs(num_jobs)
        await site.add(*jobs)
        await site.settled()
        assert len(site.queue) == num_jobs
        [(_, place), *_] = site.queue.places(jobs)
        assert place.message == "Waiting, processing is paused"
        site.dispatcher.resume()
        await site.until(lambda: len(engine.held) == num_jobs)


# -- what is streamed ----------------------------------------------------------------------------


async def test_only_jobs_that_somebody_hears_are_streamed(tmp_path: Path) -> None:
    engine, heard = Engine(), list[str]()
    async with dispatching(tmp_path, [engine]) as site:
        ours, others = make_jobs(2)
        with site.dispatcher.partials.of(ours.key, heard.append):
            await site.add(ours, others)
            await site.until_held(engine, ours, others)
            assert {each.key: each.streamed_task for each in engine.taken} == {
                ours.key: 0,
                others.key: None,
            }
            engine.events.put_nowait(Piece(others.key, "A dog"))
            engine.events.put_nowait(Piece(ours.key, " A cat "))
            engine.finish()
            await site.until_status(JobStatus.COMPLETED, ours, others)
        assert heard == ["A cat"]


async def test_job_that_runs_again_goes_on_where_it_was(tmp_path: Path) -> None:
    engine, heard = Engine(), list[str]()
    async with dispatching(tmp_path, [engine]) as site:
        [job] = make_jobs(1)
        with site.dispatcher.partials.of(job.key, heard.append):
            await site.add(job)
            await site.until_held(engine, job)
            engine.events.put_nowait(Piece(job.key, " A cat "))
            engine.die()
            await site.until(lambda: len(engine.taken) == 2)
            engine.events.put_nowait(Piece(job.key, " A "))
            engine.events.put_nowait(Piece(job.key, "cat sits "))
            engine.finish()
            await site.until_status(JobStatus.COMPLETED, job)
        assert heard == ["A cat", " sits"]
