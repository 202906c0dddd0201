"""The stages of a frame's way, each a block: made on entering, with its tasks running inside.

A block hands on what the next one needs; leaving it in good order does what is left to do there,
leaving it with an error does not. `service.app` puts them into each other.
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

from broker.connection import Connection
from broker.publisher import Publisher
from broker.state import ConnectionState
from broker.topics import Topics
from engine.images import ImageLimits
from schemas.job import Job
from schemas.status import Figures
from service.cameras import Cameras
from service.clock import Clock
from service.data_dir import open_data_dir
from service.delivery.attempts import Attempts
from service.delivery.batch_reports import BatchReports
from service.delivery.dead_letters import DeadLetters
from service.delivery.deliver import Deliver
from service.delivery.end_log import EndLog
from service.delivery.frigate import FrigateSender
from service.delivery.mqtt import MqttSender
from service.delivery.overflow import Overflow
from service.delivery.retained import RetainedMessages
from service.delivery.webhooks import WebhookSender
from service.engines.devices import engine_options
from service.engines.dispatch import Dispatcher
from service.engines.models import Models
from service.errors import ConfigurationError, StoreFullError
from service.folders.follow import FolderFrames
from service.frigate.api import FrigateApi
from service.gpus import GpuReader
from service.http.operator_http import OperatorHttp
from service.http.urls import AllowedHosts, GuardedHttp, UrlPolicy
from service.instance import instance_name
from service.intake.batches import BatchIntake
from service.intake.downloads import Downloads
from service.intake.fetch import ImageFetcher
from service.intake.intake import Checks, Intake
from service.logs import BridgeLog
from service.monitor import ReadGpus
from service.mqtt_options import connection_options
from service.operations.batches import BatchOperations
from service.operations.cancel import Forget
from service.parts import Engine, Parts
from service.queue.batch_feed import BatchFeed
from service.queue.expiry import Expiry
from service.queue.heap import JobHeap
from service.queue.job_queue import JobQueue
from service.recovery import Recovery
from service.settings import Settings
from service.sources.frames import FrameTopics
from service.sources.frigate.following import Following
from service.sources.mqtt import MqttFrames
from service.sources.names import Names
from service.sources.routes import Routes
from service.sources.source import Source
from service.statistics import Statistics
from service.store.retention import Retention
from service.store.store import Store
from service.tasks import running

logger = logging.getLogger(__name__)

_T = TypeVar("_T")

VERSION = version("moondream2mqtt")
_LOOK_FOR_ROOM_S = 5.0  # while the disk is full at the start
_LAST_SEND_S = 5.0  # for what is committed when the service stops; the rest goes out next time


class Stopped(Exception):  # noqa: N818 - not an error: how waiting for room is left
    """The service was asked to stop before it could begin."""


@dataclass(frozen=True, slots=True)
class Base:
    """What every part is given."""

    settings: Settings
    parts: Parts
    stop: asyncio.Event
    instance: str  #: the service's own name
    topics: Topics
    limits: ImageLimits
    statistics: Statistics
    bridge_log: BridgeLog
    read_gpus: ReadGpus

    @property
    def clock(self) -> Clock:
        """The same for all."""
        return self.parts.clock

    @property
    def client_id(self) -> str:
        """Of the receiving connection; the other has it with `-pub` behind."""
        return self.settings.mqtt.client_id or self.instance


@dataclass(frozen=True, slots=True)
class Output:
    """How everything leaves."""

    connection: Connection
    publisher: Publisher
    is_connected: asyncio.Event  #: set while results can leave
    on_connect: list[Callable[[ConnectionState], None]]  #: told of each new connection


@dataclass(frozen=True, slots=True)
class Delivery:
    """The exit."""

    deliver: Deliver
    cameras: Cameras  #: who the results are of
    webhooks: WebhookSender
    http: GuardedHttp
    mqtt: MqttSender
    frigate: FrigateApi | None = None  #: where it is followed over HTTP


@dataclass(frozen=True, slots=True)
class Queue:
    """Where jobs wait, and what takes them from there."""

    jobs: JobQueue
    downloads: Downloads  #: before it, those whose image is still behind a URL
    dispatcher: Dispatcher
    models: Models

    @property
    def places(self) -> Sequence[Forget]:
        """Where a job can be, each with its way to let go of one."""
        return (self.jobs.remove, self.downloads.cancel, self.dispatcher.cancel)

    async def figures(self) -> Figures:
        """For `bridge/stats`."""
        return {
            "active_jobs": self.dispatcher.num_running,
            "queue_size": len(self.jobs),
            "queue_by_priority": {rank.wire: num for rank, num in self.jobs.by_priority().items()},
            "processing": not self.dispatcher.is_paused,
        }


@dataclass(frozen=True, slots=True)
class Entrance:
    """What takes frames, whoever brings them."""

    intake: Intake
    retention: Retention
    names: Names  #: of foreign cameras, the same for all sources


@dataclass(frozen=True, slots=True)
class Batching:
    """Frames that come many in one request, beside the cameras'."""

    operations: BatchOperations
    feed: BatchFeed
    tasks: Mapping[str, Callable[[], Awaitable[None]]]  #: by name


