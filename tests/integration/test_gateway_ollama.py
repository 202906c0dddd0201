"""Ollama's API with its own client, unmodified, in front of the demonstration model."""

import base64
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import ollama
import pytest
import pytest_asyncio
from PIL import Image

from broker.embedded import EmbeddedBroker
from demo.camera import default_cameras, story
from tests.docs.programs import run_page
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = "whatever:latest"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("ollama") / "service"
    async with gateway(mosquitto, folder, "http/ollama", with_model=True) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Gateway) -> AsyncIterator[Any]:  # its types say Optional everywhere
    async with ollama.AsyncClient(host=service.url) as it:
        yield it


@pytest.fixture(scope="module")
def picture() -> bytes:
    """With a person."""
    front_door, *_ = default_cameras()
    *_, image = (frame.image for _, frame in zip(range(4), story(front_door, 1000), strict=False))
    return as_jpeg(image)


def as_jpeg(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=95)
    return file.getvalue()


def as_text(picture: bytes) -> str:
    return base64.b64encode(picture).decode()


def lines(content: str) -> list[dict[str, Any]]:
    assert content.endswith("\n")
    assert "\n\n" not in content  # a blank line is no JSON to its client
    return [json.loads(line) for line in content.splitlines()]


async def test_its_client_finds_the_model(client: Any) -> None:
    [listed] = (await client.list()).models
    shown = await client.show(listed.model)
    [running] = (await client.ps()).models

    assert listed.model == running.model
    assert "vision" in (shown.capabilities or [])
    assert shown.modelinfo is not None
    assert shown.modelinfo["moondream2.context_length"] == 2048
    assert running.size == listed.size > 0


async def test_the_name_of_a_folder_does_not_tell_where_it_is(client: Any) -> None:
    [listed] = (await client.list()).models

    assert listed.model == "model:local"


async def test_its_client_generates(client: Any, picture: bytes) -> None:
    answer = await client.generate(MODEL, "How many people are there?", images=[picture])
    caption = await client.generate(MODEL, "Describe this image.", images=[as_text(picture)])

    assert answer.response
    assert caption.response
    assert (answer.done, answer.done_reason) == (True, "stop")
    assert answer.total_duration >= answer.eval_duration > 0
    assert answer.prompt_eval_count > 729
    assert answer.eval_count > 0
    assert answer.model != MODEL


async def test_its_client_chats(client: Any, picture: bytes) -> None:
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is here?", "images": [picture]},
        {"role": "assistant", "content": "A porch."},
        {"role": "user", "content": "Is it night?"},
    ]

    answer = await client.chat(MODEL, messages, options={"num_ctx": 8192}, think=False, tools=[])

    assert answer.message.role == "assistant"
    assert answer.message.content


async def test_its_client_reads_a_stream_to_the_end(client: Any, picture: bytes) -> None:
    whole = await client.generate(MODEL, "Is it night?", images=[picture])
    parts = [
        part
        async for part in await client.generate(
            MODEL, "Is it night?", images=[picture], stream=True
        )
    ]
    message = {"role": "user", "content": "Is it night?", "images": [picture]}
    chat = [part async for part in await client.chat(MODEL, [message], stream=True)]

    assert "".join(part.response for part in parts) == whole.response
    assert "".join(part.message.content for part in chat) == whole.response
    assert [part.done for part in parts] == [*([False] * (len(parts) - 1)), True]
    assert chat[-1].done_reason == "stop"


async def test_what_says_nothing_of_a_stream_gets_one(service: Gateway, picture: bytes) -> None:
    body = {"model": MODEL, "prompt": "What is here?", "images": [as_text(picture)]}

    answer = await service.client.post("/api/generate", json=body)

    said = lines(answer.text)
    assert [each["done"] for each in said] == [*([False] * (len(said) - 1)), True]


