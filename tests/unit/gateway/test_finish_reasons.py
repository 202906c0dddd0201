"""A text that was cut is said to be, in the words of the interface that is asked."""

import json
from typing import Any

import httpx
import pytest
from pydantic import BaseModel

from gateway.app import make_app
from gateway.backend import Frame, OnText
from schemas.requests.models import ModelInfo
from schemas.result import Answer, ResultDocument
from schemas.status import ModelStatus
from tests.support.no_backend import NoBackend
from tests.support.results import result_document
from tests.unit.gateway.apps import options

_JPEG = "/9j/AAAA"
_URL = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_JPEG}"}}
_CHAT = {"messages": [{"role": "user", "content": [{"type": "text", "text": "Who?"}, _URL]}]}
_GENERATE = {"prompt": "Who?", "images": [_JPEG]}


class Model(NoBackend):
    """Says the same of every picture, whole or cut."""

    def __init__(self, *, is_cut: bool) -> None:
        self._is_cut = is_cut

    async def call(self, operation: str, content: dict[str, Any]) -> BaseModel:
        assert (operation, content) == ("model/info", {})
        status = ModelStatus(name="m", revision="r", device="cpu", dtype="x", state="ready")
        return ModelInfo(model=status, engines=(status,), loaded_models=())

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        tasks = [task for task in frame.fields["tasks"] if isinstance(task, dict)]
        answers = tuple(
            Answer(question=task["query"], answer="A man who", confidence=1.0)
            for task in tasks
            if "query" in task
        )
        return result_document("A man who", answers=answers, truncated=self._is_cut)


async def _said(path: str, body: dict[str, Any], *, is_cut: bool) -> str:
    transport = httpx.ASGITransport(make_app(Model(is_cut=is_cut), options(token=None)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return (await client.post(path, json=body)).text


@pytest.mark.parametrize(("is_cut", "reason"), [(True, "length"), (False, "stop")])
async def test_openai_says_length_of_a_text_that_was_cut(is_cut: bool, reason: str) -> None:
    path = "/v1/chat/completions"
    whole = json.loads(await _said(path, _CHAT, is_cut=is_cut))
    assert whole["choices"][0]["finish_reason"] == reason
    streamed = await _said(path, {**_CHAT, "stream": True}, is_cut=is_cut)
    assert f'"finish_reason":"{reason}"' in streamed


@pytest.mark.parametrize(("is_cut", "reason"), [(True, "length"), (False, "stop")])
async def test_ollama_says_length_of_a_text_that_was_cut(is_cut: bool, reason: str) -> None:
    whole = json.loads(await _said("/api/generate", {**_GENERATE, "stream": False}, is_cut=is_cut))
    assert whole["done_reason"] == reason
    streamed = await _said("/api/generate", _GENERATE, is_cut=is_cut)
    assert json.loads(streamed.splitlines()[-1])["done_reason"] == reason


async def test_a_form_that_is_filled_is_whole() -> None:
    schema = {"type": "object", "properties": {"who": {"type": "string"}}, "required": ["who"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    body = {**_CHAT, "response_format": wanted}
    [choice] = json.loads(await _said("/v1/chat/completions", body, is_cut=True))["choices"]
    assert choice["finish_reason"] == "stop"
    assert json.loads(choice["message"]["content"])["who"]
    generated = await _said(
        "/api/generate", {**_GENERATE, "stream": False, "format": schema}, is_cut=True
    )
    assert json.loads(generated)["done_reason"] == "stop"
