"""`/api/generate` and `/api/chat`: a question about a picture, or a JSON schema to be filled.

Nothing is sent before the first piece of text is there, so that what fails before is a status code.
"""

import asyncio
import json
import time
from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse

from gateway.access import TheAsker, TheBackend, TheOptions
from gateway.asking import first_text, frame_of
from gateway.backend import Frame
from gateway.chat.model import model_info, plain_name
from gateway.chat.text_only import text_answer
from gateway.filling.form import ANY_JSON, Form
from gateway.ollama.answers import Answers, Figures, Wrap, in_message, in_response
from gateway.ollama.naming import name_of
from gateway.ollama.questions import Question, read_chat, read_generate
from schemas.result import ResultDocument

router = APIRouter(prefix="/api", include_in_schema=False)

_LEAST_S = 0.1  # of a picture that comes after others


class Call:
    """One request, from what it asks to its answer."""

    def __init__(
        self, request: Request, backend: TheBackend, asker: TheAsker, options: TheOptions
    ) -> None:
        self.request = request
        self.options = options
        self._backend = backend
        self._asker = asker
        self._began = time.monotonic()

    async def answer(self, question: Question, wrap: Wrap) -> Response:
        """The answer, whole or as lines.

        Args:
            question: What was read of the request.
            wrap: Where the endpoint has its text.
        """
        model = (await model_info(self._backend)).model
        answers = Answers(wrap, name_of(model.name, model.revision))
        figures = partial(Figures, self._began, question.conversation.text)
        if question.is_empty:
            return _said(answers, question, "", figures(), "load")
        if question.format is not None:
            return await self._fill(answers, question)
        if not question.pictures:
            text = text_answer(question.conversation.text, plain_name(model.name))
            return _said(answers, question, text, figures())
        return await self._ask(answers, question)

    async def _ask(self, answers: Answers, question: Question) -> Response:
        conversation, pictures = question.conversation, question.pictures
        figures = partial(Figures, self._began, conversation.text, len(pictures))
        fields = conversation.question()
        if question.is_streamed and len(pictures) == 1:
            answering = await self._asker.begin(self.request, self._frame(pictures, fields))
            return answers.stream(answering, figures)
        documents = await self._ask_each(pictures, fields)
        text = "\n".join(first_text(document) for document in documents)
        return _said(answers, question, text, figures(_engine_s(documents)))

    async def _fill(self, answers: Answers, question: Question) -> Response:
        conversation = question.conversation
        schema = ANY_JSON if question.format == "json" else question.format
        form = await asyncio.to_thread(Form.of, schema, conversation.text)  # may take a while
        documents: list[ResultDocument] = []
        if form.tasks:
            documents = await self._ask_each(question.pictures, form.fields())
        filled = form.filled(documents[0].result if documents else None)
        figures = Figures(self._began, conversation.text, len(documents), _engine_s(documents))
        return _said(answers, question, json.dumps(filled, ensure_ascii=False), figures)

    async def _ask_each(self, pictures: list[str], fields: dict[str, Any]) -> list[ResultDocument]:
        """One after the other, all within the time for one; none is left in the list."""
        ends = self._began + self.options.timeout_s
        documents = []
        while pictures:
            left_s = max(_LEAST_S, ends - time.monotonic())
            documents.append(
                await self._asker.ask(self.request, self._frame(pictures, fields), left_s)
            )
        return documents

    def _frame(self, pictures: list[str], fields: dict[str, Any]) -> Frame:
        """Of the first picture, which is taken; whoever asks about it does not keep it."""
        return frame_of(pictures.pop(0), fields, self.request, self.options)


TheCall = Annotated[Call, Depends()]


@router.post("/generate")
async def generate(call: TheCall) -> Response:
    """Continue a prompt: a question about its pictures."""
    return await call.answer(await read_generate(call.request, call.options), in_response)


@router.post("/chat")
async def chat(call: TheCall) -> Response:
    """The next message: the newest question about the newest pictures."""
    return await call.answer(await read_chat(call.request, call.options), in_message)


def _said(
    answers: Answers, question: Question, text: str, figures: Figures, reason: str = "stop"
) -> Response:
    """A text that is there already."""
    if question.is_streamed:
        return answers.lines(text, figures, reason)
    return JSONResponse(answers.whole(text, figures, reason))


def _engine_s(documents: Sequence[ResultDocument]) -> float:
    return sum(each.result.processing_time for each in documents if each.result is not None)
