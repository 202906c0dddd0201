"""Moondream's event stream: pieces of text, figures, and a last event that says it is complete.

Its client takes an `error` event and a cut connection for the regular end. Only a line that is no
JSON makes it fail, so that is how a failure behind the first piece is said.
"""

import json
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, cast

from fastapi.responses import StreamingResponse

from gateway.asking import Answering
from gateway.moondream.figures import figures
from gateway.problems import Problem

_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def stream(answering: Answering, began: float) -> StreamingResponse:
    """The answer as it is generated.

    Args:
        answering: Has its first piece already.
        began: Monotonic time of the request, in seconds.
    """
    return StreamingResponse(_events(answering, began), 200, _HEADERS, "text/event-stream")


def stream_text(text: str, began: float) -> StreamingResponse:
    """An answer that no job was needed for."""
    events = [_event({"chunk": text}), *_end(text, began, None)]
    return StreamingResponse(iter(events), 200, _HEADERS, "text/event-stream")


async def _events(answering: Answering, began: float) -> AsyncIterator[str]:
    texts: list[str] = []
    try:
        async with aclosing(cast("AsyncGenerator[str]", answering.pieces())) as pieces:
            async for piece in pieces:
                texts.append(piece)
                yield _event({"chunk": piece})
    except Problem as problem:
        yield _broken(str(problem))
        return
    except Exception:
        yield _broken("an unexpected error; the log has it")
        raise
    job_id = answering.document.job_id if answering.document else None
    for event in _end("".join(texts), began, job_id):
        yield event


def _end(text: str, began: float, job_id: str | None) -> tuple[str, ...]:
    said = {"completed": True, "request_id": job_id} if job_id else {"completed": True}
    return _event({"stats": figures(text, time.monotonic() - began)}), _event(said)


def _event(content: dict[str, Any]) -> str:
    return f"data: {json.dumps(content, ensure_ascii=False)}\n\n"


def _broken(sentence: str) -> str:
    return f"data: failed: {' '.join(sentence.split())}\n\n"
