"""Where the parts meet: one task group, started in order and stopped in steps.

Start: store, engines (loading begins), what the last run left behind, publishing connection,
receiving connection. Stop: no more frames in, running jobs end or return to the store, what is
committed is sent, `offline` is said.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from broker.connection import Connection
from broker.errors import BrokerError, TlsFilesError
from broker.options import ConnectionOptions, Subscription, TlsOptions
from broker.patterns import CameraPattern
from broker.publisher import Publisher
from broker.state import ConnectionState
from broker.topics import Topics
from engine.images import ImageLimits
from schemas.status import HealthCheck
from service.boundary import contained, keep_running
from service.cameras import Cameras
from service.clock import Clock
from service.data_dir import open_data_dir
from service.delivery.attempts import Attempts
from service.delivery.dead_letters import DeadLetters
from service.delivery.deliver import Deliver
from service.delivery.mqtt import MqttSender
from service.delivery.overflow import Overflow
from service.delivery.webhooks import WebhookSender
from service.engines.devices import engine_options
from service.engines.dispatch import Dispatcher
from service.engines.process import EngineProcess
from service.errors import ConfigurationError, ServiceError, StoreFullError, UrlRefusedError
from service.gpus import GpuReader
from service.http.urls import AllowedHosts, GuardedHttp, UrlPolicy, parse_url
from service.instance import instance_name
from service.intake.downloads import RemoteFrames
from service.intake.fetch import ImageFetcher
from service.intake.intake import Intake
from service.logs import BridgeLog
from service.monitor import Monitor
from service.queue.expiry import Expiry
from service.queue.heap import JobHeap
from service.queue.line import Line
from service.recovery import Recovery
from service.settings import MqttSettings, Settings
from service.sources.routes import Routes, Source
from service.statistics import Statistics
from service.store.retention import Retention
from service.store.store import Store

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

VERSION = version("moondream2mqtt")
_LOOK_FOR_ROOM_S = 5.0  # while the disk is full at the start
_LAST_SEND_S = 5.0  # for what is committed when the service stops; the rest goes out next time


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that touch the world, as makers; tests put faults between."""

    open_store: Callable[..., Any] = Store.open
    connection: Callable[..., Connection] = Connection
    engine: Callable[..., Any] = EngineProcess
    clock: Clock = field(default_factory=Clock)


REAL_PARTS = Parts()


class _Stopped(Exception):  # noqa: N818 - not an error: how the task group is left
    """The service was asked to stop and has done its steps."""


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event,
    on_ready: Callable[[], None] | None = None,
    parts: Parts = REAL_PARTS,
) -> None:
    """Run the service until `stop` is set.

    Args:
        settings: Everything.
        stop: Set to end it in steps; nothing accepted is lost if it ends at once instead.
        on_ready: Called when an engine takes jobs for the first time.
        parts: For tests.

    Raises:
        ConfigurationError: A setting that only shows when it is used, e.g. an unreadable key file.
        ServiceError: The store cannot be opened, or another client uses our client id.
    """
    _check_webhooks(settings)
    async with AsyncExitStack() as stack:
        service = _Service(settings, parts, stop)
        try:
            await service.open(stack)
            await service.run(stop, on_ready)
        except* _Stopped:
            logger.info("stopped", extra={"action": "service_stopped"})
        except* TlsFilesError as group:
            raise ConfigurationError(str(group.exceptions[0])) from group
        except* BrokerError as group:
            raise ServiceError(str(group.exceptions[0])) from group


