"""What becomes of a request before the model sees it, and of a stream that fails on its way."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import httpx2
import openai
import pytest
from pydantic import BaseModel

from gateway.app import make_app
from gateway.backend import Frame, OnText
from gateway.openai.chat import _generated
from gateway.openai.documents import Completion
from gateway.openai.request import ChatRequest
from gateway.problems import Problem
from schemas.requests.models import ModelInfo
from schemas.result import ResultDocument
from schemas.status import ModelStatus
from tests.support.no_backend import NoBackend
from tests.support.results import result_document
from tests.unit.gateway.apps import options

OPTIONS = options(max_image_bytes=1 << 20, timeout_s=5)
JPEG = b"\xff\xd8\xff and so on"


@dataclass
class Recorder(NoBackend):
    """A backend that keeps what it is asked."""

    frames: list[Frame] = field(default_factory=list)

    async def call(self, operation: str, content: dict[str, Any]) -> BaseModel:
        assert (operation, content) == ("model/info", {})
        status = ModelStatus(
            name="/home/me/models/mine/", revision="r", device="cpu", dtype="x", state="ready"
        )
        return ModelInfo(model=status, engines=(status,), loaded_models=())

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        self.frames.append(frame)
        return result_document("A dog.")


async def sent(**body: Any) -> tuple[Recorder, httpx.Response]:
    backend = Recorder()
    transport = httpx.ASGITransport(make_app(backend, OPTIONS))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        return backend, await client.post("/v1/chat/completions", json=body)


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def image(picture: bytes, kind: str = "jpeg") -> dict[str, Any]:
    url = f"data:image/{kind};base64,{base64.b64encode(picture).decode()}"
    return {"type": "image_url", "image_url": {"url": url, "detail": "low"}}


def user(*parts: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(parts)}


@pytest.mark.parametrize("is_text_first", [True, False])
async def test_the_order_of_parts_does_not_matter(is_text_first: bool) -> None:
    parts = [text("Is it open?"), image(JPEG)]
    backend, answer = await sent(messages=[user(*(parts if is_text_first else parts[::-1]))])

    assert answer.status_code == 200
    [frame] = backend.frames
    assert frame.image == JPEG
    assert frame.fields == {"camera_id": "http", "tasks": [{"query": "Is it open?"}]}


async def test_names_of_pictures_are_no_part_of_the_question() -> None:
    parts = (text("Image 1:"), image(JPEG), text("Door:"), image(JPEG + b"2"), text("Who:"))
    backend, _ = await sent(messages=[user(*parts)])

    assert backend.frames[0].fields["tasks"] == [{"query": "Who:"}]
    assert backend.frames[0].image == JPEG + b"2"


@pytest.mark.parametrize(
    "part",
    [
        {"image_url": "data:image/png;base64,/9j/"},
        {"type": "image_url", "image_url": "data:image/png;base64,/9j/"},
        {"type": "input_image", "image_url": "data:image/png;base64,/9j/"},
        {"type": "image_url", "image_url": "data:application/octet-stream;base64,/9j/"},
        {"type": "image_url", "image_url": "data:;base64,/9j/"},
    ],
)
async def test_other_spellings_of_a_picture(part: dict[str, Any]) -> None:
    backend, _ = await sent(messages=[user(part)])

    assert backend.frames[0].image == b"\xff\xd8\xff"
    assert backend.frames[0].fields["tasks"] == ["caption"]


async def test_an_address_is_for_the_service_to_fetch() -> None:
    url = "https://camera.local/now.jpg"
    backend, _ = await sent(messages=[user({"type": "image_url", "image_url": {"url": url}})])

    assert backend.frames[0].image is None
    assert backend.frames[0].fields["frame_url"] == url


async def test_base64_that_is_none_is_for_the_service_to_refuse() -> None:
    broken = {"type": "image_url", "image_url": {"url": "data:image/jpeg;base64,/9j/!"}}
    backend, _ = await sent(messages=[user(broken)])

    assert backend.frames[0].image == b"data:image/jpeg;base64,/9j/!"


async def test_a_prompt_of_any_length_with_a_schema() -> None:
    schema = {"type": "object", "properties": {"dog": {"type": "boolean"}}, "required": ["dog"]}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    messages = [user(text("long " * 2000), image(JPEG))]
    backend, _ = await sent(messages=messages, response_format=wanted)

    [task] = backend.frames[0].fields["tasks"]
    assert task == {"choose": {"question": "Dog?", "choices": ["Yes", "No"]}}


async def test_words_and_constants_never_reach_the_model() -> None:
    schema = {"type": "object", "properties": {"v": {"const": 1}}, "required": ["v"]}
    wanted = {"type": "json_schema", "json_schema": {"schema": schema}}
    backend, answer = await sent(messages=[user(image(JPEG))], response_format=wanted)
    greeted, greeting = await sent(messages=[{"role": "user", "content": "Hi"}])

    assert not backend.frames
    assert json.loads(answer.json()["choices"][0]["message"]["content"]) == {"v": 1}
    assert not greeted.frames
    assert "mine" in greeting.json()["choices"][0]["message"]["content"]
    assert greeting.json()["usage"]["prompt_tokens"] < 10


async def test_no_answer_names_a_folder_of_this_machine() -> None:
    _, answer = await sent(messages=[user(image(JPEG))])

    assert answer.json()["model"] == "mine"
    assert "/home" not in answer.text


class Breaking:
    """An answer that fails behind its first piece."""

    document = None

    async def pieces(self) -> AsyncIterator[str]:
        yield "A "
        raise Problem("engine_lost", "the engine has died")


async def test_a_stream_that_fails_raises_at_the_client() -> None:
    asked = ChatRequest(None, [], None, True, True)  # type: ignore[arg-type]
    chunks = [chunk async for chunk in _generated(Breaking(), Completion("m", ""), asked)]  # type: ignore[arg-type]
    assert not any("[DONE]" in chunk for chunk in chunks)

    def answer(_: httpx2.Request) -> httpx2.Response:
        headers = {"content-type": "text/event-stream"}
        return httpx2.Response(200, headers=headers, content="".join(chunks))

    transport = httpx2.MockTransport(answer)
    client = openai.OpenAI(
        api_key="any", base_url="http://x", http_client=httpx2.Client(transport=transport)
    )
    with client, pytest.raises(openai.APIError, match="the engine has died"):
        list(client.chat.completions.create(model="m", messages=[], stream=True))
