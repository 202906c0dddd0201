"""OpenAI's own client against the gateway of a whole service with the demonstration model."""

import asyncio
import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from subprocess import PIPE
from typing import Any, Literal

import jsonschema
import openai
import pytest
import pytest_asyncio
from pydantic import BaseModel, Field

from broker.embedded import EmbeddedBroker
from demo.scenes.scene import Kind
from gateway.openai.described import BODY
from schemas.frame import MAX_TEXT_CHARACTERS
from tests.docs.pages import blocks
from tests.docs.reference import ROOT
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway
from tests.support.http_receivers import Receiver, answers
from tests.support.scenes import drawn_with

JSON = {"content-type": "application/json"}

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def scene() -> bytes:
    """A dog and a person."""
    return drawn_with(Kind.DOG, Kind.PERSON)


@pytest.fixture(scope="module")
def empty() -> bytes:
    """Nobody."""
    return drawn_with()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("openai") / "service"
    fetch = {"allow_hosts": ["localhost"]}
    async with gateway(mosquitto, folder, "http/openai", with_model=True, fetch=fetch) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(service: Gateway) -> AsyncIterator[openai.AsyncOpenAI]:
    url = f"{service.url}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as made:
        yield made


def uri(picture: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(picture).decode()}"


def asking(text: str, *pictures: bytes) -> list[Any]:
    images = [{"type": "image_url", "image_url": {"url": uri(each)}} for each in pictures]
    return [{"role": "user", "content": [*images, {"type": "text", "text": text}]}]


async def said(client: openai.AsyncOpenAI, text: str, *pictures: bytes, **more: Any) -> str:
    answer = await client.chat.completions.create(
        model="any", messages=asking(text, *pictures), **more
    )
    return answer.choices[0].message.content or ""


async def test_a_question_about_a_picture(client: openai.AsyncOpenAI, scene: bytes) -> None:
    answer = await client.chat.completions.create(
        model="gpt-x",
        messages=asking("Is there a dog?", scene),
        max_tokens=50,
        max_completion_tokens=50,
        temperature=0.5,
        extra_body={"unknown": {"deep": True}},
    )

    [choice] = answer.choices
    assert choice.message.content == "Yes"
    assert (choice.message.role, choice.finish_reason, choice.index) == ("assistant", "stop", 0)
    assert (answer.object, answer.model) == ("chat.completion", "model")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 729
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


async def test_a_description_is_the_caption(client: openai.AsyncOpenAI, scene: bytes) -> None:
    caption = await said(client, "Describe this image.", scene)
    short = await said(client, "Describe this image briefly.", scene)

    assert "dog" in caption.lower()
    assert len(short) < len(caption)
    assert await said(client, "", scene) == caption


async def test_chunks_together_are_the_answer(client: openai.AsyncOpenAI, scene: bytes) -> None:
    whole = await said(client, "Describe this image.", scene)
    stream = await client.chat.completions.create(
        model="any",
        messages=asking("Describe this image.", scene),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]

    texts = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(texts) == whole
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert len({chunk.id for chunk in chunks}) == 1


async def test_its_helper_for_streams(client: openai.AsyncOpenAI, scene: bytes) -> None:
    async with client.chat.completions.stream(
        model="any", messages=asking("Is there a dog?", scene)
    ) as stream:
        final = await stream.get_final_completion()

    assert final.choices[0].message.content == "Yes"


class Driveway(BaseModel):
    """What is asked of a picture."""

    title: str
    dogs: int = Field(description="How many dogs are there?", ge=0)
    is_dog: bool = Field(description="Is there a dog?")
    is_cat: bool = Field(description="Is there a cat?")
    animal: Literal["dog", "none"] = Field(description="Which animal is there?")
    colours: list[str] = Field(max_length=3)
    note: str | None = None


async def test_a_schema_is_filled(client: openai.AsyncOpenAI, scene: bytes) -> None:
    answer = await client.chat.completions.parse(
        model="any",
        messages=asking("Look " + "closely " * 600, scene),  # more than the model has room for
        response_format=Driveway,
    )

    found = answer.choices[0].message.parsed
    assert found is not None
    assert found.title
    assert (found.dogs, found.is_dog, found.is_cat) == (1, True, False)


async def test_json_without_a_schema(client: openai.AsyncOpenAI, scene: bytes) -> None:
    text = await said(client, "Is there a dog?", scene, response_format={"type": "json_object"})

    assert json.loads(text)["description"] == "Yes"
    assert json.loads(text)["title"]


