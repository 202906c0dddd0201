"""The ASGI application: every group of routes, and how problems are said."""

from collections.abc import Sequence

from fastapi import APIRouter, FastAPI, Request, Response

from gateway.asking import Asker
from gateway.backend import Backend
from gateway.guard.asgi import App
from gateway.guard.callers import Callers
from gateway.guard.guard import BodyGone, Guard
from gateway.options import GatewayOptions
from gateway.problems import Problem, answer_problem
from gateway.routes import login, state

_ROUTERS: Sequence[APIRouter] = (state.router, login.router)


class _Application(FastAPI):
    """Routes behind the guard, which also sees what goes wrong in them."""

    def build_middleware_stack(self) -> App:
        """See `Guard`."""
        return Guard(super().build_middleware_stack(), self.state.options, self.state.callers)


def make_app(backend: Backend, options: GatewayOptions) -> FastAPI:
    """Everything that is answered over HTTP.

    Args:
        backend: The service.
        options: Limits, and who may.
    """
    app = _Application(
        title="moondream2mqtt", version=options.version, docs_url=None, redoc_url=None
    )
    app.state.backend = backend
    app.state.options = options
    app.state.callers = Callers(options)
    app.state.asker = Asker(backend, options)
    for router in _ROUTERS:
        app.include_router(router)
    app.add_exception_handler(Problem, answer_problem)  # type: ignore[arg-type]
    app.add_exception_handler(BodyGone, _answer_nobody)
    return app


def _answer_nobody(_request: Request, _gone: Exception) -> Response:
    """What a route would say whose caller has had its answer, or has gone."""
    return Response(status_code=400)
