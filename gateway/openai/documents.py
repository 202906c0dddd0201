"""Completions, whole or in chunks. Their counts of tokens are estimates."""

import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from gateway.chat.tokens import PICTURE_TOKENS, estimate
from gateway.problems import Problem

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer, of which the text is still to come."""

    model: str
    prompt: str  #: what was read, for `usage`
    num_pictures: int = 0
    name: str = field(default_factory=lambda: f"chatcmpl-{uuid.uuid4().hex}")
    created: int = field(default_factory=lambda: int(time.time()))

    def whole(self, text: str, reason: str = "stop") -> dict[str, Any]:
        """The answer as one document."""
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": text, "refusal": None},
            "logprobs": None,
            "finish_reason": reason,
        }
        return {**self._head("chat.completion"), "choices": [choice], "usage": self._usage(text)}

    def first(self) -> str:
        """The chunk that opens a stream."""
        return self._chunk({"role": "assistant", "content": ""})

    def piece(self, text: str) -> str:
        """A chunk with some text."""
        return self._chunk({"content": text})

    def last(self, reason: str) -> str:
        """The chunk behind the text."""
        return self._chunk({}, reason)

    def usage(self, text: str) -> str:
        """The chunk that counts, for who asked for it."""
        head = self._head("chat.completion.chunk")
        return sse({**head, "choices": [], "usage": self._usage(text)})

    def _chunk(self, delta: dict[str, Any], reason: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return sse({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.name, "object": kind, "created": self.created, "model": self.model}

    def _usage(self, text: str) -> dict[str, int]:
        prompt = estimate(self.prompt) + PICTURE_TOKENS * self.num_pictures
        answer = estimate(text)
        return {
            "prompt_tokens": prompt,
            "completion_tokens": answer,
            "total_tokens": prompt + answer,
        }


def failed(problem: Problem) -> str:
    """The event of a stream that has to end before its end."""
    error = {"message": str(problem), "type": "server_error", "param": None, "code": problem.code}
    return sse({"error": error})


def sse(content: dict[str, Any]) -> str:
    """An event of a stream."""
    return f"data: {json.dumps(content, ensure_ascii=False, separators=(',', ':'))}\n\n"
