"""From the queue into free places in the engines.

The engines pull: a job leaves the queue only when an engine has room, so priority is decided as
late as possible, and the engine with the most room gets it. A critical job that finds no room takes
the place of the least urgent running one, which returns to the queue without a counted attempt: it
never waits behind a lesser one longer than the step that is running.

Attempts are committed before the engine sees a job, so a job that kills its engine is known after
a restart. Jobs that were in an engine when it died wait in quarantine and run alone; the one that
kills it twice is not tried a third time.
"""

import asyncio
import heapq
import logging
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import assert_never

from engine.protocol import (
    Alive,
    Cancelled,
    Capacity,
    Done,
    Failed,
    LoadFailed,
    Loading,
    Piece,
    Ready,
    Similar,
    Started,
    Submit,
)
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus
from service.boundary import contained, isolate, keep_running
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.engines.answers import streamed_task, task_specs
from service.engines.assignment import Assigned, Assignment, release
from service.engines.fate import NotTaken, Setback
from service.engines.feed import Captioner, Feed, Running
from service.engines.last_frames import LastFrames
from service.engines.outcomes import Outcomes, Said
from service.engines.partials import Partials
from service.engines.process import EngineEvent, Lost
from service.errors import EngineError, StoreError
from service.queue.heap import Ticket
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.jobs import Attempt
from service.store.retry import until_stored
from service.store.store import Store

logger = logging.getLogger(__name__)

_STORE_RETRY_S = 1.0


