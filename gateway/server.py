"""uvicorn as a task beside others: no signal handlers, no log of its own, a port that is told."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn

from gateway.guard.asgi import App
from gateway.guard.connections import Connections
from gateway.guard.protocol import GuardedProtocol, Patience

_GRACE_S = 3  # for answers under way when it ends
_LAST_S = 0.5  # for those that then hear that it ends
_AT_ONCE = 128  # connections that are taken in one round of the event loop
_PATIENCE = Patience()
_IDLE_S = 30  # without a request on a connection


class _Server(uvicorn.Server):
    """Leaves signals to the service."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def listen(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to.

    Raises:
        OSError: The address is not this machine's, or is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    is_both = host == "::" and socket.has_dualstack_ipv6()
    listener = socket.create_server(
        (host, port), family=family, backlog=_AT_ONCE, dualstack_ipv6=is_both
    )
    # What it accepts inherits this. asyncio sets it for sockets that it makes itself; without it an
    # answer waits 40 ms for the client's acknowledgement of its headers.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def listening(host: str, port: int) -> AsyncIterator[socket.socket]:
    """Listen while the block lasts; in a thread, because a resolver may take its time over a name.

    Raises:
        OSError: The address is not this machine's, or is in use.
    """
    opened: list[socket.socket] = []
    is_over = threading.Event()

    def open_it() -> None:
        opened.append(listen(host, port))
        if is_over.is_set():  # cancelled meanwhile: nobody else knows of it
            opened[0].close()

    try:
        await asyncio.to_thread(open_it)
        yield opened[0]
    finally:
        is_over.set()
        for listener in opened:
            listener.close()


@asynccontextmanager
async def serving(
    app: App,
    listener: socket.socket,
    patience: Patience = _PATIENCE,
    end: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator["asyncio.Task[None]"]:
    """Answer requests while the block lasts; those under way get a few seconds at its end.

    Yields what answers, which is done early only after an error. The listener is closed at the end.

    Args:
        app: Answers.
        listener: See `listen`.
        patience: With callers.
        end: Lets those that wait longer hear that it ends; what follows events is cut.
    """
    config = uvicorn.Config(
        app,
        http=partial(GuardedProtocol, Connections(), patience),  # type: ignore[arg-type]
        log_config=None,
        log_level="error",  # a line for each request that is none would be anybody's to write
        access_log=False,
        proxy_headers=False,  # who calls is the guard's to say
        timeout_keep_alive=_IDLE_S,
        lifespan="off",
        ws="none",
        backlog=_AT_ONCE,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S + 2,
    )
    server = _Server(config)
    answering = asyncio.create_task(server.serve([listener]), name="http")
    try:
        yield answering
    finally:
        try:
            server.should_exit = True
            await asyncio.wait([answering], timeout=_GRACE_S)
            if end is not None and not answering.done():
                await end()
                await asyncio.wait([answering], timeout=_LAST_S)
            for connection in list(server.server_state.connections):  # a page that follows events
                connection.transport.abort()
            await asyncio.wait([answering])
        finally:  # uvicorn closes it only where it has started, and has ended by itself
            for each in getattr(server, "servers", ()):
                each.close()
            listener.close()
