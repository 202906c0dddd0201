"""A way to end a connection whose client does not read."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.guard.asgi import Receive, Scope, Send

#: Of the scope's extensions: ends a connection at once, whatever has not been read of it.
ABORT = "moondream2mqtt.abort"


class AbortableHttp(HttpToolsProtocol):
    """uvicorn's protocol, with a way to end a connection whose client does not read.

    Without one, what has been written waits for such a client until the system gives up.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        super().connection_made(transport)
        app = self.app

        async def abortable(scope: Scope, receive: Receive, send: Send) -> None:
            scope.setdefault("extensions", {})[ABORT] = transport.abort
            await app(scope, receive, send)

        self.app = abortable
