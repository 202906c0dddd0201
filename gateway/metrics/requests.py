"""How many requests were answered, by route and status code."""

from collections import Counter
from typing import Any

from gateway.guard.asgi import App, Message, Receive, Scope, Send

_NO_ROUTE = "none"


class CountRequests:
    """Counts what the application answers.

    A route is named by its pattern (`/queue/job/{job_id}`), never by the path that was asked for:
    whoever invents paths invents no series.

    Args:
        app: Answers.
        counts: By route and code; written here alone.
    """

    def __init__(self, app: App, counts: Counter[tuple[str, str]]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, and count the answer when it begins."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def count(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._counts[_route_of(scope), str(message["status"])] += 1
            await send(message)

        await self._app(scope, receive, count)


def _route_of(scope: Scope) -> str:
    route: Any = scope.get("route")
    return getattr(route, "path", None) or _NO_ROUTE