@dataclass(frozen=True, slots=True)
class Receiving:
    """What is at the entrance."""

    connection: Connection
    retention: Retention
    folders: FolderFrames


@asynccontextmanager
async def open_base(settings: Settings, parts: Parts, stop: asyncio.Event) -> AsyncIterator[Base]:
    """What every part is given; all warnings of the block are kept for `bridge/log`."""
    with _bridge_log(parts.clock) as bridge_log, GpuReader() as gpus:
        yield Base(
            settings,
            parts,
            stop,
            instance=await once_there_is_room(partial(_name_instance, settings.data_dir), stop),
            topics=Topics(settings.mqtt.base_topic),
            limits=ImageLimits(**settings.frames.model_dump()),
            statistics=Statistics(),
            bridge_log=bridge_log,
            read_gpus=gpus.read,
        )


@contextmanager
def _bridge_log(clock: Clock) -> Iterator[BridgeLog]:
    """Take the warnings of all that is logged inside."""
    handler = BridgeLog(clock)
    logging.getLogger().addHandler(handler)
    try:
        yield handler
    finally:
        logging.getLogger().removeHandler(handler)


@asynccontextmanager
async def open_store(base: Base) -> AsyncIterator[Store]:
    """The store, as soon as there is room on its disk."""
    settings = base.settings

    def opening() -> Awaitable[Store]:
        opened = base.parts.open_store(
            store_location(settings),
            instance=base.instance,
            base_topic=settings.mqtt.base_topic,
            clock=base.clock,
        )
        return stack.enter_async_context(opened)

    async with AsyncExitStack() as stack:
        yield await once_there_is_room(opening, base.stop)


@asynccontextmanager
async def start_engines(base: Base) -> AsyncIterator[list[Engine]]:
    """One for each device; their loading begins and is not waited for."""
    model = base.settings.model
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                base.parts.engine(
                    options,
                    image_limits=base.limits,
                    load_timeout=model.load_timeout,
                    step_timeout=model.step_timeout,
                )
            )
            for options in engine_options(model)
        ]


@asynccontextmanager
async def open_output(base: Base) -> AsyncIterator[Output]:
    """The connection that says `online` when it is told to, `offline` when the block ends."""
    is_connected = asyncio.Event()
    on_connect: list[Callable[[ConnectionState], None]] = []

    def on_change(state: ConnectionState) -> None:
        if state.is_connected and not is_connected.is_set():
            is_connected.set()
            publisher.renew()
            for tell in on_connect:
                tell(state)
        elif not state.is_connected:
            is_connected.clear()

    topic = base.topics.bridge("state")
    options = connection_options(base.settings.mqtt, f"{base.client_id}-pub", topic)
    connection = base.parts.connection(options, on_change=on_change)
    publisher = Publisher(connection, base.topics)
    async with connection, running() as tasks:
        tasks.watch("output-watch", connection.watch)
        yield Output(connection, publisher, is_connected, on_connect)