async def test_its_client_gets_the_object_of_a_schema(client: Any, picture: bytes) -> None:
    schema: dict[str, Any] = {
        "type": "object",
        "properties": {
            "is_day": {"type": "boolean", "description": "Is it day?"},
            "weather": {"type": "string", "enum": ["sunny", "rainy"]},
            "count_people": {"type": "integer", "minimum": 0},
            "title": {"type": "string", "maxLength": 40},
        },
        "required": ["is_day", "weather", "count_people", "title"],
    }
    message = {"role": "user", "content": "Look at this.", "images": [picture]}

    whole = await client.chat(MODEL, [message], format=schema)
    streamed = [
        part async for part in await client.chat(MODEL, [message], format=schema, stream=True)
    ]
    generated = await client.generate(MODEL, "Look.", images=[picture], format="json")

    filled = json.loads(whole.message.content)
    assert filled.keys() == schema["properties"].keys()
    assert isinstance(filled["is_day"], bool)
    assert filled["weather"] in {"sunny", "rainy"}
    assert filled["count_people"] >= 0
    assert filled["title"]
    assert json.loads("".join(part.message.content for part in streamed)) == filled
    assert isinstance(json.loads(generated.response), dict)


async def test_its_client_says_something_without_a_picture(client: Any) -> None:
    answer = await client.chat(MODEL, [{"role": "user", "content": "Hi"}])
    loaded = await client.generate(MODEL)

    assert answer.message.content
    assert "demo/" not in answer.message.content  # the model's folder is nobody's business
    assert (loaded.response, loaded.done_reason) == ("", "load")


async def test_pictures_beside_the_messages_are_left_alone(
    service: Gateway, picture: bytes
) -> None:
    message = {"role": "user", "content": "Is it night?", "images": [as_text(picture)]}
    body = {"model": MODEL, "messages": [message], "images": ["no picture"], "prompt": []}

    answer = await service.client.post("/api/chat", json={**body, "stream": False})

    assert answer.status_code == 200
    assert answer.json()["message"]["content"]


@pytest.mark.parametrize("name", ["moondream", "moondream2:latest"])
async def test_the_names_of_the_library_are_another_model_here(client: Any, name: str) -> None:
    with pytest.raises(ollama.ResponseError) as refused:
        await client.pull(name)

    assert refused.value.status_code == 501
    assert "model:local" in refused.value.error


async def test_its_client_pulls_what_is_there(client: Any) -> None:
    [listed] = (await client.list()).models
    name = listed.model

    whole = await client.pull(name)
    streamed = [part.status async for part in await client.pull(name, stream=True)]

    assert whole.status == "success"
    assert streamed[-1] == "success"


async def test_what_would_change_the_models_is_refused(client: Any) -> None:
    for asked in (
        client.copy("a", "b"),
        client.delete("a"),
        client.push("a"),
        client.create("a", from_="b"),
        client.embed("a", "text"),
        client.embeddings("a", "text"),
    ):
        with pytest.raises(ollama.ResponseError) as refused:
            await asked
        assert refused.value.status_code == 501
        assert refused.value.error


@pytest.mark.parametrize("stream", [False, True])
async def test_its_client_hears_of_a_failure(client: Any, stream: bool) -> None:
    with pytest.raises(ollama.ResponseError) as failed:
        answer: Any = await client.generate(MODEL, "?", images=[b"no picture"], stream=stream)
        if stream:
            [part async for part in answer]

    assert failed.value.status_code == 415
    assert "not of a JPEG" in failed.value.error


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("chat", {"messages": "Hi"}, "messages"),
        ("chat", {"messages": ["Hi"]}, "messages.0"),
        ("chat", {"messages": [{"role": "user", "content": ["Hi"]}]}, "messages.0.content"),
        ("chat", {"messages": [{"role": "user", "images": ["a"] * 17}]}, "messages.0.images"),
        ("generate", {"prompt": "?", "images": "abc"}, "images"),
        ("generate", {"prompt": "?", "format": "yaml"}, "format"),
        ("generate", {"prompt": 7}, "prompt"),
        ("pull", {}, "model"),
    ],
)
async def test_what_is_wrong_is_named(
    service: Gateway, path: str, body: dict[str, Any], named: str
) -> None:
    answer = await service.client.post(f"/api/{path}", json=body)

    assert answer.status_code == 400
    assert answer.json().keys() == {"error"}
    assert named in answer.json()["error"]


async def test_half_a_character_is_no_failure(service: Gateway) -> None:
    headers = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d says
    content = rb'{"prompt": "Why \ud800?", "stream": false}'

    answer = await service.client.post("/api/generate", content=content, headers=headers)

    assert answer.status_code == 200
    assert "Why ??" in answer.json()["response"]


async def test_the_program_of_the_page_works(
    service: Gateway, picture: bytes, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(picture)

    answer, streamed = (await run_page("ollama.md", service.url, tmp_path)).splitlines()

    assert answer
    assert len(streamed) > 20
