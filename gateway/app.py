"""The ASGI application: every group of routes, and how problems are said."""

from collections import Counter
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.metrics.requests import CountRequests
from gateway.moondream import skills as moondream
from gateway.ollama import asking as ollama_asking
from gateway.ollama import models as ollama_models
from gateway.options import GatewayOptions
from gateway.problems import handle_problems
from gateway.routes import metrics, state
from gateway.station import figures as station_figures
from gateway.station import models as station_models
from gateway.station import vision as station_vision

_ROUTERS: Sequence[APIRouter] = (
    state.router,
    metrics.router,
    moondream.router,
    ollama_asking.router,
    ollama_models.router,
    station_figures.router,
    station_models.router,
    station_vision.router,
)


def make_app(backend: Backend, options: GatewayOptions) -> FastAPI:
    """Everything that is answered over HTTP.

    Args:
        backend: The service.
        options: Limits, and who may.
    """
    app = FastAPI(title="moondream2mqtt", version=options.version, docs_url=None, redoc_url=None)
    app.state.backend = backend
    app.state.options = options
    app.state.asker = Asker(backend, options)
    app.state.request_counts = counts = Counter[tuple[str, str]]()
    app.add_middleware(CountRequests, counts=counts)
    for router in _ROUTERS:
        app.include_router(router)
    handle_problems(app)
    return app
