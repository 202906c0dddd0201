"""Where the parts meet: opened in order, each in a block of its own, and closed in reverse.

Start: store, engines (loading begins), what the last run left behind, publishing connection,
delivery, queue, receiving connection. So the stop is: no more frames in, running jobs end or return
to the store, what is committed is sent, `offline` is said. After an error nothing of this is waited
for: what is committed is there at the next start.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial

from broker.connection import Connection
from broker.errors import BrokerError, TlsFilesError
from schemas.status import Figures
from service.boundary import contained
from service.broker_view import BrokerView
from service.engines.view import EnginesView
from service.errors import ConfigurationError, ServiceError
from service.gateway import open_gateway
from service.integrations import (
    Triggering,
    make_following,
    make_triggers,
    open_home_assistant,
)
from service.monitor import About, Monitor, Watched
from service.operations.asking import Asking
from service.operations.bridge import BridgeOperations
from service.operations.cameras import CameraOperations
from service.operations.cancel import Cancellation
from service.operations.captions import CaptionOperations
from service.operations.describe import DescribeOperations
from service.operations.jobs import JobOperations
from service.operations.models import ModelOperations
from service.operations.operations import Operations
from service.operations.queue import QueueOperations
from service.operations.retry import Retrying
from service.operations.skills import SkillOperations
from service.parts import REAL_PARTS, Engine, Parts
from service.settings import Settings
from service.sources.camera_settings import SettingTopics
from service.sources.requests import RequestTopics
from service.sources.source import Source
from service.stages import (
    VERSION,
    Base,
    Batching,
    Delivery,
    Entrance,
    Output,
    Queue,
    Receiving,
    Stopped,
    make_batching,
    make_entrance,
    once_there_is_room,
    open_base,
    open_delivery,
    open_intake,
    open_output,
    open_queue,
    open_store,
    start_engines,
    url_policy,
)
from service.startup import doubts, refusals
from service.store.store import Store
from service.store.view import StoreView
from service.tasks import Tasks, running

__all__ = ["REAL_PARTS", "Parts", "serve"]

logger = logging.getLogger(__name__)


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
    for refusal in refusals(settings):
        raise refusal
    try:
        async with open_base(settings, parts, stop) as base:
            await _run(base, on_ready)
    except* Stopped:
        pass
    except* TlsFilesError as group:
        raise ConfigurationError(str(_first(group))) from group
    except* BrokerError as group:
        raise ServiceError(str(_first(group))) from group
    logger.info("stopped", extra={"action": "service_stopped"})


async def _run(base: Base, on_ready: Callable[[], None] | None) -> None:
    _greet(base.settings)
    _warn(base.settings)
    async with open_store(base) as store, start_engines(base) as engines:
        waiting = await once_there_is_room(store.recover, base.stop)
        async with (
            open_output(base) as output,
            running() as background,
            open_delivery(base, store, output) as delivery,
            open_queue(base, store, delivery, engines) as queue,
            open_home_assistant(base, store, output, delivery, queue) as home_assistant,
        ):
            monitor = _monitor(base, store, engines, output, delivery, queue)
            entrance = make_entrance(base, store, delivery, queue)
            batching = make_batching(base, store, output, delivery, queue, entrance)
            triggering = make_triggers(base, delivery, entrance)
            await once_there_is_room(batching.feed.recover, base.stop)
            for name, run in batching.tasks.items():
                background.start(name, run)
            asking = Asking(entrance.intake.submit, delivery.deliver.ends, store)
            operations = _operations(
                base,
                store,
                delivery,
                queue,
                engines,
                entrance,
                batching,
                triggering,
                monitor,
                asking,
            )
            orders = (*_orders(base, output, operations, background, triggering), *home_assistant)
            if base.settings.triggers:
                monitor.watch(Watched("triggers", triggering.triggers.check))
            frigate = make_following(base, store, delivery, queue, entrance)
            if frigate is not None:
                await once_there_is_room(frigate.recover, base.stop)
            async with (
                open_intake(
                    base, store, delivery, queue, entrance, waiting, orders, frigate
                ) as receiving,
                open_gateway(
                    base, store, output, delivery, queue, engines, entrance, monitor, operations
                ) as gateway,
            ):
                background.watch("announce", partial(_announce, receiving, output))
                _watch_the_world(base.settings, receiving, output, monitor)
                if gateway is not None:
                    monitor.watch(Watched("http", gateway.health))
                background.start("monitor", monitor.run)
                if on_ready is not None:
                    background.watch("ready", partial(_report_ready, engines, on_ready))
                await base.stop.wait()
                _log_stopping(queue)
                monitor.is_stopping = True
                with contained("bridge/stats cannot be published"):  # what was wanted is no crash
                    await monitor.publish_stats()


def _operations(
    base: Base,
    store: Store,
    delivery: Delivery,
    queue: Queue,
    engines: Sequence[Engine],
    entrance: Entrance,
    batching: Batching,
    triggering: Triggering,
    monitor: Monitor,
    asking: Asking,
) -> Operations:
    """Everything that can be asked and ordered."""
    settings, deliver, clock = base.settings, delivery.deliver, base.clock
    cancellation = Cancellation(deliver, queue.places)
    retrying = Retrying(store, deliver, queue.jobs, queue.downloads, clock)
    skills = SkillOperations(asking, settings.frames.max_bytes, clock)
    describing = DescribeOperations(
        delivery.cameras, triggering.pictures, entrance.intake.submit, store, clock
    )
    return Operations(
        (
            *BridgeOperations(monitor).bound(),
            *JobOperations(store, queue.jobs, cancellation, retrying).bound(),
            *QueueOperations(store, queue.dispatcher, cancellation, monitor).bound(),
            *ModelOperations(queue.models, engines, settings.model).bound(),
            *skills.bound(),
            *CameraOperations(delivery.cameras, url_policy(settings), clock).bound(),
            *batching.operations.bound(),
            *describing.bound(),
            *CaptionOperations(store).bound(),
        )
    )


def _monitor(
    base: Base,
    store: Store,
    engines: Sequence[Engine],
    output: Output,
    delivery: Delivery,
    queue: Queue,
) -> Monitor:
    """What is watched before frames come in; the connections and the disk follow."""
    engines_view, store_view = EnginesView(engines), StoreView(store, base.statistics)

    async def since_the_start() -> Figures:
        return base.statistics.figures(base.clock.monotonic())

    watched: tuple[Watched, ...] = (
        Watched("engine", engines_view.health),
        Watched("queue", figures=queue.figures),
        Watched("store", store_view.health, store_view.figures),
        Watched("webhooks", delivery.webhooks.check, delivery.webhooks.figures),
        Watched("internal", base.bridge_log.check),
        Watched("frames", figures=since_the_start),
    )
    if delivery.frigate is not None:
        watched = (*watched, Watched("frigate", delivery.frigate.check))
    about = _about(base, output.connection)
    announcer, log = output.publisher, base.bridge_log
    return Monitor(announcer, watched, engines_view, about, base.read_gpus, log, base.clock)


def _orders(
    base: Base, output: Output, operations: Operations, background: Tasks, triggering: Triggering
) -> tuple[Source, ...]:
    """Who reads what is no frame, and does it."""
    requests = RequestTopics(base.topics, operations, output.connection, base.clock)
    camera_settings = SettingTopics(base.topics, operations)
    background.start("requests", requests.run)
    background.start("settings", camera_settings.run)
    if base.settings.triggers:
        background.start("triggers", triggering.triggers.run)
    return (requests, camera_settings, triggering.source)


def _watch_the_world(
    settings: Settings, receiving: Receiving, output: Output, monitor: Monitor
) -> None:
    """What is watched once frames come in."""
    broker = BrokerView(receiving.connection, output.connection, output.publisher)
    monitor.watch(
        Watched("broker", broker.health, broker.figures),
        Watched("disk", receiving.retention.health),
    )
    if settings.folders:
        monitor.watch(Watched("folders", receiving.folders.health))


def _about(base: Base, output: Connection) -> About:
    settings = base.settings
    return About(
        version=VERSION,
        instance=base.instance,
        mqtt_version=lambda: output.state.protocol or "",
        limits={
            "max_frame_bytes": settings.frames.max_bytes,
            "max_pixels": settings.frames.max_pixels,
            "queue_capacity": settings.queue.capacity,
        },
        settings=settings.public(),
        stats_interval=settings.stats_interval,
    )


async def _announce(receiving: Receiving, output: Output) -> None:
    """Say `online` once frames are heard: a new session gets nothing from before."""
    await receiving.connection.wait_connected()
    output.connection.announce()


async def _report_ready(engines: Sequence[Engine], on_ready: Callable[[], None]) -> None:
    while not any(engine.capacity for engine in engines):  # noqa: ASYNC110 - once
        await asyncio.sleep(0.05)
    with contained("nobody hears that the service is ready"):
        on_ready()


def _greet(settings: Settings) -> None:
    mqtt, model = settings.mqtt, settings.model
    logger.info(
        "moondream2mqtt %s: broker %s:%d, topics below %s, model %s %s on %s",
        VERSION,
        mqtt.host,
        mqtt.port,
        mqtt.base_topic,
        model.name,
        model.revision,
        model.device,
        extra={"action": "service_started"},
    )


def _warn(settings: Settings) -> None:
    """Say what limps with these settings; `doctor` says the same."""
    with contained("the settings cannot be looked through"):
        for doubt in doubts(settings):
            logger.warning("%s", doubt, extra={"action": "setting_doubted"})


def _log_stopping(queue: Queue) -> None:
    """What becomes of the jobs that are here."""
    num_running, num_waiting = queue.dispatcher.num_running, len(queue.jobs)
    finish = "1 job finishes" if num_running == 1 else f"{num_running} jobs finish"
    wait = f", {num_waiting} wait for the next start" if num_waiting else ""
    rest = f": {finish}{wait}" if num_running or num_waiting else ""
    logger.info("stopping%s", rest, extra={"action": "service_stopping"})


def _first(group: BaseExceptionGroup[BrokerError]) -> BrokerError:
    """The error that came first; blocks within blocks have put it into groups within groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
