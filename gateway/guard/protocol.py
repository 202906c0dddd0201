"""HTTP on one connection, within bounds that uvicorn does not set.

Headers that never end, bodies that nobody wants any more, requests that are sent and never read
back and readers that do not read each hold a connection or memory; here each gets its time.
"""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httptools

from gateway.guard.aborting import AbortableHttp
from gateway.guard.addresses import address_of, household
from gateway.guard.connections import Connections
from gateway.guard.lingering import LingeringTransport
from gateway.guard.versions import VERSIONS, answer_as_1_0, head_without_upgrade

_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
}
#: That brought neither a whole head nor a piece of a body: headers or trailers without end.
_MOST_UNREAD_BYTES = 16 << 10
#: Of a body, for a route that has not asked for it yet. A frame is at hand whole: to stop reading
#: and to begin again for each costs as much as reading it.
_READ_AHEAD_BYTES = 256 << 10
#: Requests that a caller sends without waiting for answers; beyond, it is not heard any more.
_MOST_PIPELINED = 256
#: Where very many wait on all connections together (each holds 3 KB), a caller may have so many.
_FEW_PIPELINED = 8
_NO_PATH = b"//"  #: the guard refuses it


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a caller is waited for."""

    headers_s: float = 15.0  #: for the line and headers of a request, and until the first begins
    #: What is left of a body whose request has had its answer is read for a moment, so that a
    #: client which writes first and reads afterwards hears the answer.
    leftover_s: float = 3.0
    leftover_bytes: int = 64 << 20
    #: A reader who takes less in this time is taken for one that does not read.
    reading_s: float = 30.0
    reading_bytes: int = 32 << 10
    #: Who sends no more has gone, or reads the answer yet: it gets what is ready by then. Together
    #: with the time that `gateway.asking` gives those who come back, a job ends within a second.
    half_closed_s: float = 0.15


class GuardedProtocol(AbortableHttp):
    """One connection.

    Args:
        all_connections: Of the server.
        patience: With its caller.
        arguments: Of uvicorn.
    """

    def __init__(self, all_connections: Connections, patience: Patience, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._all = all_connections
        self._patience = patience
        self._household = ""
        self._is_admitted = False
        self._is_idle = False
        self._headers_timer: asyncio.TimerHandle | None = None
        self._leftover_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._half_closed_timer: asyncio.TimerHandle | None = None
        self._leftover_bytes = 0
        self._unread_bytes = 0  #: since the parser last told something
        self._is_in_body = False  #: the parser is, of the request that came last
        self._is_over = False  #: what still comes is not looked at
        self._num_pipelined = 0  #: counted among those of all connections
        self._refusal: tuple[int, str] | None = None  #: to be said once all before has its answer
        self._answered: Any = None  #: uvicorn's exchange that runs; others wait in the pipeline

    # --- asyncio

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A caller has connected."""
        super().connection_made(LingeringTransport(transport, self))  # type: ignore[arg-type]
        self._household = household(address_of(self.client[0]) if self.client else None)
        self._is_admitted = self._all.admit(self, self._household)
        if not self._is_admitted:
            self._end_with(503, "Service Unavailable", "busy", "too many connections")
            return
        self._look()

    def connection_lost(self, exc: Exception | None) -> None:
        """It has ended."""
        for timer in (
            self._headers_timer,
            self._leftover_timer,
            self._reading_timer,
            self._half_closed_timer,
        ):
            if timer is not None:
                timer.cancel()
        if self._is_admitted:
            self._is_admitted = False
            self._all.forget(self, self._household)
        self._disconnect()
        self.pipeline.clear()
        self._count_pipelined()
        super().connection_lost(exc)
        self._unset_keepalive_if_required()

    def data_received(self, data: bytes) -> None:
        """Bytes of the caller."""
        if self._is_over or self._leftover_timer is not None:
            self._leftover_bytes += len(data)
            if self._leftover_bytes > self._patience.leftover_bytes:
                self._abort()
                return
        if self._is_over:
            return
        self._unset_keepalive_if_required()
        self._unread_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(400, "bad_request")
            return
        if self._unread_bytes > _MOST_UNREAD_BYTES:
            self._refuse(431, "header_too_large")
            return
        self._look()

    def eof_received(self) -> bool:  # type: ignore[override]
        """The caller sends no more; True: answers that are nearly there still reach it."""
        is_cut = self._is_in_body and self._refusal is None
        if is_cut or next(self._exchanges(), None) is None:
            return False
        if self._half_closed_timer is None:
            self.cycle.keep_alive = False
            self._half_closed_timer = self.loop.call_later(
                self._patience.half_closed_s, self.transport.close
            )
        return True

    def _feed(self, data: bytes) -> None:
        """Let the parser read; it stops where a caller asks for another protocol, which is none."""
        while data and not self._is_over:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                data = data[upgrade.args[0] :]
                if not self._is_over:
                    version = self.parser.get_http_version()
                    method = self.parser.get_method()
                    data = head_without_upgrade(method, self.url, version, self.headers) + data
            else:
                return

    def pause_writing(self) -> None:
        """The caller does not read as fast as it is answered."""
        super().pause_writing()
        self._watch_reading(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """It does again."""
        super().resume_writing()
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    # --- what the parser finds; what is raised here reaches `data_received` as its error

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; those that come behind a body are nobody's."""
        if not self._is_in_body:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A request begins."""
        if self._comes_again():
            return
        version = self.parser.get_http_version()
        if version not in VERSIONS:
            raise ValueError("another version of HTTP")
        if self._is_flooded():
            raise ValueError("too many requests at once")
        if not self.url.startswith(b"/"):
            self.url = _NO_PATH  # for CONNECT a host, for a proxy a URL, `*` for all
        super().on_headers_complete()
        self._unread_bytes = 0
        self._is_in_body = True
        self._count_pipelined()
        if not self.pipeline:
            self._answered = self.cycle
        if version == "1.0":
            answer_as_1_0(self.cycle)
        if self.parser.get_method() == b"CONNECT":
            self.cycle.keep_alive = False
            self._is_over = True  # whatever follows is for a host that is asked for

    def on_body(self, body: bytes) -> None:
        """A piece of a request's body."""
        self._unread_bytes = 0
        if self.cycle.response_complete:
            return
        self.cycle.body += body
        if len(self.cycle.body) > _READ_AHEAD_BYTES:
            self.flow.pause_reading()
        self.cycle.message_event.set()

    def _is_flooded(self) -> bool:
        most = _FEW_PIPELINED if self._all.are_too_many_pipelined else _MOST_PIPELINED
        return len(self.pipeline) >= most

    def _count_pipelined(self) -> None:
        self._all.num_pipelined += len(self.pipeline) - self._num_pipelined
        self._num_pipelined = len(self.pipeline)

    def _comes_again(self) -> bool:
        """Whether the parser has a request for another protocol; it comes again without that."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"

    def on_message_complete(self) -> None:
        """A request has come whole."""
        if self._comes_again():
            return
        self._unread_bytes = 0
        self._is_in_body = False
        super().on_message_complete()

    # --- uvicorn

    def on_response_complete(self) -> None:
        """A request has had its answer."""
        if self.pipeline:
            self._answered = self.pipeline[-1][0]
        super().on_response_complete()
        self._count_pipelined()
        if self.pipeline:
            self.flow.pause_reading()
        if self._refusal is not None and not self.transport.is_closing():
            self._refuse(*self._refusal)
        self._look()

    def close_idle(self) -> None:
        """Make room for others."""
        self._is_admitted = False
        self.timeout_keep_alive_handler()

    def _exchanges(self) -> Iterator[Any]:
        """Requests without their whole answer."""
        for each in (self._answered, *(cycle for cycle, _ in self.pipeline)):
            if each is not None and not each.response_complete:
                yield each

    def _disconnect(self) -> None:
        """Let whoever answers know that nobody hears it; uvicorn tells the last one alone."""
        for each in self._exchanges():
            each.disconnected = True
            each.message_event.set()

    def _refuse(self, status: int, code: str) -> None:
        """What came is no HTTP; requests that came whole before it have their answers first."""
        self._is_over = True
        broken = self.cycle if self._is_in_body else None
        if any(each is not broken for each in self._exchanges()) and not self._is_flooded():
            if self.pipeline and self.pipeline[0][0] is broken:
                self.pipeline.popleft()
                self._count_pipelined()
            self._refusal = (status, code)
            return
        is_answering = any(each.response_started for each in self._exchanges())
        self._disconnect()
        if is_answering:
            self.transport.close()  # in the middle of an answer: nothing can be said
        else:
            self._end_with(status, _PHRASES[status], code, "this is no HTTP/1.1")

    # --- time

    def _look(self) -> None:
        """Say whether the connection is idle, and start or stop what limits it."""
        if self.transport.is_closing() or not self._is_admitted:
            return
        is_answered = next(self._exchanges(), None) is None
        self._mark(is_idle=is_answered and not self._is_in_body)
        is_left_over = is_answered and self._is_in_body
        if is_left_over and any(name == b"expect" for name, _ in self.headers):
            self.transport.close()  # whether it still sends its body is not known
        elif is_left_over:
            self.wait_for_leftover()
        elif self._leftover_timer is not None:
            self._leftover_timer.cancel()
            self._leftover_timer = None

    def _mark(self, *, is_idle: bool) -> None:
        if is_idle:
            if self.timeout_keep_alive_task is None and self._headers_timer is None:
                self._headers_timer = self.loop.call_later(
                    self._patience.headers_s, self._headers_are_late
                )
        elif self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None
        if is_idle is not self._is_idle:
            self._is_idle = is_idle
            mark = self._all.mark_idle if is_idle else self._all.mark_busy
            mark(self, self._household)

    def _headers_are_late(self) -> None:
        if self.transport.is_closing():
            return
        if self._unread_bytes:
            self._end_with(408, _PHRASES[408], "too_slow", "the headers come too slowly")
        else:
            self.transport.close()

    def wait_for_leftover(self) -> None:
        """Read what is left of a body for a moment."""
        if self._leftover_timer is None:
            self._leftover_bytes = 0
            self._leftover_timer = self.loop.call_later(self._patience.leftover_s, self._abort)
            self.flow.resume_reading()

    def expects_body(self) -> bool:
        """Whether the caller is in the middle of a body."""
        return self._is_in_body

    def end(self) -> None:
        """Look at nothing that still comes."""
        self._is_over = True

    def _watch_reading(self, num_left: int) -> None:
        self._reading_timer = self.loop.call_later(
            self._patience.reading_s, self._look_at_reader, num_left
        )

    def _look_at_reader(self, num_before: int) -> None:
        num_left = self.transport.get_write_buffer_size()
        if num_before - num_left < self._patience.reading_bytes:
            self._abort()
        else:
            self._watch_reading(num_left)

    def _abort(self) -> None:
        self.transport.abort()

    def _end_with(self, status: int, phrase: str, code: str, message: str) -> None:
        """Say why, past uvicorn, which has no request to answer, and close."""
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        body = json.dumps({"error": error, "message": message}).encode()
        head = (
            f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nX-Content-Type-Options: nosniff\r\n"
            "Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self._is_over = True
        self.transport.close()
