"""`/api/generate` and `/api/chat`: a question about a picture, or a JSON schema to be filled.

Nothing is sent before the first piece of text is there, so that what fails before is a status code.
"""

import asyncio
import json
from collections.abc import Sequence
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, Response
from fastapi.responses import JSONResponse

from gateway.asking import finish_reason, first_text
from gateway.chat.model import model_info, plain_name
from gateway.chat.text_only import text_answer
from gateway.filling.form import ANY_JSON, Form
from gateway.ollama.answers import Answers, Figures, Wrap, in_message, in_response
from gateway.ollama.naming import name_of
from gateway.ollama.questions import Question, read_chat, read_generate
from gateway.picture_call import PictureCall
from schemas.result import ResultDocument

router = APIRouter(prefix="/api", include_in_schema=False)


class Call(PictureCall):
    """One request, from what it asks to its answer."""

    async def answer(self, question: Question, wrap: Wrap) -> Response:
        """The answer, whole or as lines.

        Args:
            question: What was read of the request.
            wrap: Where the endpoint has its text.
        """
        model = (await model_info(self.backend)).model
        answers = Answers(wrap, name_of(model.name, model.revision))
        figures = partial(Figures, self.began, question.conversation.text)
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
        figures = partial(Figures, self.began, conversation.text, len(pictures))
        fields = conversation.question()
        if question.is_streamed and len(pictures) == 1:
            answering = await self.asker.begin(self.request, self.frame_of_next(pictures, fields))
            return answers.stream(answering, figures)
        documents = await self.ask_each(pictures, fields)
        text = "\n".join(first_text(document) for document in documents)
        reason = finish_reason(documents)
        return _said(answers, question, text, figures(_engine_s(documents)), reason)

    async def _fill(self, answers: Answers, question: Question) -> Response:
        conversation = question.conversation
        schema = ANY_JSON if question.format == "json" else question.format
        form = await asyncio.to_thread(Form.of, schema, conversation.text)  # may take a while
        documents: list[ResultDocument] = []
        if form.tasks:
            documents = await self.ask_each(question.pictures, form.fields())
        filled = form.filled(documents[0].result if documents else None)
        figures = Figures(self.began, conversation.text, len(documents), _engine_s(documents))
        return _said(answers, question, json.dumps(filled, ensure_ascii=False), figures)


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
