"""`POST /v1/chat/completions`: a question about a picture, a schema to be filled, or just words.

The same without `/v1`: Frigate's documentation shows a base URL without it. Nothing is sent before
the first piece of text is there, so that what fails before is a status code.
"""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse, StreamingResponse

from gateway.asking import Answering, finish_reason, first_text
from gateway.chat.model import model_info, plain_name
from gateway.chat.text_only import text_answer
from gateway.openai.described import BODY
from gateway.openai.documents import DONE, Completion, failed
from gateway.openai.request import ChatRequest, read_chat
from gateway.picture_call import PictureCall
from gateway.problems import Problem
from schemas.result import ResultDocument

router = APIRouter(tags=["OpenAI"])


class Call(PictureCall):
    """One request, from what it asks to its answer."""

    async def answer(self) -> Response:
        """The answer, whole or in chunks.

        Raises:
            Problem: There is none, and why.
        """
        asked = await read_chat(self.request, self.options)
        completion = Completion(
            plain_name((await model_info(self.backend)).model.name),
            f"{asked.conversation.system}\n{asked.conversation.text}",
            len(asked.pictures),
        )
        reason = "stop"
        if asked.form is not None:
            text = await self._fill(asked)
        elif not asked.pictures:
            text = text_answer(asked.conversation.text, completion.model)
        elif asked.is_streamed and len(asked.pictures) == 1:
            fields = asked.conversation.question()
            answering = await self.asker.begin(
                self.request, self.frame_of_next(asked.pictures, fields)
            )
            return _stream(_generated(answering, completion, asked))
        else:
            documents = await self.ask_each(asked.pictures, asked.conversation.question())
            text = _lines([first_text(each) for each in documents])
            reason = finish_reason(documents)
        if asked.is_streamed:
            return _stream(_said(text, completion, asked, reason))
        return JSONResponse(completion.whole(text, reason))

    async def _fill(self, asked: ChatRequest) -> str:
        form = asked.form
        if form is None:
            return ""
        documents: Sequence[ResultDocument] = ()
        if asked.pictures and form.tasks:
            documents = await self.ask_each(asked.pictures, form.fields())
        filled = form.filled(documents[0].result if documents else None)
        return json.dumps(filled, ensure_ascii=False)


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
    reason = finish_reason([answering.document])
    for each in _end("".join(texts), completion, asked, reason):
        yield each


async def _said(
    text: str, completion: Completion, asked: ChatRequest, reason: str
) -> AsyncIterator[str]:
    """Chunks of a text that is there already."""
    yield completion.first()
    yield completion.piece(text)
    for each in _end(text, completion, asked, reason):
        yield each


def _end(text: str, completion: Completion, asked: ChatRequest, reason: str) -> list[str]:
    counted = [completion.usage(text)] if asked.wants_usage else []
    return [completion.last(reason), *counted, DONE]


def _stream(chunks: AsyncIterator[str]) -> StreamingResponse:
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(chunks, 200, headers, "text/event-stream")
