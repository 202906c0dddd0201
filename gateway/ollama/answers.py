"""Ollama's answers: one object, or one a line while the text is generated.

No blank line, which its client cannot read; a failure behind the first line is a line with `error`,
which its client raises.
"""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, cast

from fastapi.responses import StreamingResponse

from gateway.asking import Answering, finish_reason
from gateway.chat.tokens import PICTURE_TOKENS, estimate
from gateway.problems import Problem, said_by_ollama

NDJSON = "application/x-ndjson"
_NANOSECONDS = 1_000_000_000

#: Where a piece of text stands in an answer.
Wrap = Callable[[str], dict[str, Any]]


def in_response(text: str) -> dict[str, Any]:
    """As `/api/generate` has it."""
    return {"response": text}


def in_message(text: str) -> dict[str, Any]:
    """As `/api/chat` has it."""
    return {"message": {"role": "assistant", "content": text}}


@dataclass(frozen=True, slots=True)
class Figures:
    """What an answer took. Counts of tokens are estimated, times measured."""

    began: float  #: monotonic time of the request
    prompt: str
    num_pictures: int = 0
    engine_s: float = 0.0  #: 0: the model was not asked

    def of(self, text: str) -> dict[str, int]:
        """Beside a finished answer; times in nanoseconds."""
        return {
            "total_duration": round((time.monotonic() - self.began) * _NANOSECONDS),
            "load_duration": 0,
            "prompt_eval_count": estimate(self.prompt) + self.num_pictures * PICTURE_TOKENS,
            "eval_count": estimate(text),
            "eval_duration": round(self.engine_s * _NANOSECONDS),
        }


class Answers:
    """Puts texts into answers.

    Args:
        wrap: Of the endpoint.
        model: Its name.
    """

    def __init__(self, wrap: Wrap, model: str) -> None:
        self._wrap = wrap
        self._model = model

    def whole(self, text: str, figures: Figures, reason: str = "stop") -> dict[str, Any]:
        """The answer, complete."""
        return self._last(text, {"done_reason": reason, **figures.of(text)})

    def lines(self, text: str, figures: Figures, reason: str = "stop") -> StreamingResponse:
        """The same as lines, of a text that is there already."""
        said = [self._piece(text)] if text else []
        said.append(self._last("", {"done_reason": reason, **figures.of(text)}))
        return StreamingResponse((_line(each) for each in said), 200, None, NDJSON)

    def stream(
        self, answering: Answering, figures: Callable[[float], Figures]
    ) -> StreamingResponse:
        """A line a piece.

        Args:
            answering: Has its first piece already.
            figures: Of so many seconds in the engine.
        """
        return StreamingResponse(self._lines(answering, figures), 200, None, NDJSON)

    async def _lines(
        self, answering: Answering, figures: Callable[[float], Figures]
    ) -> AsyncIterator[str]:
        texts: list[str] = []
        try:
            async with aclosing(cast("AsyncGenerator[str]", answering.pieces())) as pieces:
                async for piece in pieces:
                    texts.append(piece)
                    yield _line(self._piece(piece))
        except Problem as problem:
            yield _line({"error": said_by_ollama(problem)})
            return
        except Exception:
            yield _line({"error": "an unexpected error; the log has it"})
            raise
        document = answering.document
        seconds = document.result.processing_time if document and document.result else 0.0
        reason = finish_reason([document])
        said = figures(seconds).of("".join(texts))
        yield _line(self._last("", {"done_reason": reason, **said}))

    def _piece(self, text: str) -> dict[str, Any]:
        return {**self._head(), **self._wrap(text), "done": False}

    def _last(self, text: str, beside: dict[str, Any]) -> dict[str, Any]:
        return {**self._head(), **self._wrap(text), "done": True, **beside}

    def _head(self) -> dict[str, Any]:
        return {"model": self._model, "created_at": datetime.now(UTC).isoformat()}


def _line(content: dict[str, Any]) -> str:
    return json.dumps(content, ensure_ascii=False) + "\n"
