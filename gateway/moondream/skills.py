"""`/v1/caption`, `query`, `detect` and `point`: what Moondream's clients ask of a picture."""

import time
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from gateway.asking import first_text, frame_of
from gateway.backend import Frame
from gateway.chat.model import model_info, plain_name
from gateway.chat.text_only import text_answer
from gateway.moondream.asked import Asked, read_asked
from gateway.moondream.figures import figures
from gateway.moondream.streaming import stream, stream_text
from gateway.picture_call import PictureCall
from gateway.problems import Problem
from schemas.result import Result, ResultDocument

router = APIRouter(prefix="/v1", include_in_schema=False)

#: This model does not reason; programs look into it when they have asked for it.
_NO_REASONING: dict[str, Any] = {"text": "", "grounding": []}


class Call(PictureCall):
    """One request, from what it says to its answer."""

    async def read(self) -> Asked:
        """What is asked.

        Raises:
            Problem: It is not what this interface takes, or more than the model can do.
        """
        asked = await read_asked(self.request, self.options)
        if asked.fields.get("spatial_refs"):
            # An answer about something else than what was pointed at would be worse than none.
            raise Problem(
                "not_implemented",
                "spatial_refs: this model cannot be pointed at a place",
                param="spatial_refs",
            )
        return asked

    async def text(
        self, asked: Asked, name: str, fields: dict[str, Any], **beside: Any
    ) -> Response:
        """What the model says, whole or as a stream.

        Args:
            asked: Of `read`.
            name: Of the text in the answer.
            fields: Of the frame: its task.
            beside: What else is in an answer that is no stream.
        """
        is_streamed, timeout_s = asked.flag("stream"), self._timeout_s(asked)
        if is_streamed:
            answering = await self.asker.begin(self.request, self._frame(asked, fields), timeout_s)
            return stream(answering, self.began)
        document = await self.asker.ask(self.request, self._frame(asked, fields), timeout_s)
        text = first_text(document)
        return self.answer({name: text, **beside}, text, document.job_id)

    async def places(self, asked: Asked, task: str) -> tuple[Result, str]:
        """Where something is, and the id of the job that found it.

        Args:
            asked: Of `read`; names the object.
            task: detect or point.
        """
        fields = {"tasks": [{task: asked.text("object", "obj")}]}
        document = await self.asker.ask(
            self.request, self._frame(asked, fields), self._timeout_s(asked)
        )
        return _result_of(document), document.job_id

    def answer(self, content: dict[str, Any], text: str = "", job_id: str = "") -> JSONResponse:
        """The answer with what each of them has.

        Args:
            content: Its own part.
            text: What the model said.
            job_id: Empty: no job was needed.
        """
        said = {"request_id": job_id} if job_id else {}
        seconds = time.monotonic() - self.began
        return JSONResponse({**content, **said, "_stats": figures(text, seconds)})

    async def without_picture(self, asked: Asked, question: str, **beside: Any) -> Response:
        """The answer to a question about none; `beside` as in `text`."""
        info = await model_info(self.backend)
        answer = text_answer(question, plain_name(info.model.name))
        if asked.flag("stream"):
            return stream_text(answer, self.began)
        return self.answer({"answer": answer, **beside}, answer)

    def _frame(self, asked: Asked, fields: dict[str, Any]) -> Frame:
        """Whoever asks about it does not keep it meanwhile."""
        said = {**asked.about_the_frame, **fields}
        return frame_of(asked.take_picture(), said, self.request, self.options)

    def _timeout_s(self, asked: Asked) -> float:
        return asked.seconds("timeout", self.options.timeout_s)


TheCall = Annotated[Call, Depends()]


@router.post("/caption")
async def caption(call: TheCall) -> Response:
    """A caption: short, normal or long."""
    asked = await call.read()
    length = "normal" if asked.fields.get("length") is None else asked.text("length")
    return await call.text(asked, "caption", {"tasks": ["caption"], "length": length})


@router.post("/query")
async def query(call: TheCall) -> Response:
    """The answer to a question; with `reasoning` an empty one: this model does not reason."""
    asked = await call.read()
    question = asked.text("question")
    reasoning = {"reasoning": _NO_REASONING} if asked.flag("reasoning") else {}
    if not asked.has_picture:
        return await call.without_picture(asked, question, **reasoning)
    return await call.text(asked, "answer", {"tasks": [{"query": question}]}, **reasoning)


@router.post("/detect")
async def detect(call: TheCall) -> Response:
    """Boxes around what is looked for."""
    asked = await call.read()
    result, job_id = await call.places(asked, "detect")
    found = _shown([box for each in result.objects for box in each.boxes], asked)
    return call.answer({"objects": found}, job_id=job_id)


@router.post("/point")
async def point(call: TheCall) -> Response:
    """The middle of each thing that is looked for."""
    asked = await call.read()
    result, job_id = await call.places(asked, "point")
    found = _shown([place for each in result.points for place in each.points], asked)
    return call.answer({"points": found, "count": len(found)}, job_id=job_id)


@router.post("/segment")
@router.post("/count_tokens")
async def unknown_to_the_model(request: Request) -> Response:
    """What Moondream's newer models do, and this one does not."""
    name = request.url.path.rpartition("/")[2]
    raise Problem("not_implemented", f"{name}: this model cannot do that")


def _result_of(document: ResultDocument) -> Result:
    if document.result is None:
        raise Problem("internal", f"job {document.job_id} has ended without a result")
    return document.result


def _shown(places: Sequence[BaseModel], asked: Asked) -> list[dict[str, Any]]:
    """As many as `settings.max_objects` allows."""
    most = asked.setting("max_objects")
    is_bound = isinstance(most, int) and not isinstance(most, bool) and most >= 0
    return [place.model_dump() for place in (places[:most] if is_bound else places)]
