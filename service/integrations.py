"""Other systems at the stages: triggers, Frigate, Home Assistant, HTTP, each where it is wanted."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from gateway.app import make_app
from gateway.options import GatewayOptions
from gateway.server import listen, serving
from service.delivery.documents import Documents
from service.errors import ConfigurationError
from service.homeassistant.bridge import BridgeFacts
from service.homeassistant.discovery import Discovery
from service.homeassistant.facts import FactsWatch
from service.homeassistant.updates import UpdateCheck
from service.homeassistant.wanted import WantedDevices
from service.operations.asking import Asking
from service.operations.operations import Operations
from service.settings import Settings
from service.sources.frigate.following import Following, follow, read_snapshots
from service.sources.home_assistant import BirthMessages
from service.sources.source import Source
from service.sources.triggers import TriggerTopics
from service.stages import (
    VERSION,
    Base,
    Delivery,
    Entrance,
    Output,
    Queue,
    make_fetcher,
    once_there_is_room,
)
from service.store.store import Store
from service.tasks import running
from service.triggers.bursts import Bursts
from service.triggers.present import PresentPictures
from service.triggers.scrutiny import Scrutiny
from service.triggers.snapshots import Snapshots
from service.triggers.triggers import Triggers
from service.web.backend import ServiceBackend
from service.web.news import NewsFeed
from service.web.pictures import ServicePictures
from service.web.shrinking import Shrinker

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Triggering:
    """Pictures that are taken when a message says so, or by the clock."""

    source: TriggerTopics
    triggers: Triggers
    pictures: PresentPictures


def make_triggers(base: Base, delivery: Delivery, entrance: Entrance) -> Triggering:
    """Nothing of it runs yet.

    Raises:
        ConfigurationError: A certificate authority that a trigger names cannot be read.
    """
    settings, cameras = base.settings.triggers, delivery.cameras
    snapshots = Snapshots(settings, base.limits, base.clock, VERSION)
    bursts = Bursts(snapshots, Scrutiny(base.limits), cameras)
    triggers = Triggers(settings, bursts, entrance.intake.submit, cameras, base.clock)
    pictures = PresentPictures(make_fetcher(base, delivery), snapshots, triggers)
    source = TriggerTopics(base.topics, settings, triggers, entrance.names)
    return Triggering(source, triggers, pictures)


def make_following(
    base: Base, store: Store, delivery: Delivery, queue: Queue, entrance: Entrance
) -> Following | None:
    """Frigate as a source, if it is one."""
    settings, names, clock, api = base.settings, entrance.names, base.clock, delivery.frigate
    if not settings.frigate.enabled:
        return None
    if api is None:
        return read_snapshots(settings, store, names, clock)
    intake, deliver = entrance.intake, delivery.deliver
    return follow(settings, store, intake, queue.jobs, deliver, names, api, clock)


@asynccontextmanager
async def open_home_assistant(
    base: Base, store: Store, output: Output, delivery: Delivery, queue: Queue
) -> AsyncIterator[Sequence[Source]]:
    """What Home Assistant knows follows the cameras; yields who hears Home Assistant."""
    settings, cameras = base.settings.homeassistant, delivery.cameras
    facts = BridgeFacts(VERSION, gpus=(), models=(), check_updates=settings.check_updates)
    wanted = WantedDevices(settings, base.topics, cameras, facts)
    discovery = Discovery(wanted, store.discovery, delivery.mqtt, base.clock)
    watch = FactsWatch(
        wanted, queue.models, base.settings.model, base.read_gpus, discovery.look_at_bridge
    )

    async def follow() -> None:
        await watch.look()
        await discovery.run()

    async with running() as tasks:
        if not settings.enabled:  # what was published before is taken back
            tasks.start("homeassistant", discovery.run)
            yield ()
            return
        cameras.subscribe(discovery.look_at_camera)
        output.on_connect.append(discovery.connected)
        if output.connection.is_connected:
            discovery.connected(output.connection.state)
        tasks.start("homeassistant", follow)
        tasks.start("homeassistant-facts", watch.run)
        if settings.check_updates and settings.updates_url is not None:
            updates = UpdateCheck(settings.updates_url, VERSION, delivery.http, output.publisher)
            tasks.start("homeassistant-updates", updates.run)
        yield (BirthMessages(settings.birth_topic, settings.status_online, discovery.greet),)


@asynccontextmanager
async def open_gateway(
    base: Base,
    store: Store,
    output: Output,
    delivery: Delivery,
    queue: Queue,
    entrance: Entrance,
    operations: Operations,
    asking: Asking,
) -> AsyncIterator[None]:
    """Requests over HTTP are answered while the block lasts, if they are wanted.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    settings = base.settings
    if not settings.http.enabled:
        yield
        return
    backend = ServiceBackend(
        operations,
        asking,
        entrance.intake.submit,
        queue.jobs,
        store,
        Documents(base.topics),
        settings.frames.max_bytes,
        base.clock,
    )
    try:
        listener = listen(settings.http.host, settings.http.port)
    except OSError as error:
        where = f"{settings.http.host} port {settings.http.port}"
        raise ConfigurationError(f"http.port: cannot listen on {where}: {error}") from error
    host, port = listener.getsockname()[:2]
    logger.info("HTTP on http://%s:%d/", host, port, extra={"action": "http_started"})
    feed = NewsFeed(base.topics, delivery.cameras, store, base.clock)
    shrinker = Shrinker(base.limits)
    pictures = ServicePictures(feed, store, shrinker, base.limits)
    app = make_app(backend, gateway_options(settings), feed.news, pictures)
    async with running() as tasks, serving(app, listener):
        feed.follow(output.publisher, store.outbox, delivery.cameras)
        await once_there_is_room(feed.load, base.stop)
        tasks.start("http-news", feed.run)
        try:
            yield
        finally:
            feed.news.close()  # or its readers would hold up the end
            await shrinker.close()


def gateway_options(settings: Settings) -> GatewayOptions:
    """What the gateway needs to know of the settings."""
    http = settings.http
    return GatewayOptions(
        host=http.host,
        port=http.port,
        max_image_bytes=settings.frames.max_bytes,
        max_in_flight=http.max_in_flight,
        images=http.images,
        timeout_s=http.timeout,
        version=VERSION,
        model_name=settings.model.name,
        model_revision=settings.model.revision,
        token=http.token.get_secret_value() if http.token else None,
        allowed_hosts=http.allowed_hosts,
        keyless_networks=http.keyless_networks,
        cors_origins=http.cors_origins,
        camera_id=http.camera,
    )