@asynccontextmanager
async def open_delivery(base: Base, store: Store, output: Output) -> AsyncIterator[Delivery]:
    """Everything that is committed leaves; at the end of the block once more for a while."""
    settings, clock = base.settings, base.clock
    http, letters = GuardedHttp(), DeadLetters(store, base.topics)
    mqtt = MqttSender(
        store.outbox, output.connection, output.is_connected, letters=letters, clock=clock
    )
    webhooks = WebhookSender(
        store.outbox,
        settings.webhooks,
        attempts=Attempts(settings.webhooks, http, clock, VERSION),
        letters=letters,
        clock=clock,
        rng=random.Random(),  # noqa: S311 - spreads retries
    )
    cameras = Cameras(settings, base.topics, store, output.publisher, clock)
    await cameras.load()
    await RetainedMessages(store, settings, base.topics, cameras, clock).settle()
    end_log = EndLog(captions=settings.logging.captions)
    deliver = Deliver(
        store, base.topics, output.publisher, base.statistics, clock, cameras, end_log
    )
    frigate = frigate_api(settings, clock)
    async with running() as tasks:
        tasks.start("cameras", cameras.run)
        tasks.start("mqtt-sender", mqtt.run)
        tasks.start("webhook-sender", webhooks.run)
        tasks.start("overflow", Overflow(store, settings, letters, clock).run)
        if frigate is not None:
            tasks.start("frigate-sender", _frigate_sender(base, store, letters, frigate).run)
        yield Delivery(deliver, cameras, webhooks, http, mqtt, frigate)
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_SEND_S):
                await mqtt.flush()


def frigate_api(settings: Settings, clock: Clock) -> FrigateApi | None:
    """Frigate over HTTP, where the settings have it.

    Raises:
        ConfigurationError: Its `ca_file` holds no certificate.
    """
    frigate = settings.frigate
    if not frigate.enabled or frigate.url is None:
        return None
    try:
        http = OperatorHttp(frigate.ca_file, insecure=frigate.insecure)
    except ConfigurationError as error:
        raise ConfigurationError(f"frigate.ca_file: {error}") from error
    return FrigateApi(frigate, http, settings.frames.max_bytes, clock, VERSION)


def _frigate_sender(
    base: Base, store: Store, letters: DeadLetters, frigate: FrigateApi
) -> FrigateSender:
    return FrigateSender(
        store.outbox,
        frigate,
        base.settings.frigate,
        letters=letters,
        clock=base.clock,
        rng=random.Random(),  # noqa: S311 - spreads attempts
    )


@asynccontextmanager
async def open_queue(
    base: Base, store: Store, delivery: Delivery, engines: Sequence[Engine]
) -> AsyncIterator[Queue]:
    """Jobs go to the engines; at the end of the block they end there, or return to the store."""
    settings, clock, deliver = base.settings, base.clock, delivery.deliver
    queue, statistics = settings.queue, base.statistics
    heap = JobHeap(queue.capacity, queue.order, queue.patience)
    jobs = JobQueue(heap, store, deliver, clock)
    dispatcher = Dispatcher(
        jobs, store, deliver, engines, settings, statistics, clock, delivery.cameras
    )
    if await store.is_paused():
        logger.warning("processing is paused since before the start", extra={"action": "paused"})
        dispatcher.pause()
    model = settings.model
    models = Models(engines, engine_options(model), model.unload_after, dispatcher, clock)
    async with running() as tasks:
        tasks.start("dispatch", dispatcher.run)
        tasks.start("models", models.run)
        yield Queue(jobs, _downloads(base, store, delivery, jobs), dispatcher, models)
        await dispatcher.drain(queue.shutdown_timeout)


def make_entrance(base: Base, store: Store, delivery: Delivery, queue: Queue) -> Entrance:
    """Nothing of it runs before `open_intake`; what is handed over waits."""
    settings = base.settings
    retention = Retention(store, settings.store, base.clock)
    intake = Intake(
        store,
        delivery.deliver,
        queue.jobs,
        queue.downloads.add,
        delivery.cameras,
        Checks(url_policy(settings), base.limits),
        retention,
        settings,
    )
    return Entrance(intake, retention, Names(delivery.cameras.name_of))


def make_batching(
    base: Base, store: Store, output: Output, delivery: Delivery, queue: Queue, entrance: Entrance
) -> Batching:
    """Batches have fetches of their own, so that no camera's frame waits for theirs."""
    settings, clock, jobs = base.settings, base.clock, queue.jobs
    fetcher = _downloads(base, store, delivery, jobs)
    feed = BatchFeed(jobs, fetcher, store, delivery.deliver)
    reports = BatchReports(
        store,
        base.topics,
        output.publisher,
        delivery.deliver,
        lambda num_left: jobs.pace.place(len(jobs) + num_left).wait_s,
        clock,
    )
    checks = Checks(url_policy(settings), base.limits)
    intake = BatchIntake(store, delivery.cameras, checks, entrance.retention, settings, clock)
    tasks = {
        "batch-feed": feed.run,
        "batch-reports": reports.run,
        "batch-downloads": fetcher.run,
        "batch-expiry": Expiry((fetcher,), jobs.expire).run,
    }
    return Batching(BatchOperations(store, intake, feed, reports, clock), feed, tasks)


