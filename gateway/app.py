"""The ASGI application: every group of routes, and how problems are said."""

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.direct import Direct, Endpoints
from gateway.guard.asgi import App, Receive, Scope, Send
from gateway.guard.callers import Callers
from gateway.guard.guard import BodyGone, Guard
from gateway.heads import Heads
from gateway.metrics.requests import CountRequests
from gateway.moondream import skills as moondream
from gateway.news import News
from gateway.ollama import asking as ollama_asking
from gateway.ollama import models as ollama_models
from gateway.openai import chat as openai_chat
from gateway.openai import models as openai_models
from gateway.options import GatewayOptions
from gateway.pictures import Pictures
from gateway.problems import Contained, handle_problems
from gateway.routes import (
    batches,
    cameras,
    captions,
    docs,
    elsewhere,
    events,
    frames,
    jobs,
    login,
    media,
    metrics,
    model,
    page,
    pictures,
    queue,
    state,
)
from gateway.station import figures as station_figures
from gateway.station import models as station_models
from gateway.station import vision as station_vision

_ROUTERS: Sequence[APIRouter] = (
    state.router,
    login.router,
    metrics.router,
    events.router,
    frames.router,
    jobs.router,
    queue.router,
    batches.router,
    cameras.router,
    model.router,
    media.router,
    elsewhere.router,
    docs.router,
    page.router,
    captions.router,
    pictures.router,
    openai_chat.router,
    openai_models.router,
    moondream.router,
    ollama_asking.router,
    ollama_models.router,
    station_figures.router,
    station_models.router,
    station_vision.router,
)

#: Answered without the framework between the guard and the endpoint.
_DIRECT: Endpoints = {
    ("POST", "/motion/detect"): frames.detect_motion,
    ("POST", "/motion/detect-with-webhook"): frames.detect_motion,
    ("GET", "/queue/stats"): queue.stats,
}


#: What the framework would tell others of requests and errors, where OpenTelemetry is set up around
#: it; versions that know nothing of it keep this as a name that means nothing.
_TELLS_NOBODY: Any = dict.fromkeys(
    ("tracing", "metrics", "logs", "operation_spans", "auto_configure"), False
)


class _Application(FastAPI):
    """Routes behind the guard, which also sees what goes wrong in them."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see `Guard`, what it refuses is counted too."""
        scope["app"] = self
        await self._guarded(scope, receive, send)

    @cached_property
    def _guarded(self) -> App:
        routes = Contained(Heads(Direct(super().__call__, _DIRECT)))
        guard = Guard(routes, self.state.options, self.state.callers)
        return CountRequests(guard, self.state.request_counts)


def make_app(
    backend: Backend,
    options: GatewayOptions,
    news: News | None = None,
    images: Pictures | None = None,
) -> FastAPI:
    """Everything that is answered over HTTP.

    Args:
        backend: The service.
        options: Limits, and who may.
        news: What happens; None: nobody tells.
        images: Of cameras and jobs; None: nobody.
    """
    app = _Application(
        title="moondream2mqtt",
        version=options.version,
        openapi_url=None,  # `gateway.routes.docs` has its own, and a page
        redirect_slashes=False,  # to an absolute address, which a proxy's https and path are not in
        telemetry=_TELLS_NOBODY,
        servers=[{"url": "."}],  # wherever this is read, also below another server's path
    )
    app.state.backend = backend
    app.state.options = options
    app.state.news = news
    app.state.callers = Callers(options)
    app.state.pictures = images
    app.state.asker = Asker(backend, options)
    app.state.request_counts = Counter[tuple[str, str]]()
    for router in _ROUTERS:
        app.include_router(router)
    handle_problems(app)
    app.add_exception_handler(BodyGone, _answer_nobody)
    return app


def _answer_nobody(_request: Request, _gone: Exception) -> Response:
    """What a route would say whose caller has had its answer, or has gone."""
    return Response(status_code=400)