class _Service:
    """The parts, made in the order in which they need each other."""

    def __init__(self, settings: Settings, parts: Parts, stop: asyncio.Event) -> None:
        self._settings = settings
        self._parts = parts
        self._stop = stop
        self._clock = parts.clock
        self._topics = Topics(settings.mqtt.base_topic)
        self._statistics = Statistics()
        self._is_published = asyncio.Event()  # set while results can leave
        self._limits = ImageLimits(**settings.frames.model_dump())

    async def open(self, stack: AsyncExitStack) -> None:
        """Open what must be closed again, and wire the rest; wait while the disk is full."""
        settings, clock = self._settings, self._clock
        instance = await self._once_there_is_room(self._name_instance)
        client_id = settings.mqtt.client_id or instance
        queue = settings.queue
        heap = JobHeap(queue.capacity, queue.order, queue.patience)
        bridge_log = BridgeLog(clock)
        logging.getLogger().addHandler(bridge_log)
        stack.callback(logging.getLogger().removeHandler, bridge_log)
        gpus = stack.enter_context(GpuReader())
        self._store = await self._once_there_is_room(
            lambda: stack.enter_async_context(
                self._parts.open_store(
                    _store(settings),
                    instance=instance,
                    base_topic=settings.mqtt.base_topic,
                    clock=clock,
                )
            )
        )
        self._engines = [
            await stack.enter_async_context(
                self._parts.engine(
                    options,
                    image_limits=self._limits,
                    load_timeout=settings.model.load_timeout,
                    step_timeout=settings.model.step_timeout,
                )
            )
            for options in engine_options(settings.model)
        ]
        self._output = self._parts.connection(
            _connection_options(settings.mqtt, f"{client_id}-pub", self._topics),
            on_change=self._on_output_change,
        )
        self._publisher = Publisher(self._output, self._topics)
        routes, subscriptions = _routes(settings, self._topics)
        self._input = self._parts.connection(
            _connection_options(settings.mqtt, client_id), subscriptions
        )
        http = GuardedHttp()
        letters = DeadLetters(self._store, self._topics)
        self._mqtt_sender = MqttSender(
            self._store.outbox, self._output, self._is_published, letters=letters, clock=clock
        )
        self._webhook_sender = WebhookSender(
            self._store.outbox,
            settings.webhooks,
            attempts=Attempts(settings.webhooks, http, clock, VERSION),
            letters=letters,
            clock=clock,
            rng=random.Random(),  # noqa: S311 - spreads retries
        )
        self._deliver = Deliver(
            self._store,
            self._topics,
            self._publisher,
            self._statistics,
            clock,
        )
        self._line = Line(heap, self._store, self._deliver, self._statistics, clock)
        self._dispatcher = Dispatcher(
            self._line,
            self._store,
            self._deliver,
            self._engines,
            settings,
            self._statistics,
            clock,
        )
        self._cameras = Cameras(settings, self._store, self._publisher)
        await self._cameras.load()
        self._retention = Retention(self._store, settings.store, clock)
        self._overflow = Overflow(self._store, settings, letters, clock)
        self._remote = RemoteFrames(
            ImageFetcher(settings.fetch, settings.frames.max_bytes, http=http, version=VERSION),
            self._store,
            self._deliver,
            self._line,
            self._limits,
            settings.queue.capacity,
            clock,
        )
        self._expiry = Expiry((self._line, self._remote), self._line.expire)
        self._recovery = Recovery(self._store, self._deliver, self._line, self._remote, clock)
        self._intake = Intake(
            self._input,
            routes,
            self._store,
            self._deliver,
            self._line,
            self._remote,
            self._cameras,
            UrlPolicy(
                AllowedHosts(settings.webhooks.allow_hosts, "webhooks.allow_hosts"),
                AllowedHosts(settings.fetch.allow_hosts, "fetch.allow_hosts"),
            ),
            self._retention,
            self._limits,
            settings,
            self._statistics,
            clock,
        )
        self._monitor = Monitor(
            announcer=self._publisher,
            heap=heap,
            line=self._line,
            dispatcher=self._dispatcher,
            engines=self._engines,
            store=self._store,
            statistics=self._statistics,
            checks={
                "broker": self._broker_health,
                "webhooks": self._webhook_sender.check,
                "disk": self._retention.health,
                "internal": bridge_log.check,
            },
            read_gpus=gpus.read,
            webhook_success_rate=lambda: self._webhook_sender.success_rate,
            bridge_log=bridge_log,
            mqtt_version=lambda: self._output.state.protocol or "",
            instance=instance,
            version=VERSION,
            settings=settings,
            clock=clock,
        )

    async def run(self, stop: asyncio.Event, on_ready: Callable[[], None] | None) -> None:
        """Start every part, and end the task group by `_Stopped` when asked to."""
        mqtt, model = self._settings.mqtt, self._settings.model
        logger.info(
            "version %s, broker %s:%d, base topic %s, model %s %s on %s",
            VERSION,
            mqtt.host,
            mqtt.port,
            mqtt.base_topic,
            model.name,
            model.revision,
            model.device,
            extra={"action": "service_started"},
        )
        waiting = await self._once_there_is_room(self._store.recover)
        async with self._output, asyncio.TaskGroup() as tasks:
            for name, run in {
                "mqtt-sender": self._mqtt_sender.run,
                "webhook-sender": self._webhook_sender.run,
                "dispatch": self._dispatcher.run,
                "remote-frames": self._remote.run,
                "expiry": self._expiry.run,
                "retention": self._retention.run,
                "overflow": self._overflow.run,
                "monitor": self._monitor.run,
            }.items():
                tasks.create_task(keep_running(run, name), name=name)
            tasks.create_task(self._output.watch(), name="output-watch")
            tasks.create_task(self._recovery.run(), name="recovery")
            await self._recovery.take_back(waiting)
            if on_ready is not None:
                tasks.create_task(self._report_ready(on_ready), name="ready")
            async with self._input:
                receiving = [
                    tasks.create_task(keep_running(self._intake.run, "intake"), name="intake"),
                    tasks.create_task(self._input.watch(), name="input-watch"),
                ]
                await stop.wait()
                await self._stop_receiving(receiving)
            await self._stop_working()
            raise _Stopped

    async def _name_instance(self) -> str:
        folder = self._settings.data_dir
        open_data_dir(folder)
        return instance_name(folder)

    async def _once_there_is_room(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Begin with what needs the disk; while that is full there is nothing to do but wait."""
        while True:
            try:
                return await work()
            except StoreFullError as error:
                logger.error(
                    "the service waits for room: %s", error, extra={"action": "store_full"}
                )
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_FOR_ROOM_S):
                    await self._stop.wait()
                raise _Stopped

    async def _stop_receiving(self, receiving: Sequence[asyncio.Task[None]]) -> None:
        """What is not committed yet stays unacknowledged: the broker keeps it."""
        logger.info("stopping", extra={"action": "service_stopping"})
        self._monitor.is_stopping = True
        for task in receiving:
            task.cancel()
        await asyncio.wait(receiving)

    async def _stop_working(self) -> None:
        await self._dispatcher.drain(self._settings.queue.shutdown_timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SEND_S):
                await self._mqtt_sender.flush()

    async def _report_ready(self, on_ready: Callable[[], None]) -> None:
        while not any(engine.capacity for engine in self._engines):  # noqa: ASYNC110 - once
            await asyncio.sleep(0.05)
        with contained("nobody hears that the service is ready"):
            on_ready()

    def _on_output_change(self, state: ConnectionState) -> None:
        if state.is_connected and not self._is_published.is_set():
            self._is_published.set()
            self._publisher.renew()
        elif not state.is_connected:
            self._is_published.clear()

    def _broker_health(self) -> HealthCheck:
        for connection in (self._input, self._output):
            state = connection.state
            if not state.is_connected:
                return HealthCheck(status="unhealthy", message=state.reason)
            if state.refused_subscriptions:
                refused = ", ".join(state.refused_subscriptions)
                return HealthCheck(status="unhealthy", message=f"no right to subscribe: {refused}")
        dropped = self._input.counters.broker_dropped
        if dropped:
            return HealthCheck(status="degraded", message=f"the broker dropped {dropped} messages")
        return HealthCheck(status="healthy", message="ok")


def _check_webhooks(settings: Settings) -> None:
    """A typo in a receiver's URL shows now, not in the dead letters."""
    urls = {
        f"cameras.{name}.webhook_url": each.webhook_url for name, each in settings.cameras.items()
    }
    for path, url in {"webhooks.url": settings.webhooks.url, **urls}.items():
        try:
            if url is not None:
                parse_url(url)
        except UrlRefusedError as error:
            raise ConfigurationError(f"{path}: {error}") from error


def _store(settings: Settings) -> str | Path:
    return settings.store.url or Path(settings.data_dir, "jobs.sqlite3").absolute()


def _connection_options(
    mqtt: MqttSettings, client_id: str, speaks_for: Topics | None = None
) -> ConnectionOptions:
    """Args: speaks_for: Topics of the service whose birth and will this connection says."""
    tls = mqtt.tls
    return ConnectionOptions(
        host=mqtt.host,
        port=mqtt.port,
        client_id=client_id,
        username=mqtt.username,
        password=mqtt.password.get_secret_value() if mqtt.password else None,
        protocol=mqtt.protocol,
        transport=mqtt.transport,
        websocket_path=mqtt.websocket_path,
        keepalive=mqtt.keepalive,
        session_expiry=mqtt.session_expiry,
        receive_maximum=mqtt.receive_maximum,
        max_inflight_bytes=mqtt.max_inflight_bytes,
        tls=TlsOptions(tls.ca_file, tls.cert_file, tls.key_file, tls.insecure)
        if tls.enabled
        else None,
        state_topic=speaks_for.bridge("state") if speaks_for else None,
    )


def _routes(settings: Settings, topics: Topics) -> tuple[Routes, list[Subscription]]:
    sources = [
        Source(CameraPattern.compile(each.topic), each.motion_intensity, each.accept_retained)
        for each in settings.sources
    ]
    subscriptions = [Subscription(topics.frame_filter)]
    subscriptions += [
        Subscription(each.pattern.topic_filter, accept_retained=each.accept_retained)
        for each in sources
    ]
    return Routes(topics, sources), subscriptions
