"""From the line into free engine slots, and from engine events to endings.

The engines pull: a job leaves the heap only when an engine has room, so priority is decided as late
as possible. A critical job that finds no room takes the place of the least urgent running one,
which returns to the line without a counted attempt: it never waits behind a lesser one longer than
the step that is running.

Attempts are committed before the engine sees a job, so a job that kills its engine is known after
a restart. Jobs that were in an engine when it died run again alone; the one that kills it twice is
not tried a third time.
"""

import asyncio
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from typing import Literal, Protocol, assert_never

from engine.protocol import (
    Alive,
    Cancelled,
    Capacity,
    Done,
    Failed,
    LoadFailed,
    Loading,
    Ready,
    Similar,
    Started,
    Submit,
)
from schemas.frame import Priority
from schemas.job import ErrorDetail, Job, JobStatus, split_key
from schemas.status import ModelStatus
from service.backoff import Backoff
from service.boundary import contained, keep_running
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.engines.answers import build_result, task_specs
from service.engines.process import EngineEvent, Lost
from service.errors import EngineError, StoreError
from service.queue.heap import Ticket
from service.queue.line import Line
from service.settings import Settings
from service.statistics import Statistics
from service.store.retry import until_stored
from service.store.store import Store

logger = logging.getLogger(__name__)

_MOST_LOSSES = 2  # the second time a job's engine dies under it, it ends
_MOST_STARTED_AT_ONCE = 16  # one transaction; more would make an urgent newcomer wait for it
_STORE_RETRY_S = 1.0


class Captioner(Protocol):
    """One engine, as seen from here; see `service.engines.process`."""

    events: asyncio.Queue[EngineEvent]

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""

    @property
    def capacity(self) -> int:
        """Most jobs held at once; 0 while it is not ready. Jobs being cancelled do not count."""

    async def submit(self, job: Submit) -> None:
        """Hand over a job. Raises EngineError when it was not taken."""

    async def cancel(self, key: str) -> None:
        """Ask to forget a job; `Cancelled` follows unless an outcome came first."""


@dataclass(slots=True)
class _Running:
    """A job in an engine."""

    job: Job
    ticket: Ticket
    engine: Captioner
    is_started: bool = False
    leaving: Literal["cancel", "preempt"] | None = None


