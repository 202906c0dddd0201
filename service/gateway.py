"""The gateway at the stages: what it is told of the service, and when it listens."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from gateway.app import make_app
from gateway.news import News
from gateway.options import GatewayOptions
from gateway.server import listening, serving
from service.delivery.documents import Documents
from service.errors import ConfigurationError
from service.monitor import Monitor
from service.operations.asking import Asking, Hanging
from service.operations.cancel import Cancellation
from service.operations.operations import Operations
from service.parts import Engine
from service.settings import Settings
from service.stages import VERSION, Base, Delivery, Entrance, Output, Queue, once_there_is_room
from service.store.store import Store
from service.tasks import running
from service.web.backend import ServiceBackend
from service.web.frames import HttpFrames
from service.web.listening import Listening
from service.web.news import NewsFeed
from service.web.pictures import ServicePictures
from service.web.readiness import Readiness
from service.web.readings import ServiceReadings
from service.web.shrinking import Shrinker
from service.web.token import token_file, token_of

logger = logging.getLogger(__name__)

_SUPERVISOR = "172.30.32.2"  # of Home Assistant; elsewhere the address may be anybody's


@asynccontextmanager
async def open_gateway(
    base: Base,
    store: Store,
    output: Output,
    delivery: Delivery,
    queue: Queue,
    engines: Sequence[Engine],
    entrance: Entrance,
    monitor: Monitor,
    operations: Operations,
) -> AsyncIterator[Listening | None]:
    """Requests over HTTP are answered while the block lasts, if they are wanted."""
    settings = base.settings
    if not settings.http.enabled:
        yield None
        return
    cancellation = Cancellation(delivery.deliver, queue.places)
    hanging = Hanging("http", cancellation, queue.dispatcher.partials)
    asking = Asking(entrance.intake.submit, delivery.deliver.ends, store, hanging)
    frames = HttpFrames(
        asking,
        partial(entrance.intake.submit, until_queued=True),
        queue.jobs,
        store,
        Documents(base.topics),
        Readiness(engines, queue.jobs, base.clock),
        settings.frames.max_bytes,
        base.clock,
    )
    readings = _readings(base, output, delivery, queue, monitor)
    feed = NewsFeed(base.topics, delivery.cameras, store, base.clock)
    backend = ServiceBackend(operations, frames, readings)
    shrinker = Shrinker(base.limits)
    pictures = ServicePictures(feed, store, shrinker, base.limits)
    async with running() as tasks:
        gateway = Listening(lambda: _answering(settings, backend, feed.news, pictures))
        feed.follow(output.publisher, store.outbox, delivery.cameras)
        await once_there_is_room(feed.load, base.stop)
        tasks.start("http-news", feed.run)
        tasks.start("http", gateway.run)
        try:
            yield gateway
        finally:
            feed.news.close()  # or its readers would hold up the end
            tasks.cancel()
            await shrinker.close()
    await asking.settle()


@asynccontextmanager
async def _answering(
    settings: Settings, backend: ServiceBackend, news: News, pictures: ServicePictures
) -> AsyncIterator["asyncio.Task[None]"]:
    """Listen and answer while the block lasts.

    Raises:
        ConfigurationError, StoreFullError: The address cannot be listened on, or there is no token.
    """
    token, _ = token_of(settings)
    async with AsyncExitStack() as stack:
        try:
            address = listening(settings.http.host, settings.http.port)
            listener = await stack.enter_async_context(address)
        except OSError as error:
            where = f"{settings.http.host} port {settings.http.port}"
            raise ConfigurationError(f"http.port: cannot listen on {where}: {error}") from error
        host, port = listener.getsockname()[:2]
        url = f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"
        kept = "http.token" if settings.http.token else token_file(settings.data_dir)
        logger.info("HTTP on %s, its token in %s", url, kept, extra={"action": "http_started"})
        app = make_app(backend, gateway_options(settings, token), news, pictures)
        stack.push_async_callback(app.state.asker.close)
        serves = serving(app, listener, end=app.state.asker.close)
        yield await stack.enter_async_context(serves)


def _readings(
    base: Base, output: Output, delivery: Delivery, queue: Queue, monitor: Monitor
) -> ServiceReadings:
    return ServiceReadings(
        monitor,
        base.statistics,
        delivery.cameras,
        queue.jobs,
        delivery.webhooks.attempts,
        lambda: output.connection.is_connected,
        base.clock,
    )


def gateway_options(settings: Settings, token: str) -> GatewayOptions:
    """What the gateway needs to know of the settings.

    Args:
        settings: Everything.
        token: What callers show.
    """
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
        token=token,
        allowed_hosts=http.allowed_hosts,
        keyless_networks=http.keyless_networks,
        cors_origins=http.cors_origins,
        supervisor=_SUPERVISOR if "SUPERVISOR_TOKEN" in os.environ else None,
        camera_id=http.camera,
    )
