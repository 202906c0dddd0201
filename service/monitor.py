"""What the service says about itself: statistics, metrics, health, info and warnings.

It only reads what others count, and publishes retained documents, so that a subscriber who comes
late sees the newest.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import psutil
from pydantic import BaseModel

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.status import (
    BridgeInfo,
    Gpu,
    Health,
    HealthCheck,
    LoadedModel,
    Metrics,
    ModelStatus,
    Stats,
)
from service.boundary import contained, keep_running
from service.clock import Clock
from service.engines.process import SILENT_AFTER_S
from service.errors import UNEXPECTED, StoreError
from service.logs import BridgeLog
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.settings import Settings
from service.statistics import Statistics
from service.store.store import Store

logger = logging.getLogger(__name__)

_INFO_CHECK_S = 0.2  # how soon a change of the model's state shows in bridge/info


class Announcer(Protocol):
    """Publishes a document at once, without promise; see `broker.publisher`."""

    def announce(self, document: BaseModel) -> bool:
        """False when it was not handed over: the next one will tell."""


class MonitoredEngine(Protocol):
    """What is read of an engine."""

    @property
    def state(self) -> ModelStatus:
        """The model and what is happening to it."""

    @property
    def capacity(self) -> int:
        """Most jobs held at once."""

    @property
    def loaded(self) -> LoadedModel | None:
        """What is in memory."""

    @property
    def silent_s(self) -> float:
        """Seconds without a sign of life; 0 while none is expected."""


class MonitoredDispatcher(Protocol):
    """What is read of the dispatcher."""

    @property
    def num_running(self) -> int:
        """Jobs in engines."""

    @property
    def is_paused(self) -> bool:
        """Whether the engines take no new jobs."""


Check = Callable[[], HealthCheck]


class Monitor:
    """Publishes the bridge documents.

    Args:
        announcer: Where to.
        heap: Its classes.
        line: How many jobs wait.
        dispatcher: How many run.
        engines: Model and capacity.
        store: Counts by status.
        statistics: Counters and rates.
        checks: Health by part: broker, webhooks, disk; engine and store are added here.
        read_gpus: GPU readings.
        webhook_success_rate: Of recent attempts, None before the first.
        bridge_log: Warnings to publish.
        mqtt_version: The protocol in use.
        instance: The service's own name.
        version: Of the package.
        settings: Shown without secrets; gives the interval.
        clock: For uptime.
    """

    def __init__(
        self,
        *,
        announcer: Announcer,
        heap: JobHeap,
        line: JobQueue,
        dispatcher: MonitoredDispatcher,
        engines: Sequence[MonitoredEngine],
        store: Store,
        statistics: Statistics,
        checks: dict[str, Check],
        read_gpus: Callable[[], tuple[Gpu, ...]],
        webhook_success_rate: Callable[[], float | None],
        bridge_log: BridgeLog,
        mqtt_version: Callable[[], str],
        instance: str,
        version: str,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._announcer = announcer
        self._heap = heap
        self._line = line
        self._dispatcher = dispatcher
        self._engines = engines
        self._store = store
        self._statistics = statistics
        self._checks = checks
        self._read_gpus = read_gpus
        self._webhook_success_rate = webhook_success_rate
        self._bridge_log = bridge_log
        self._mqtt_version = mqtt_version
        self._instance = instance
        self._version = version
        self._settings = settings
        self._clock = clock
        self._started_at = clock.monotonic()
        self._store_error: str | None = None
        self.is_stopping = False

    async def run(self) -> None:
        """Publish for ever: info when it changes, the rest at every interval."""
        async with asyncio.TaskGroup() as tasks:
            for name, work in {
                "monitor-info": self._follow_info,
                "monitor-log": self._pass_log_on,
                "monitor-report": self._report,
            }.items():
                tasks.create_task(keep_running(work, name), name=name)

    def info(self) -> BridgeInfo:
        """Who is running here."""
        return BridgeInfo(
            version=self._version,
            instance=_fingerprint(self._instance),
            mqtt_version=self._mqtt_version(),
            model=self._model(),
            limits={
                "max_frame_bytes": self._settings.frames.max_bytes,
                "max_pixels": self._settings.frames.max_pixels,
                "queue_capacity": self._settings.queue.capacity,
                "max_concurrent_jobs": sum(engine.capacity for engine in self._engines),
            },
            settings=self._settings.public(),
        )

    async def stats(self) -> Stats:
        """Counts and rates."""
        counts = await self._counts()
        now = self._clock.monotonic()
        return Stats(
            total_jobs=sum(counts.values()),
            active_jobs=self._dispatcher.num_running,
            queue_size=len(self._line),
            max_concurrent_jobs=sum(engine.capacity for engine in self._engines),
            status_counts=counts,
            system_status=self._system_status(),
            processing=not self._dispatcher.is_paused,
            average_processing_time=self._statistics.average_processing_time(),
            webhook_success_rate=self._webhook_success_rate(),
            captions_per_minute=self._statistics.captions_per_minute(now),
            queue_by_priority={rank.wire: self._heap.num_in(rank) for rank in Priority},
            latency=self._statistics.latency(),
            dropped=dict(self._statistics.dropped),
            duplicates=dict(self._statistics.duplicates),
            uptime=round(now - self._started_at, 1),
        )

    def metrics(self) -> Metrics:
        """The machine."""
        return Metrics(
            cpu=psutil.cpu_percent(),
            memory=psutil.virtual_memory().percent,
            device=self._model().device,
            gpus=self._read_gpus(),
            loaded_models=tuple(each.loaded for each in self._engines if each.loaded is not None),
        )

    def health(self) -> Health:
        """Whether the service can do its job; the worst part decides."""
        checks = {name: _ask(name, check) for name, check in self._checks.items()}
        checks["engine"] = engine_health(self._engines)
        refusal = self._store_error or self._store.refusal
        checks["store"] = (
            HealthCheck(status="healthy", message="ok")
            if refusal is None
            else HealthCheck(status="unhealthy", message=refusal)
        )
        order = ("healthy", "degraded", "unhealthy")
        worst = max((check.status for check in checks.values()), key=order.index)
        return Health(status=worst, checks=checks)

    async def _follow_info(self) -> None:
        published: BridgeInfo | None = None
        while True:
            info = self.info()
            if info != published and self._announcer.announce(info):
                published = info
            await asyncio.sleep(_INFO_CHECK_S)

    async def _pass_log_on(self) -> None:
        while True:
            for document in self._bridge_log.take():
                self._announcer.announce(document)
            await asyncio.sleep(_INFO_CHECK_S)

    async def _report(self) -> None:
        with contained("the processor cannot be measured"):
            psutil.cpu_percent()  # the first call only starts the measurement
        while True:
            with contained("bridge/stats cannot be published"):
                self._announcer.announce(await self.stats())
            with contained("bridge/metrics cannot be published"):
                self._announcer.announce(self.metrics())
            with contained("bridge/health cannot be published"):
                self._announcer.announce(self.health())
            await asyncio.sleep(self._settings.stats_interval)

    async def _counts(self) -> dict[JobStatus, int]:
        try:
            counts = await self._store.counts()
        except StoreError as error:
            self._store_error = str(error)
            return {}
        self._store_error = None
        return counts

    def _model(self) -> ModelStatus:
        return _least_ready(self._engines)

    def _system_status(self) -> Literal["running", "paused", "loading", "stopping"]:
        if self.is_stopping:
            return "stopping"
        if self._dispatcher.is_paused:
            return "paused"
        return (
            "running" if any(each.state.state == "ready" for each in self._engines) else "loading"
        )


def engine_health(engines: Sequence[MonitoredEngine]) -> HealthCheck:
    """Whether frames can be captioned; while one engine can, it is no worse than degraded."""
    states = [engine.state.state for engine in engines]
    message = _least_ready(engines).message or ", ".join(states)
    silent = max(engines, key=lambda engine: engine.silent_s)
    if silent.silent_s >= SILENT_AFTER_S:
        seconds, device = silent.silent_s, silent.state.device
        message = f"the engine on {device} has been silent for {seconds:.0f} s"
    elif all(state in {"ready", "unloaded"} for state in states):
        return HealthCheck(status="healthy", message=message)
    if any(state == "ready" for state in states) or "failed" not in states:
        return HealthCheck(status="degraded", message=message)
    return HealthCheck(status="unhealthy", message=message)


def _least_ready(engines: Sequence[MonitoredEngine]) -> ModelStatus:
    """The engines' common state: the least ready one speaks."""
    order = ("failed", "loading", "unloaded", "ready")
    return min((engine.state for engine in engines), key=lambda model: order.index(model.state))


def _fingerprint(instance: str) -> str:
    """Tells two services apart, and is not the client id, with which one could be taken over."""
    return hashlib.sha256(instance.encode()).hexdigest()[:8]


def _ask(name: str, check: Check) -> HealthCheck:
    try:
        return check()
    except Exception:
        logger.exception("the health of %s cannot be told", name)
        return HealthCheck(status="degraded", message=UNEXPECTED)