class Dispatcher:
    """Feeds engines and collects what they say.

    Args:
        queue: Waiting jobs.
        store: Job records and images.
        deliver: The exit.
        engines: At least one.
        settings: Model, queue and dedupe sections are used.
        statistics: Counts preemptions.
        clock: For ages.
        cameras: Know what their last frames looked like.

    Attributes:
        partials: Whoever hears answers while they are generated.
    """

    def __init__(
        self,
        queue: JobQueue,
        store: Store,
        deliver: Deliver,
        engines: Sequence[Captioner],
        settings: Settings,
        statistics: Statistics,
        clock: Clock,
        cameras: Cameras,
    ) -> None:
        self._queue = queue
        self._store = store
        self._deliver = deliver
        self._settings = settings
        self._statistics = statistics
        self._clock = clock
        self._feeds = [Feed(engine, clock) for engine in engines]
        self._assignment = Assignment(queue, self._feeds)
        self._running: dict[str, Running] = {}
        self._last_frames = LastFrames(store, cameras, clock)
        self._outcomes = Outcomes(
            queue,
            store,
            deliver,
            settings.queue.retry_delay,
            settings.model.max_tokens,
            self._on_settled,
        )
        self.partials = Partials()
        self._cancelled: set[str] = set()  # job keys, of those that are being started
        self._is_stopping = False
        self._progress = asyncio.Event()  # a job has been settled, or a group started

    @property
    def num_running(self) -> int:
        """Jobs in engines, or whose outcome is still to be stored."""
        return len(self._running)

    @property
    def num_given(self) -> int:
        """Jobs that have been meant for engines so far."""
        return sum(feed.num_given for feed in self._feeds)

    @property
    def is_waiting(self) -> bool:
        """Whether a job waits that an engine may take."""
        return len(self._queue) > 0 and not self.is_paused

    def look_again(self) -> None:
        """The engines have changed: those who wait are to know."""
        self._queue.notify()

    @property
    def is_paused(self) -> bool:
        """Whether the engines take no new jobs."""
        return self._queue.pace.is_paused

    def pause(self) -> None:
        """Take no new jobs; frames are still accepted."""
        self._queue.pace.is_paused = True

    def resume(self) -> None:
        """Take jobs again."""
        self._queue.pace.is_paused = False
        self._queue.pace.interrupt()
        self._queue.notify()

    def cancel(self, job_key: str) -> None:
        """Take a job that has ended out of its engine; one that is in none is no error."""
        running = self._running.get(job_key)
        if running is None:
            if any(feed.holds(job_key) for feed in self._feeds):
                self._cancelled.add(job_key)
            return
        running.is_cancelled = True
        if running.has_left or running.is_preempted:
            return  # on its way out; its fate will be that it is over
        if running.feed.take_back(running):
            running.has_left = running.is_settled = True
            self._on_settled(running)
        self._queue.notify()

    async def run(self) -> None:
        """Feed and collect for ever."""
        work: dict[str, Callable[[], Awaitable[None]]] = {
            "dispatch-feed": self._feed,
            "dispatch-settle": self._outcomes.run,
        }
        for number, feed in enumerate(self._feeds):
            work[f"dispatch-send-{number}"] = partial(self._send, feed)
            work[f"dispatch-collect-{number}"] = partial(self._collect, feed)
        async with asyncio.TaskGroup() as tasks:
            for name, run in work.items():
                tasks.create_task(keep_running(run, name), name=name)

    async def drain(self, timeout_s: float) -> None:
        """Take nothing new, wait for running jobs, return the rest to the store."""
        self._is_stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._running or self._num_held():
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            rest = list(self._running.values())
            logger.info("%d running jobs return to the store", len(rest))
            for running in rest:
                running.is_settled = True
                self._on_settled(running)
            try:
                await self._store.requeue([running.job.key for running in rest], refund=True)
            except StoreError as error:  # the next start takes them back; the attempt counts then
                logger.error("not returned: %s", error, extra={"action": "store_failed"})

    # Feeding

    async def _feed(self) -> None:
        self._queue.notify()  # there may be news from before an error
        while True:
            await self._queue.wait()
            self._update_pace()
            while not (self.is_paused or self._is_stopping) and await self._feed_once():
                pass
            self._progress.set()

    async def _feed_once(self) -> bool:
        """Start what fits; False when nothing more can be started now."""
        if chosen := self._assignment.next_group():
            await self._start(chosen)
            self._cancelled.clear()  # one group is started at a time
            return True
        return await self._make_room()

    async def _make_room(self) -> bool:
        """Preempt for waiting critical jobs; False when there are none, or nobody to preempt."""
        if self._queue.most_urgent() is not Priority.CRITICAL:
            return False
        lesser = [
            running
            for running in self._running.values()
            if running.job.priority < Priority.CRITICAL
            and not (running.is_preempted or running.has_left or running.feed.is_stuck)
        ]
        num_wanted = self._queue.num_in(Priority.CRITICAL)
        for victim in heapq.nsmallest(num_wanted, lesser, key=_value):
            self._statistics.num_preempted += 1
            if victim.feed.take_back(victim):
                await self._leave(victim, NotTaken(victim.job.key))
        return bool(lesser)

    async def _start(self, chosen: Sequence[Assigned]) -> None:
        """Start jobs that are not too old; one with which that fails unexpectedly ends."""
        now = self._clock.monotonic()
        late = [each for each in chosen if each.ticket.expires_at <= now]
        release(late)
        await self._queue.expire([each.ticket for each in late])
        fresh = [each for each in chosen if each.ticket.expires_at > now]
        if not fresh:
            return
        failed = await isolate(self._start_together, fresh, "jobs cannot be started")
        release(failed)
        if failed:
            with contained("a job that cannot be started cannot be ended"):
                found = await self._store.existing([each.key for each in failed])
                await self._deliver.abandon(found.values())

    async def _start_together(self, chosen: Sequence[Assigned]) -> None:
        """Commit the attempts, then hand over."""
        by_key = {each.key: each for each in chosen}
        try:
            is_urgent = any(each.ticket.priority is Priority.CRITICAL for each in chosen)
            attempts = await self._store.start(list(by_key), self._clock.now(), is_urgent=is_urgent)
        except StoreError as error:
            logger.error("jobs cannot be started: %s", error, extra={"action": "store_failed"})
            await self._put_back(chosen)
            await asyncio.sleep(_STORE_RETRY_S)
            return
        cameras = {each.job.camera_id for each in attempts if each.job.similarity > 0}
        with contained("last frames cannot be read"):
            await self._last_frames.load(cameras)
        for attempt in attempts:
            await self._hand_over(attempt, by_key.pop(attempt.job.key))
        release(by_key.values())  # they have ended meanwhile

    async def _put_back(self, chosen: Sequence[Assigned]) -> None:
        """Let jobs wait again whose attempt may have been counted, and did not happen."""
        keys = [each.key for each in chosen]
        await until_stored(
            lambda: self._store.requeue(keys, refund=True), f"{len(keys)} jobs cannot be returned"
        )
        release(chosen)
        wanted = [each.ticket for each in chosen if each.key not in self._cancelled]
        await self._queue.put_back(wanted)

    async def _hand_over(self, attempt: Attempt, chosen: Assigned) -> None:
        job = attempt.job
        if job.key in self._cancelled:
            chosen.feed.release(chosen.key)
            return
        async with self._deliver.boundary(job):
            if attempt.image is not None:
                self._give(job, attempt.image, chosen)
                return
            error = ErrorDetail(code="frame_gone", message="The frame is no longer in the store")
            await until_stored(
                lambda: self._deliver.end([job], JobStatus.FAILED, error),
                f"{job.key} cannot be ended",
            )
        chosen.feed.release(chosen.key)

    def _give(self, job: Job, image: bytes, chosen: Assigned) -> None:
        order = self._order(job, chosen.ticket, image)
        self._deliver.announce(job)
        is_alone = self._num_held() == 1
        running = Running(job, chosen.ticket, chosen.feed, self._clock.monotonic(), is_alone)
        self._running[job.key] = running
        self.partials.restart(job.key)
        chosen.feed.give(running, order)

    def _order(self, job: Job, ticket: Ticket, image: bytes) -> Submit:
        model = self._settings.model
        return Submit(
            key=job.key,
            camera_id=job.camera_id,
            rank=(-float(job.priority), ticket.queued_at),
            tasks=tuple(task_specs(job)),
            temperature=model.temperature,
            top_p=model.top_p,
            max_tokens=model.max_tokens,
            max_objects=model.max_objects,
            seed=zlib.crc32(job.job_id.encode()),
            similarity=job.similarity,
            similarity_window=self._settings.dedupe.window,
            importance=int(job.priority),
            last_frame=self._last_frames.newest(job.camera_id) if job.similarity > 0 else None,
            want_image=job.publish_image,
            streamed_task=streamed_task(job) if self.partials.are_heard(job.key) else None,
            body=image,
        )

    # Sending and collecting

    async def _send(self, feed: Feed) -> None:
        """Send one engine what it is given."""
        while True:
            order = await feed.next_order()
            try:
                await feed.send(order)
            except EngineError:  # no event will name the job
                await self._leave(order.running, NotTaken(order.running.job.key))
            except Exception:
                logger.exception("%s cannot be sent", order.running.job.key)
                if order.submit is not None:
                    await self._fail(order.running)
            self._queue.notify()  # more can be on their way

    async def _collect(self, feed: Feed) -> None:
        """Take what one engine says."""
        while True:
            event = await feed.engine.events.get()
            with contained("what an engine says cannot be taken"):
                await self._take(feed, event)
            self._queue.notify()

    async def _take(self, feed: Feed, event: EngineEvent) -> None:
        match event:
            case Started():
                if running := self._in(feed, event.key):
                    self._note_start(running, event.fingerprint)
            case Piece():
                if self._in(feed, event.key):
                    self.partials.add(event.key, event.text)
            case Done() | Similar() | Failed() | Cancelled():
                if running := self._in(feed, event.key):
                    self._measure(running, event)
                    await self._leave(running, event)
            case Lost():  # which is in the log already
                if event.keys:
                    num_jobs = len(event.keys)
                    logger.warning(
                        "%d jobs were in the engine that was lost",
                        num_jobs,
                        extra={"action": "engine_lost"},
                    )
                self._queue.pace.loading = None
                for key in event.keys:
                    if running := self._in(feed, key):
                        await self._leave(running, event)
            case Loading() | LoadFailed():
                self._queue.pace.loading = event.message
            case Ready():
                self._queue.pace.loading = None
            case Capacity() | Alive():
                pass  # its capacity is read when it counts
            case _:
                assert_never(event)

    def _in(self, feed: Feed, job_key: str) -> Running | None:
        """The job with this key, if it is in this engine."""
        running = self._running.get(job_key)
        return running if running is not None and running.feed is feed else None

    def _note_start(self, running: Running, fingerprint: bytes | None) -> None:
        running.is_started = True
        if fingerprint is not None:
            running.fingerprint = fingerprint
            job = running.job
            self._last_frames.add(job.camera_id, job.key, fingerprint, int(job.priority))

    def _measure(self, running: Running, event: Done | Setback) -> None:
        """Learn from a job that leaves how long the others will wait."""
        num_others = self._num_held() - 1
        now = self._clock.monotonic()
        is_alone = isinstance(event, Done) and running.is_alone and num_others == 0
        alone_s = now - running.given_at if is_alone else None
        self._queue.pace.ended(now, num_others + len(self._queue), alone_s)

    async def _leave(self, running: Running, event: Done | Setback) -> None:
        """A job has left its engine: its place is free, and what becomes of it is to be stored."""
        if running.has_left:
            return
        running.has_left = True
        running.feed.release(running.job.key)
        await self._outcomes.put(Said(running, event, self._clock.monotonic()))

    async def _fail(self, running: Running) -> None:
        if not running.has_left:
            running.has_left = True
            await self._outcomes.fail(running)

    def _on_settled(self, running: Running) -> None:
        job = running.job
        if self._running.get(job.key) is running:
            del self._running[job.key]
        running.feed.release(job.key)
        if not running.is_captioned:
            self._last_frames.drop(job.camera_id, job.key)
        self._progress.set()
        self._queue.notify()

    def _num_held(self) -> int:
        return sum(feed.num_held for feed in self._feeds)

    def _update_pace(self) -> None:
        """Let those who wait know of the engines."""
        self._queue.pace.capacity = sum(feed.engine.capacity for feed in self._feeds)
        held = (running for running in self._running.values() if not running.has_left)
        self._queue.pace.running = Counter(running.job.priority for running in held)


def _value(running: Running) -> tuple[bool, Priority, float]:
    """What preempting it loses: least if it has not begun, then by class, then the youngest."""
    return running.is_started, running.job.priority, -running.ticket.queued_at
