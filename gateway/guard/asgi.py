"""The shapes of ASGI, as its specification gives them, and the one wait that all need."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def until_hung_up(receive: Receive) -> None:
    """Return once the caller has closed its connection; the body has been read before."""
    while (await receive())["type"] != "http.disconnect":
        pass
