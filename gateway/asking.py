"""A picture is asked about over HTTP: whoever waits for the answer, and may hang up meanwhile.

Every interface that answers at once (ours, Moondream's, OpenAI's, Ollama's) asks through here, so
that all of them keep the same rules.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any

from fastapi import Request

from gateway.backend import Backend, Frame
from gateway.options import GatewayOptions
from schemas.result import ResultDocument

_IS_URL = ("http://", "https://")


class Answering:
    """An answer under way: text while it is generated, then the result document.

    Attributes:
        document: The result, once `pieces` has ended.
    """

    def __init__(
        self, job: "asyncio.Task[ResultDocument]", texts: "asyncio.Queue[str | None]"
    ) -> None:
        self._job = job
        self._texts = texts
        self.document: ResultDocument | None = None

    async def pieces(self) -> AsyncIterator[str]:
        """The text of the first task, piece by piece; together they are what the result says.

        Raises:
            Problem: It failed after its first piece.
        """
        try:
            while (text := await self._texts.get()) is not None:
                yield text
            self.document = await self._job
        finally:
            self._job.cancel()


class Asker:
    """Asks on behalf of callers.

    Args:
        backend: Answers.
        options: Limits.
    """

    def __init__(self, backend: Backend, options: GatewayOptions) -> None:
        self._backend = backend
        self._options = options

    async def ask(
        self, request: Request, frame: Frame, timeout_s: float | None = None
    ) -> ResultDocument:
        """The result document of a picture; a caller that hangs up cancels its job.

        Args:
            request: Of the caller.
            frame: See `frame_of`.
            timeout_s: None: `http.timeout`.

        Raises:
            Problem: There is none, and why.
        """
        return await self._backend.ask(frame, timeout_s or self._options.timeout_s)

    async def begin(
        self, request: Request, frame: Frame, timeout_s: float | None = None
    ) -> Answering:
        """The same piece by piece.

        Returns with the first piece: a failure before it is a status code, not a broken stream.

        Raises:
            Problem: There will be none, and why.
        """
        document = await self.ask(request, frame, timeout_s)
        texts: asyncio.Queue[str | None] = asyncio.Queue()
        texts.put_nowait(first_text(document))
        texts.put_nowait(None)

        async def done() -> ResultDocument:
            return document

        return Answering(asyncio.create_task(done()), texts)


def first_text(document: ResultDocument) -> str:
    """What a result says to the first of its tasks: its caption or its first answer."""
    result = document.result
    if result is None:
        return ""
    return result.caption or (result.answers[0].answer if result.answers else "")


def frame_of(
    picture: str | bytes,
    fields: Mapping[str, Any],
    request: Request,
    options: GatewayOptions,
) -> Frame:
    """A frame of a request.

    Args:
        picture: Its bytes, base64 or a data URI of them, or an http(s) address, which has to be
            allowed by `fetch.allow_hosts`.
        fields: Of a `MotionFrame`; without `camera_id` it is asked in the name of `http.camera`.
        request: Names the origin.
        options: Name that camera.
    """
    said = {"camera_id": options.camera_id, **fields}
    origin = f"{request.method} {request.url.path}"
    if isinstance(picture, bytes):
        return Frame(said, origin, picture)
    if picture[:8].lower().startswith(_IS_URL):
        return Frame({**said, "frame_url": picture}, origin)
    return Frame(said, origin, picture.encode("ascii", "replace"))
