"""A response that never ends by itself: server-sent events, as long as somebody reads them."""

import asyncio
from collections.abc import Callable

from fastapi import Response

from gateway.guard.aborting import ABORT
from gateway.guard.asgi import Receive, Scope, Send, until_hung_up
from gateway.news import News, Reader, Which

_SILENCE_S = 15.0  # proxies end what says nothing for a minute
_SEND_S = 60.0  # what is sent has to be read within it
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Accel-Buffering": "no",  # nginx would keep it back
}


class EventStream(Response):
    """Follows the news until the client goes, falls behind, or what it asked for has ended.

    Args:
        news: What is followed.
        which: What of it.
        last_event_id: The last event that the client has seen.
        silence_s: After so much of it a comment is sent.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        news: News,
        which: Which,
        last_event_id: str | None,
        silence_s: float = _SILENCE_S,
    ) -> None:
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._news = news
        self._which = which
        self._last_event_id = last_event_id
        self._silence_s = silence_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer; see ASGI."""
        abort = scope.get("extensions", {}).get(ABORT, _nothing)
        with self._news.reader(self._which, abort) as reader:
            telling = asyncio.create_task(self._tell(reader, send, abort))
            leaving = asyncio.create_task(until_hung_up(receive))
            try:
                await asyncio.wait({telling, leaving}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                leaving.cancel()
                telling.cancel()
                await asyncio.wait({telling, leaving})
        if not telling.cancelled() and (error := telling.exception()) is not None:
            raise error

    async def _tell(self, reader: Reader, send: Send, abort: Callable[[], None]) -> None:
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        piece: bytes | None = await reader.begin(self._last_event_id)
        while piece is not None:
            try:
                async with asyncio.timeout(_SEND_S):
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            except TimeoutError:
                break
            piece = await reader.next(self._silence_s)
        else:
            if not reader.is_behind:
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                return
        abort()
        await asyncio.Event().wait()  # until the connection is gone


def _nothing() -> None:
    """Where the server has no way to end a connection."""