@asynccontextmanager
async def open_intake(
    base: Base,
    store: Store,
    delivery: Delivery,
    queue: Queue,
    entrance: Entrance,
    waiting: Sequence[Job],
    orders: Sequence[Source],
    frigate: Following | None,
) -> AsyncIterator[Receiving]:
    """Frames and orders come in, behind what waited before; at the end of the block no more do.

    What is not committed then stays unacknowledged: the broker keeps it.
    """
    settings, deliver = base.settings, delivery.deliver
    intake, retention, downloads = entrance.intake, entrance.retention, queue.downloads
    followed = () if frigate is None else (frigate.topics,)
    sources = (*orders, *followed, *_sources(base, entrance.names))
    subscriptions = [each for source in sources for each in source.subscriptions]
    options = connection_options(settings.mqtt, base.client_id)
    connection = base.parts.connection(options, subscriptions)
    frames = MqttFrames(connection, sources, intake)
    folders = FolderFrames(settings, intake.submit, entrance.names, store.folder_files, base.clock)
    recovery = Recovery(store, deliver, queue.jobs, downloads, delivery.cameras, base.clock)
    async with running() as tasks:
        tasks.start("downloads", downloads.run)
        tasks.start("expiry", Expiry((queue.jobs, downloads), queue.jobs.expire).run)
        tasks.start("retention", retention.run)
        tasks.start("captions", store.indexing.run)
        tasks.watch("recovery", recovery.run)
        await recovery.take_back(waiting)
        async with connection, running() as at_the_door:
            at_the_door.start("intake", intake.run)
            at_the_door.start("frames", frames.run)
            for name, run in (frigate.tasks if frigate else {}).items():
                at_the_door.start(name, run)
            at_the_door.watch("input-watch", connection.watch)
            if settings.folders:
                at_the_door.start("folders", folders.run)
            yield Receiving(connection, retention, folders)
        if frigate is not None:
            await frigate.close()


def _sources(base: Base, names: Names) -> Sequence[Source]:
    """Who reads what comes in; the first that claims a topic does."""
    settings = base.settings
    routes = Routes(base.topics, settings.sources, names)
    response_topics, max_bytes = settings.mqtt.response_topics, settings.frames.max_bytes
    return (FrameTopics(base.topics, routes, response_topics, max_bytes),)


def make_fetcher(base: Base, delivery: Delivery) -> ImageFetcher:
    """Each waits for no other's images."""
    settings = base.settings
    return ImageFetcher(
        settings.fetch, settings.frames.max_bytes, http=delivery.http, version=VERSION
    )


def _downloads(base: Base, store: Store, delivery: Delivery, jobs: JobQueue) -> Downloads:
    return Downloads(
        make_fetcher(base, delivery),
        store,
        delivery.deliver,
        jobs,
        base.limits,
        base.settings.queue.capacity,
        base.clock,
    )


async def once_there_is_room(work: Callable[[], Awaitable[_T]], stop: asyncio.Event) -> _T:
    """Begin with what needs the disk; while that is full there is nothing to do but wait."""
    while True:
        try:
            return await work()
        except StoreFullError as error:
            logger.error("the service waits for room: %s", error, extra={"action": "store_full"})
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_FOR_ROOM_S):
                await stop.wait()
            raise Stopped


def store_location(settings: Settings) -> str | Path:
    """The database: a URL, or a file in `data_dir`."""
    return settings.store.url or Path(settings.data_dir, "jobs.sqlite3").absolute()


async def _name_instance(folder: Path) -> str:
    open_data_dir(folder)
    return instance_name(folder)


def url_policy(settings: Settings) -> UrlPolicy:
    """Which addresses others than the operator may name."""
    return UrlPolicy(
        AllowedHosts(settings.webhooks.allow_hosts, "webhooks.allow_hosts"),
        AllowedHosts(settings.fetch.allow_hosts, "fetch.allow_hosts"),
    )
