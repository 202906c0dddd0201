"""The ASGI application: every group of routes, and how problems are said."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.options import GatewayOptions
from gateway.problems import handle_problems
from gateway.routes import (
    batches,
    cameras,
    docs,
    elsewhere,
    frames,
    jobs,
    media,
    model,
    queue,
    state,
)

_ROUTERS: Sequence[APIRouter] = (
    state.router,
    frames.router,
    jobs.router,
    queue.router,
    batches.router,
    cameras.router,
    model.router,
    media.router,
    elsewhere.router,
    docs.router,
)


def make_app(backend: Backend, options: GatewayOptions) -> FastAPI:
    """Everything that is answered over HTTP.

    Args:
        backend: The service.
        options: Limits, and who may.
    """
    app = FastAPI(
        title="moondream2mqtt",
        version=options.version,
        openapi_url=None,  # `gateway.routes.docs` has its own, and a page
        servers=[{"url": "."}],  # wherever this is read, also below another server's path
    )
    app.state.backend = backend
    app.state.options = options
    app.state.asker = Asker(backend, options)
    for router in _ROUTERS:
        app.include_router(router)
    handle_problems(app)
    return app
