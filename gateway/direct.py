"""Routes that are asked many times a second, reached without the framework's way to them.

FastAPI tries one route after another and solves each one's dependencies, which takes longer than
handing a frame over. The routes stay in its list too: they are described from there.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from fastapi import Request, Response

from gateway.guard.asgi import App, Receive, Scope, Send
from gateway.problems import Problem, answer_problem

#: Answers a request by itself; what else it needs stands at `request.app.state`.
Endpoint = Callable[[Request], Awaitable[Response]]
#: By method and path.
Endpoints = Mapping[tuple[str, str], Endpoint]


@dataclass(frozen=True, slots=True)
class _Route:
    """What a scope says of the route that answers, as the framework's own routes do."""

    path: str
    endpoint: Endpoint


class Direct:
    """An ASGI application in front of another.

    Args:
        app: Answers whatever is not in the table.
        endpoints: Of routes without parameters in their path.
    """

    def __init__(self, app: App, endpoints: Endpoints) -> None:
        self._app = app
        self._routes = {
            (method, path): _Route(path, endpoint) for (method, path), endpoint in endpoints.items()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on."""
        route = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"] = route
        request = Request(scope, receive)
        try:
            response = await route.endpoint(request)
        except Problem as problem:
            response = answer_problem(request, problem)
        await response(scope, receive, send)
