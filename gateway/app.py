"""The ASGI application: every group of routes, and how problems are said."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.news import News
from gateway.options import GatewayOptions
from gateway.pictures import Pictures
from gateway.problems import Problem, answer_problem
from gateway.routes import captions, events, pictures, state

_ROUTERS: Sequence[APIRouter] = (
    state.router,
    events.router,
    captions.router,
    pictures.router,
)


def make_app(
    backend: Backend,
    options: GatewayOptions,
    news: News | None = None,
    has_pictures: Pictures | None = None,
) -> FastAPI:
    """Everything that is answered over HTTP.

    Args:
        backend: The service.
        options: Limits, and who may.
        news: What happens; None: nobody tells.
        has_pictures: Of cameras and jobs; None: nobody.
    """
    app = FastAPI(title="moondream2mqtt", version=options.version, docs_url=None, redoc_url=None)
    app.state.backend = backend
    app.state.options = options
    app.state.news = news
    app.state.pictures = has_pictures
    app.state.asker = Asker(backend, options)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, answer_problem)  # type: ignore[arg-type]
    return app