async def test_a_schema_in_a_stream(client: openai.AsyncOpenAI, scene: bytes) -> None:
    schema = {"type": "object", "properties": {"dog": {"type": "boolean"}}, "required": ["dog"]}
    wanted: Any = {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    stream = await client.chat.completions.create(
        model="any",
        messages=asking("Is there a dog?", scene),
        response_format=wanted,
        stream=True,
    )

    text = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
    assert json.loads(text).keys() == {"dog"}


async def test_the_middle_one_of_several_is_looked_at(
    client: openai.AsyncOpenAI, scene: bytes, empty: bytes
) -> None:
    assert await said(client, "Is there a dog?", empty, scene, empty) == "Yes"
    assert await said(client, "Is there a dog?", scene, empty, scene) == "No"


async def test_an_address_is_fetched(client: openai.AsyncOpenAI, scene: bytes) -> None:
    async with Receiver(answers(200, body=scene)) as camera:
        content: list[Any] = [
            {"type": "text", "text": "Is there a dog?"},
            {
                "type": "image_url",
                "image_url": {"url": camera.url.replace("127.0.0.1", "localhost")},
            },
        ]
        messages: list[Any] = [{"role": "user", "content": content}]
        answer = await client.chat.completions.create(model="any", messages=messages)

    assert answer.choices[0].message.content == "Yes"


async def test_an_address_that_is_not_allowed(client: openai.AsyncOpenAI) -> None:
    content = [{"type": "image_url", "image_url": {"url": "http://10.0.0.1/x.jpg"}}]
    messages: Any = [{"role": "user", "content": content}]
    with pytest.raises(openai.BadRequestError) as caught:
        await client.chat.completions.create(model="any", messages=messages)

    assert caught.value.code == "url_refused"


async def test_words_without_a_picture(client: openai.AsyncOpenAI) -> None:
    assert "model" in await said(client, "Hi")
    title = await said(client, "Create a title for this text: A man walks to the door. He rings.")
    assert title == "A man walks to the door"


async def test_the_models(client: openai.AsyncOpenAI, service: Gateway) -> None:
    [model] = (await client.models.list()).data
    assert (model.id, model.object) == ("model", "model")
    assert model.max_model_len == 2048  # type: ignore[attr-defined]
    assert (await client.models.retrieve(model.id)).id == "model"
    with pytest.raises(openai.NotFoundError):
        await client.models.retrieve("gpt-x")

    document = (await service.client.get("/models")).json()
    assert document["data"] == document["models"]


async def test_without_v1(service: Gateway, scene: bytes) -> None:
    async with openai.AsyncOpenAI(base_url=service.url, api_key="any") as client:
        assert await said(client, "Is there a dog?", scene) == "Yes"


@pytest.mark.parametrize(
    ("body", "status", "code", "named"),
    [
        ({}, 400, "bad_field", "messages"),
        ({"messages": []}, 400, "bad_field", "messages"),
        ({"messages": ["Hi"]}, 400, "bad_field", "messages.0"),
        ({"messages": [{"content": "Hi"}]}, 400, "bad_field", "role"),
        ({"messages": [{"role": "user", "content": 5}]}, 400, "bad_field", "content"),
        ({"messages": asking("x", b"no picture")}, 415, "not_an_image", ""),
        ({"messages": asking("x" * (MAX_TEXT_CHARACTERS + 1), b"\xff")}, 400, "prompt", "room"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]},
            400,
            "bad_field",
            "messages.0.content.0.type",
        ),
        (
            {"messages": asking("x"), "response_format": {"type": "grammar"}},
            400,
            "bad_field",
            "response_format",
        ),
    ],
)
async def test_what_is_wrong_is_said_in_openais_form(
    service: Gateway, body: dict[str, Any], status: int, code: str, named: str
) -> None:
    answer = await service.client.post("/v1/chat/completions", json=body)

    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert error["type"] == "invalid_request_error"
    assert named in error["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"messages":' + b"[" * 100_000])
async def test_a_body_that_is_no_json_object(service: Gateway, body: bytes) -> None:
    answer = await service.client.post("/v1/chat/completions", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "bad_json")


async def test_half_characters_are_no_error(service: Gateway) -> None:
    body = b'{"messages":[{"role":"user","content":"Create a title for this text: Cat \\ud800"}]}'
    answer = await service.client.post("/v1/chat/completions", content=body, headers=JSON)

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"] == "Cat"


async def test_a_body_that_is_too_large(service: Gateway) -> None:
    body = b" " * ((32 << 20) + 1)
    answer = await service.client.post("/v1/chat/completions", content=body, headers=JSON)

    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")


async def test_the_page_tells_what_works(service: Gateway, scene: bytes, tmp_path: Path) -> None:
    page = ROOT / "docs" / "how-to" / "openai.md"
    [code] = [block.code for block in blocks(page) if block.language == "python"]
    picture = tmp_path / "door.jpg"
    picture.write_bytes(scene)
    for shown, here in {"http://127.0.0.1:8808": service.url, "door.jpg": str(picture)}.items():
        assert shown in code
        code = code.replace(shown, here)

    process = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=PIPE)
    said, _ = await process.communicate()

    assert (process.returncode, said.decode().strip()) == (0, "Yes")


async def test_the_described_example_works(service: Gateway) -> None:
    content = BODY["content"]["application/json"]
    jsonschema.validate(content["example"], content["schema"])
    answer = await service.client.post("/v1/chat/completions", json=content["example"])

    assert answer.status_code == 200
    assert answer.json()["choices"][0]["message"]["content"]


async def test_each_of_several_has_its_line(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("each") / "service"
    pictures = [make_image(seed) for seed in range(3)]
    async with (
        gateway(mosquitto, folder, "http/openai-each", http={"images": "each"}) as service,
        openai.AsyncOpenAI(base_url=service.url, api_key="any") as client,
    ):
        lines = (await said(client, "Describe this image", *pictures)).splitlines()

    assert len(lines) == len(set(lines)) == 3