class Dispatcher:
    """Feeds engines and collects what they say.

    Args:
        line: Waiting jobs.
        store: Job records and images.
        deliver: The exit.
        engines: At least one.
        settings: Model, queue and dedupe sections are used.
        statistics: Counts preemptions.
        clock: For ages and backoff.
    """

    def __init__(
        self,
        line: Line,
        store: Store,
        deliver: Deliver,
        engines: Sequence[Captioner],
        settings: Settings,
        statistics: Statistics,
        clock: Clock,
    ) -> None:
        self._line = line
        self._store = store
        self._deliver = deliver
        self._engines = engines
        self._settings = settings
        self._statistics = statistics
        self._clock = clock
        self._running: dict[str, _Running] = {}
        self._is_paused = False
        self._is_stopping = False
        self._handled = asyncio.Event()

    @property
    def num_running(self) -> int:
        """Jobs in engines."""
        return len(self._running)

    @property
    def is_paused(self) -> bool:
        """Whether the engines take no new jobs."""
        return self._is_paused

    def pause(self) -> None:
        """Take no new jobs; frames are still accepted."""
        self._is_paused = True

    def resume(self) -> None:
        """Take jobs again."""
        self._is_paused = False
        self._line.notify()

    async def cancel(self, job: Job) -> bool:
        """End a queued job at once, a running one at the engine's next step.

        Returns:
            False when it is neither waiting nor running.
        """
        if running := self._running.get(job.key):
            running.leaving = "cancel"
            await running.engine.cancel(job.key)
            return True
        if not self._line.remove(job.key):
            return False
        error = ErrorDetail(code="cancelled", message="Cancelled by request")
        ended = await until_stored(
            lambda: self._deliver.end([job], JobStatus.CANCELLED, error),
            f"{job.key} cannot be cancelled",
        )
        return bool(ended)

    async def run(self) -> None:
        """Feed and collect for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(keep_running(self._feed, "dispatch-feed"), name="dispatch-feed")
            for number, engine in enumerate(self._engines):
                name = f"dispatch-collect-{number}"
                collect = partial(self._collect, engine)
                tasks.create_task(keep_running(collect, name), name=name)

    async def drain(self, timeout_s: float) -> None:
        """Take nothing new, wait for running jobs, return the rest to the store."""
        self._is_stopping = True
        try:
            async with asyncio.timeout(timeout_s):
                while self._running:
                    self._handled.clear()
                    await self._handled.wait()
        except TimeoutError:
            rest = list(self._running)
            logger.info("%d running jobs return to the store", len(rest))
            self._running.clear()
            try:
                await self._store.requeue(rest, refund=True)
            except StoreError as error:  # the next start takes them back; the attempt counts then
                logger.error("not returned: %s", error, extra={"action": "store_failed"})

    # -- feeding ---------------------------------------------------------------------------------

    async def _feed(self) -> None:
        self._line.notify()  # there may be news from before an error
        while True:
            await self._line.wait()
            try:
                while not (self._is_paused or self._is_stopping) and await self._feed_once():
                    pass
            except StoreError as error:
                logger.error("jobs cannot be started: %s", error, extra={"action": "store_failed"})
                await asyncio.sleep(_STORE_RETRY_S)
                self._line.notify()

    async def _feed_once(self) -> bool:
        """Start what fits; False when nothing more can be started now."""
        for engine in self._engines:
            if tickets := self._choose(engine):
                await self._start_or_fail(engine, tickets)
                return True
        return await self._make_room()

    def _choose(self, engine: Captioner) -> list[Ticket]:
        """Tickets for the free places of an engine, most urgent first."""
        here = [each for each in self._running.values() if each.engine is engine]
        room = engine.capacity - sum(each.leaving != "preempt" for each in here)
        is_alone = self._line.has_suspects or any(each.job.engine_losses for each in here)
        if is_alone and self._line.most_urgent() is not Priority.CRITICAL:
            # A job that was in an engine when it died runs alone, so that the killer is known.
            may_run = self._line.has_suspects and engine.capacity and not here
            return [self._line.take_suspect()] if may_run else []
        chosen: list[Ticket] = []
        while room > len(chosen) < _MOST_STARTED_AT_ONCE:
            if (ticket := self._line.take()) is None:
                break
            chosen.append(ticket)
        return chosen

    async def _make_room(self) -> bool:
        """Preempt for a waiting critical job; False when there is no cause or nobody to preempt."""
        if self._line.most_urgent() is not Priority.CRITICAL:
            return False
        lesser = [
            each
            for each in self._running.values()
            if each.leaving is None and each.job.priority < Priority.CRITICAL
        ]
        if not lesser:
            return False
        victim = min(
            lesser, key=lambda each: (each.is_started, each.job.priority, -each.ticket.queued_at)
        )
        victim.leaving = "preempt"
        self._statistics.num_preempted += 1
        await victim.engine.cancel(victim.job.key)
        return True

    async def _start_or_fail(self, engine: Captioner, tickets: Sequence[Ticket]) -> None:
        """Start jobs; after an unexpected error each runs alone, and one that fails so ends.

        Raises:
            StoreError: See `_start`.
        """
        try:
            await self._start(engine, tickets)
        except StoreError:
            raise
        except Exception:
            logger.exception("%d jobs cannot be started", len(tickets))
            if len(tickets) > 1:
                self._line.join_alone(tickets)
                return
            with contained("a job that cannot be started cannot be ended"):
                found = await self._store.existing([each.job_key for each in tickets])
                await self._deliver.abandon(found.values())

    async def _start(self, engine: Captioner, tickets: Sequence[Ticket]) -> None:
        """Commit the attempt, then hand over.

        Raises:
            StoreError: Nothing was started; the tickets wait again.
        """
        now = self._clock.monotonic()
        fresh = {each.job_key: each for each in tickets if each.expires_at > now}
        await self._line.expire([each for each in tickets if each.job_key not in fresh])
        try:
            jobs = await self._store.start(list(fresh), self._clock.now())
        except StoreError:
            await self._return(list(fresh.values()))
            raise
        for job in jobs:
            async with self._deliver.boundary(job):
                await self._hand_over(engine, job, fresh[job.key])

    async def _return(self, tickets: Sequence[Ticket]) -> None:
        """Let jobs wait again whose attempt was counted, or may have been, and did not happen."""
        keys = [each.job_key for each in tickets]
        await until_stored(
            lambda: self._store.requeue(keys, refund=True), f"{len(keys)} jobs cannot be returned"
        )
        await self._line.join(tickets)

    async def _hand_over(self, engine: Captioner, job: Job, ticket: Ticket) -> None:
        image = await until_stored(
            lambda: self._store.image(job.key), f"{job.key}: its frame cannot be read"
        )
        if image is None:
            error = ErrorDetail(code="frame_gone", message="The frame is no longer in the store")
            await until_stored(
                lambda: self._deliver.end([job], JobStatus.FAILED, error),
                f"{job.key} cannot be ended",
            )
            return
        order = self._order(job, ticket, image)
        self._deliver.announce(job)
        self._running[job.key] = _Running(job, ticket, engine)
        try:
            await engine.submit(order)
        except EngineError:
            # It was not taken, so no event will name it.
            if self._running.pop(job.key, None) is not None:
                await self._return([ticket])
        except Exception:
            self._running.pop(job.key, None)
            raise

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
            want_image=job.publish_image,
            body=image,
        )

    # -- collecting ------------------------------------------------------------------------------

    async def _collect(self, engine: Captioner) -> None:
        while True:
            event = await engine.events.get()
            await self._handle_or_fail(event)
            self._handled.set()
            self._line.notify()

    async def _handle_or_fail(self, event: EngineEvent) -> None:
        """Do what an event asks for; after an unexpected error its jobs end, each for its own."""
        try:
            await until_stored(partial(self._handle, event), "an outcome cannot be stored")
        except Exception:
            logger.exception("%s cannot be handled", type(event).__name__)
            if isinstance(event, Lost) and len(event.keys) > 1:
                for key in event.keys:
                    await self._handle_or_fail(replace(event, keys=(key,)))
                return
            keys = event.keys if isinstance(event, Lost) else (getattr(event, "key", ""),)
            hit = [self._running.pop(key).job for key in keys if key in self._running]
            await self._deliver.abandon(hit)

    async def _handle(self, event: EngineEvent) -> None:
        """Do what an event asks for; done twice, it is as if it were done once.

        Raises:
            StoreError: It must be done again.
        """
        match event:
            case Started(key=key):
                if running := self._running.get(key):
                    running.is_started = True
            case Done():
                await self._complete(event)
            case Similar():
                await self._skip(event)
            case Failed():
                await self._fail(event)
            case Cancelled(key=key):
                await self._released(key)
            case Lost(keys=keys, message=message):
                await self._lost(keys, message)
            case Ready() | Loading() | LoadFailed() | Capacity() | Alive():
                pass
            case _:
                assert_never(event)

    async def _complete(self, event: Done) -> None:
        running = self._running.get(event.key)
        if running is None:
            return
        latency = self._clock.monotonic() - running.ticket.queued_at
        result = build_result(running.job, event, running.engine.state, latency)
        await self._deliver.complete(running.job, result, event.body or None, latency)
        self._running.pop(event.key, None)

    async def _skip(self, event: Similar) -> None:
        running = self._running.get(event.key)
        if running is None:
            return
        _, other_id = split_key(event.other_key)
        error = ErrorDetail(
            code="similar",
            message=f"Looks like the frame of {other_id} ({event.likeness:.0%} alike)",
        )
        await self._deliver.end([running.job], JobStatus.DUPLICATE, error)
        self._running.pop(event.key, None)

    async def _fail(self, event: Failed) -> None:
        running = self._running.get(event.key)
        if running is None:
            return
        error = ErrorDetail(code=event.code, message=event.message)
        if event.can_retry and running.job.attempts < running.job.max_attempts:
            await self._store.requeue([event.key], error=error)
            delay = Backoff(self._settings.queue.retry_delay, inf).after(running.job.attempts)
            self._line.join_later(running.ticket, delay)
            logger.warning(
                "%s %s attempt %d failed, next in %.1f s: %s",
                running.job.job_id,
                running.job.camera_id,
                running.job.attempts,
                delay,
                event.message,
                extra={"action": "job_retried"},
            )
        else:
            await self._deliver.end([running.job], JobStatus.FAILED, error)
        self._running.pop(event.key, None)

    async def _released(self, key: str) -> None:
        running = self._running.get(key)
        if running is None:
            return
        if running.leaving == "cancel":
            error = ErrorDetail(code="cancelled", message="Cancelled by request")
            await self._deliver.end([running.job], JobStatus.CANCELLED, error)
        else:
            await self._store.requeue([key], refund=True)
        self._running.pop(key, None)
        if running.leaving != "cancel":
            await self._line.join([running.ticket])

    async def _lost(self, keys: Sequence[str], message: str) -> None:
        logger.error(
            "the engine was lost with %d jobs: %s",
            len(keys),
            message,
            extra={"action": "engine_lost"},
        )
        held = [self._running[key] for key in keys if key in self._running]
        lost = [each for each in held if each.leaving != "cancel"]
        guilty = [each for each in lost if each.job.engine_losses + 1 >= _MOST_LOSSES]
        spent = [
            each
            for each in lost
            if each not in guilty and each.job.attempts >= each.job.max_attempts
        ]
        for each in guilty:
            error = ErrorDetail(
                code="engine_killer",
                message="The engine died under this job twice; not tried again",
            )
            await self._deliver.end([each.job], JobStatus.FAILED, error)
        for each in spent:
            error = ErrorDetail(code="engine_lost", message=message)
            await self._deliver.end([each.job], JobStatus.FAILED, error)
        for each in (each for each in held if each.leaving == "cancel"):
            error = ErrorDetail(code="cancelled", message="Cancelled by request")
            await self._deliver.end([each.job], JobStatus.CANCELLED, error)
        again = [each for each in lost if each not in guilty and each not in spent]
        if again:
            await self._store.requeue([each.job.key for each in again], count_loss=True)
            self._line.join_alone(each.ticket for each in again)
        for each in held:
            self._running.pop(each.job.key, None)
