"""HEAD is answered as GET, without the body (RFC 9110, 9.3.2).

The framework's routes answer the methods that they name, and ours name GET. Whoever looks whether
something is there (monitors, proxies, link checkers) asks with HEAD.
"""

from starlette.requests import ClientDisconnect

from gateway.guard.asgi import App, Message, Receive, Scope, Send


class Heads:
    """An ASGI application in front of another, which is asked with GET in place of HEAD.

    A stream is ended before it begins: it would never end, and nobody reads it.

    Args:
        app: Answers.
    """

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or pass on.

        Raises:
            ClientDisconnect: What is answered is a stream, of which nobody hears more.
        """
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return
        # A copy: the server has to know that no body follows.
        asked: Scope = {**scope, "method": "GET"}

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                if "route" in asked:
                    scope["route"] = asked["route"]  # requests are counted by it
                await send(message)
                if _is_stream(message):
                    await send({"type": "http.response.body", "body": b""})
                    raise ClientDisconnect
            elif not message.get("more_body", False):
                await send({**message, "body": b""})

        await self._app(asked, receive, send_head)


def _is_stream(start: Message) -> bool:
    """Whether nobody knows yet how long the body will be."""
    return not any(name.lower() == b"content-length" for name, _ in start.get("headers", ()))
