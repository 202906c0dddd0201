"""A request that asks about pictures, whichever interface it speaks."""

import time
from typing import Any

from fastapi import Request

from gateway.access import TheAsker, TheBackend, TheOptions
from gateway.asking import frame_of
from gateway.backend import Frame
from schemas.result import ResultDocument

_LEAST_S = 0.1  # of a picture that comes after others


class PictureCall:
    """One request, from what it asks to its answer; each interface adds how both are said.

    Attributes:
        request: Of the caller.
        backend: The service.
        asker: Asks about a picture.
        options: Limits.
        began: When the request came, on `time.monotonic`.
    """

    def __init__(
        self, request: Request, backend: TheBackend, asker: TheAsker, options: TheOptions
    ) -> None:
        self.request = request
        self.backend = backend
        self.asker = asker
        self.options = options
        self.began = time.monotonic()

    async def ask_each(
        self, pictures: list[str | bytes], fields: dict[str, Any]
    ) -> list[ResultDocument]:
        """Ask the same about each picture, one after the other, all within the time for one.

        Args:
            pictures: As in `frame_of`; none is left in the list.
            fields: Of the frames.

        Raises:
            Problem: One of them has no answer.
        """
        ends = self.began + self.options.timeout_s
        documents = []
        while pictures:
            left_s = max(_LEAST_S, ends - time.monotonic())
            documents.append(
                await self.asker.ask(self.request, self.frame_of_next(pictures, fields), left_s)
            )
        return documents

    def frame_of_next(self, pictures: list[str | bytes], fields: dict[str, Any]) -> Frame:
        """Of the first picture, which is taken out: whoever asks about it does not keep it."""
        return frame_of(pictures.pop(0), fields, self.request, self.options)
