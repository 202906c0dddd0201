"""Real HTTP receivers on 127.0.0.1: well-behaved, slow and hostile ones, and what reached them."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, Self

import httpcore


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came off the wire; header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[[Request, asyncio.StreamWriter], Awaitable[None]]


def answers(status: int, headers: str = "", body: bytes = b"ok") -> Behaviour:
    """Answers at once; `headers` is lines that end in CR LF."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} Whatever\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        await writer.drain()

    return behave


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """The first request gets the first behaviour; the last one repeats."""
    left = list(behaviours)

    async def behave(request: Request, writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(request, writer)

    return behave


async def drips_head(_: Request, writer: asyncio.StreamWriter) -> None:
    """One byte of the head every 50 ms, for ever: no step of the exchange ever times out."""
    writer.write(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def drips_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """Says 503 and then one byte of the body every 50 ms, for ever."""
    writer.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 1000000\r\n\r\n")
    while True:
        writer.write(b"a")
        await writer.drain()
        await asyncio.sleep(0.05)


async def sends_endless_body(_: Request, writer: asyncio.StreamWriter) -> None:
    """A gigabyte, as fast as it is taken."""
    writer.write(b"HTTP/1.1 500 Oh\r\nContent-Length: 1073741824\r\n\r\n")
    while True:
        writer.write(b"a" * 65536)
        await writer.drain()


async def sends_endless_head(_: Request, writer: asyncio.StreamWriter) -> None:
    """Headers without end."""
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: " + b"a" * 4000 + b"\r\n")
        await writer.drain()


def hints(count: int, behave: Behaviour) -> Behaviour:
    """Says 103 so many times before it answers."""

    async def hint(request: Request, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * count)
        await behave(request, writer)

    return hint


def breaks_tls(when: Literal["head", "body"]) -> Behaviour:
    """Sends a record that nobody can decrypt, in place of the answer or in the middle of it."""

    async def behave(_: Request, writer: asyncio.StreamWriter) -> None:
        if when == "body":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"a" * 10)
            await writer.drain()
        descriptor = writer.get_extra_info("socket").fileno()  # below TLS
        os.write(descriptor, b"\x17\x03\x03\x00\x40" + b"?" * 0x40)
        await asyncio.sleep(3600)

    return behave


async def says_nothing(_: Request, writer: asyncio.StreamWriter) -> None:
    """Takes the request and never answers."""
    await asyncio.sleep(3600)


class Receiver:
    """An HTTP server that remembers what it was sent.

    Attributes:
        behave: What it does with a request; may be changed at any time.
        requests: In order of arrival.
        num_connections: Accepted so far.
        most_at_once: Largest number of requests in progress together.
    """

    def __init__(self, behave: Behaviour | None = None, *, ssl_context: Any = None) -> None:
        self.behave = behave or answers(200)
        self.requests: list[Request] = []
        self.num_connections = 0
        self.most_at_once = 0
        self.port = 0
        self._ssl_context = ssl_context
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._arrived = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen; again on the same port after a stop."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, ssl=self._ssl_context
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse new connections and end the open ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def wait_for(self, count: int, timeout_s: float = 10.0) -> None:
        """Wait until so many requests have come."""
        async with asyncio.timeout(timeout_s), self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.most_at_once = max(self.most_at_once, len(self._tasks))
        try:
            request = await _read_request(reader)
            async with self._arrived:
                self.requests.append(request)
                self._arrived.notify_all()
            await self.behave(request, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the sender has left, or the test has ended
        finally:
            self._tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, target, _ = head[0].split(" ")
    pairs = (line.split(": ", 1) for line in head[1:] if line)
    headers = {name.lower(): value for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body)


@dataclass
class WatchedBackend(httpcore.AsyncNetworkBackend):
    """Makes real connections and counts them and the bytes that came back.

    Attributes:
        detours: An address to connect to in place of another: stands in for the Internet.
    """

    detours: dict[str, str] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    received: list[int] = field(default_factory=list)  # per connection

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        self.asked.append(host)
        stream = await httpcore.AnyIOBackend().connect_tcp(
            self.detours.get(host, host), port, timeout, local_address, socket_options
        )
        self.received.append(0)
        return _WatchedStream(stream, self.received, len(self.received) - 1)


class _WatchedStream(httpcore.AsyncNetworkStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, received: list[int], index: int) -> None:
        self._inner = inner
        self._received = received
        self._index = index

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        data = await self._inner.read(max_bytes, timeout)
        self._received[self._index] += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(self, *args: Any, **kwargs: Any) -> httpcore.AsyncNetworkStream:
        return await self._inner.start_tls(*args, **kwargs)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


@dataclass
class Lag:
    """How late the event loop was at most."""

    seconds: float = 0.0


@contextlib.asynccontextmanager
async def worst_lag() -> AsyncIterator[Lag]:
    """Measure how long the event loop leaves a task waiting that is due every 5 ms."""
    lag = Lag()

    async def tick() -> None:
        while True:
            due = time.perf_counter() + 0.005
            await asyncio.sleep(0.005)
            lag.seconds = max(lag.seconds, time.perf_counter() - due)

    ticking = asyncio.create_task(tick(), name="lag")
    try:
        yield lag
        await asyncio.sleep(0.01)
    finally:
        ticking.cancel()
