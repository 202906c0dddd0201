"""`POST /v1/chat/completions`: a question about a picture, a schema to be filled, or just words.

The same without `/v1`: Frigate's documentation shows a base URL without it. Nothing is sent before
the first piece of text is there, so that what fails before is a status code.
"""

import json
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from gateway.access import TheAsker, TheBackend, TheOptions
from gateway.asking import Answering, first_text, frame_of
from gateway.backend import Frame
from gateway.chat.model import model_info, plain_name
from gateway.chat.text_only import text_answer
from gateway.openai.described import BODY
from gateway.openai.documents import DONE, Completion, failed
from gateway.openai.request import ChatRequest, read_chat
from gateway.problems import Problem
from schemas.result import ResultDocument

router = APIRouter(tags=["OpenAI"])

_LEAST_S = 0.1  # of a picture that comes after others


class Call:
    """One request, from what it asks to its answer."""

    def __init__(
        self, request: Request, backend: TheBackend, asker: TheAsker, options: TheOptions
    ) -> None:
        self._request = request
        self._backend = backend
        self._asker = asker
        self._options = options
        self._began = time.monotonic()

    async def answer(self) -> Response:
        """The answer, whole or in chunks.

        Raises:
            Problem: There is none, and why.
        """
        asked = await read_chat(self._request, self._options)
        completion = Completion(
            plain_name((await model_info(self._backend)).model.name),
            f"{asked.conversation.system}\n{asked.conversation.text}",
            len(asked.pictures),
        )
        if asked.form is not None:
            text = await self._fill(asked)
        elif not asked.pictures:
            text = text_answer(asked.conversation.text, completion.model)
        elif asked.is_streamed and len(asked.pictures) == 1:
            fields = asked.conversation.question()
            answering = await self._asker.begin(self._request, self._frame(asked, fields))
            return _stream(_generated(answering, completion, asked))
        else:
            documents = await self._ask(asked, asked.conversation.question())
            text = _lines([first_text(each) for each in documents])
        if asked.is_streamed:
            return _stream(_said(text, completion, asked))
        return JSONResponse(completion.whole(text))

    async def _fill(self, asked: ChatRequest) -> str:
        form = asked.form
        if form is None:
            return ""
        documents: Sequence[ResultDocument] = ()
        if asked.pictures and form.tasks:
            documents = await self._ask(asked, form.fields())
        filled = form.filled(documents[0].result if documents else None)
        return json.dumps(filled, ensure_ascii=False)

    async def _ask(self, asked: ChatRequest, fields: dict[str, Any]) -> list[ResultDocument]:
        """About each picture, one after the other, all within the time for one."""
        ends = self._began + self._options.timeout_s
        documents = []
        while asked.pictures:
            left_s = max(_LEAST_S, ends - time.monotonic())
            documents.append(
                await self._asker.ask(self._request, self._frame(asked, fields), left_s)
            )
        return documents

    def _frame(self, asked: ChatRequest, fields: dict[str, Any]) -> Frame:
        """Of the first picture, which is not kept while its answer is waited for."""
        return frame_of(asked.pictures.pop(0), fields, self._request, self._options)


@router.post("/v1/chat/completions", openapi_extra={"requestBody": BODY})
@router.post("/chat/completions", include_in_schema=False)
async def complete(call: Annotated[Call, Depends()]) -> Response:
    """Answer the newest question about the newest picture, as OpenAI's servers would."""
    return await call.answer()


def _lines(texts: Sequence[str]) -> str:
    """One text as it is, of several each on its line."""
    return texts[0] if len(texts) == 1 else "\n".join(" ".join(each.split()) for each in texts)


async def _generated(
    answering: Answering, completion: Completion, asked: ChatRequest
) -> AsyncIterator[str]:
    """Chunks while the text is generated; a failure is an event that clients raise."""
    texts: list[str] = []
    yield completion.first()
    try:
        async with aclosing(answering.pieces()) as pieces:  # type: ignore[type-var]
            async for piece in pieces:
                texts.append(piece)
                yield completion.piece(piece)
    except Problem as problem:
        yield failed(problem)
        return
    for each in _end("".join(texts), completion, asked):
        yield each


async def _said(text: str, completion: Completion, asked: ChatRequest) -> AsyncIterator[str]:
    """Chunks of a text that is there already."""
    yield completion.first()
    yield completion.piece(text)
    for each in _end(text, completion, asked):
        yield each


def _end(text: str, completion: Completion, asked: ChatRequest) -> list[str]:
    counted = [completion.usage(text)] if asked.wants_usage else []
    return [completion.last(), *counted, DONE]


def _stream(chunks: AsyncIterator[str]) -> StreamingResponse:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks, 200, headers, "text/event-stream")
