"""The gateway at the stages: what it is told of the service, and when it listens."""

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

from gateway.app import make_app
from gateway.options import GatewayOptions
from gateway.server import listen, serving
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
from service.web.news import NewsFeed
from service.web.readiness import Readiness
from service.web.readings import ServiceReadings

logger = logging.getLogger(__name__)


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
) -> AsyncIterator[None]:
    """Requests over HTTP are answered while the block lasts, if they are wanted.

    Raises:
        ConfigurationError: The address cannot be listened on.
    """
    settings = base.settings
    if not settings.http.enabled:
        yield
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
    try:
        listener = listen(settings.http.host, settings.http.port)
    except OSError as error:
        where = f"{settings.http.host} port {settings.http.port}"
        raise ConfigurationError(f"http.port: cannot listen on {where}: {error}") from error
    host, port = listener.getsockname()[:2]
    logger.info("HTTP on http://%s:%d/", host, port, extra={"action": "http_started"})
    app = make_app(backend, gateway_options(settings), feed.news)
    try:
        async with running() as tasks, serving(app, listener):
            feed.follow(output.publisher, store.outbox, delivery.cameras)
            await once_there_is_room(feed.load, base.stop)
            tasks.start("http-news", feed.run)
            try:
                yield
            finally:
                feed.news.close()  # or its readers would hold up the end
    finally:
        await app.state.asker.close()
        await asking.settle()


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
