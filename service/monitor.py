"""What the service says about itself: statistics, metrics, health, info and warnings.

Each part describes itself in a `Watched`; here they are only asked and put together. The documents
are published retained, so that a subscriber who comes late sees the newest.
"""

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psutil

from schemas.status import (
    BridgeInfo,
    Figures,
    Gpu,
    Health,
    HealthCheck,
    Metrics,
    Stats,
    SystemStatus,
)
from service.boundary import contained, keep_running
from service.clock import Clock
from service.delivery.deliver import Announcer
from service.engines.view import EnginesView
from service.errors import UNEXPECTED
from service.logs import BridgeLog

logger = logging.getLogger(__name__)

_INFO_CHECK_S = 0.2  # how soon a change of the model's state shows in bridge/info
# What a model does before it is ready changes every second, and each message has all settings.
_PROGRESS_EVERY_S = 2.0

ReadGpus = Callable[[], tuple[Gpu, ...]]


@dataclass(frozen=True, slots=True)
class Watched:
    """A part of the service, as it describes itself."""

    name: str  #: of its check in `bridge/health`
    health: Callable[[], HealthCheck] | None = None  #: None: nothing can be wrong with it
    figures: Callable[[], Awaitable[Figures]] | None = None  #: its share of `bridge/stats`


@dataclass(frozen=True, slots=True)
class About:
    """What does not change while the service runs, but for the broker."""

    version: str  #: of the package
    instance: str  #: the service's own name
    mqtt_version: Callable[[], str]  #: the protocol in use
    limits: dict[str, float]  #: of frames and queue
    settings: dict[str, object]  #: without secrets
    stats_interval: float  #: seconds


class Monitor:
    """Publishes the bridge documents.

    Args:
        announcer: Where to.
        parts: Together they know every figure of `Stats` but the time and the state of the whole.
        engines: The model.
        about: For `bridge/info`.
        read_gpus: GPU readings.
        bridge_log: Warnings to publish.
        clock: For uptime.

    Attributes:
        is_stopping: To be set when the service is asked to end.
    """

    def __init__(
        self,
        announcer: Announcer,
        parts: Sequence[Watched],
        engines: EnginesView,
        about: About,
        read_gpus: ReadGpus,
        bridge_log: BridgeLog,
        clock: Clock,
    ) -> None:
        self._announcer = announcer
        self._parts = parts
        self._engines = engines
        self._about = about
        self._read_gpus = read_gpus
        self._bridge_log = bridge_log
        self._clock = clock
        self._started_at = clock.monotonic()
        self._since = clock.now()
        self._published: BridgeInfo | None = None
        self._published_at = 0.0
        self._telling = asyncio.Lock()  # what is said last is the newest
        self.is_stopping = False

    def watch(self, *parts: Watched) -> None:
        """Watch more parts; before `run`."""
        self._parts = (*self._parts, *parts)

    async def publish_stats(self) -> Stats:
        """Publish the statistics at once, and return them."""
        async with self._telling:
            stats = await self.stats()
            self._announcer.announce(stats)
        return stats

    async def run(self) -> None:
        """Publish for ever: info and statistics when info changes, all but info at intervals."""
        async with asyncio.TaskGroup() as tasks:
            for name, work in {
                "monitor-info": self._follow_info,
                "monitor-log": self._pass_log_on,
                "monitor-report": self._report,
            }.items():
                tasks.create_task(keep_running(work, name), name=name)

    def info(self) -> BridgeInfo:
        """Who is running here."""
        about = self._about
        return BridgeInfo(
            version=about.version,
            instance=_fingerprint(about.instance),
            mqtt_version=about.mqtt_version(),
            model=self._engines.model(),
            limits={**about.limits, "max_concurrent_jobs": self._engines.capacity},
            settings=about.settings,
        )

    async def stats(self) -> Stats:
        """Counts and rates."""
        known = Figures()
        for part in self._parts:
            if part.figures is not None:
                known.update(await part.figures())
        return Stats(
            **known,
            max_concurrent_jobs=self._engines.capacity,
            system_status=self._system_status(is_processing=known["processing"]),
            uptime=round(self._clock.monotonic() - self._started_at, 1),
            since=self._since,
        )

    def metrics(self) -> Metrics:
        """The machine."""
        return Metrics(
            cpu=psutil.cpu_percent(),
            memory=psutil.virtual_memory().percent,
            device=self._engines.model().device,
            gpus=self._read_gpus(),
            loaded_models=self._engines.loaded,
        )

    def health(self) -> Health:
        """Whether the service can do its job; the worst part decides."""
        checks = {
            part.name: _ask(part.name, part.health)
            for part in self._parts
            if part.health is not None
        }
        order = ("healthy", "degraded", "unhealthy")
        worst = max((check.status for check in checks.values()), key=order.index)
        return Health(status=worst, checks=checks)

    async def _follow_info(self) -> None:
        while True:
            info, now = self.info(), self._clock.monotonic()
            is_progress = _but_for_progress(info) == _but_for_progress(self._published)
            is_due = not is_progress or now >= self._published_at + _PROGRESS_EVERY_S
            if info != self._published and is_due and self._announcer.announce(info):
                is_first, self._published = self._published is None, info
                self._published_at = now
                if not is_first and not is_progress:  # what the engines are now shows in both
                    with contained("bridge/stats cannot be published"):
                        await self.publish_stats()
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
                await self.publish_stats()
            with contained("bridge/metrics cannot be published"):
                self._announcer.announce(self.metrics())
            with contained("bridge/health cannot be published"):
                self._announcer.announce(self.health())
            await asyncio.sleep(self._about.stats_interval)

    def _system_status(self, *, is_processing: bool) -> SystemStatus:
        if self.is_stopping:
            return "stopping"
        if not is_processing:
            return "paused"
        if self._engines.has_ready:
            return "running"
        if self._engines.model().state == "unloaded":
            return "unloaded"
        return "failed" if self._engines.health().status == "unhealthy" else "loading"


def _but_for_progress(info: BridgeInfo | None) -> BridgeInfo | None:
    """What is left when the words of a model that is loading are taken away."""
    if info is None or info.model.state != "loading":
        return info
    return info.model_copy(update={"model": info.model.model_copy(update={"message": None})})


def _fingerprint(instance: str) -> str:
    """Tells two services apart, and is not the client id, with which one could be taken over."""
    return hashlib.sha256(instance.encode()).hexdigest()[:8]


def _ask(name: str, check: Callable[[], HealthCheck]) -> HealthCheck:
    try:
        return check()
    except Exception:
        logger.exception("the health of %s cannot be told", name)
        return HealthCheck(status="degraded", message=UNEXPECTED)
