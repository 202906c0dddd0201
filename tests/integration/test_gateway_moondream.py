"""Moondream's API with its own client, unmodified, in front of the demonstration model."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import pytest_asyncio
from PIL import Image

from broker.embedded import EmbeddedBroker
from demo.camera import default_cameras, story
from tests.docs.programs import run_page
from tests.support.gateway import Gateway, gateway

md = pytest.importorskip("moondream", reason="pip install --no-deps moondream")

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("moondream") / "service"
    async with gateway(mosquitto, folder, "http/moondream", with_model=True) as it:
        yield it


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """With a person."""
    front_door, *_ = default_cameras()
    return [frame.image for _, frame in zip(range(4), story(front_door, 1000), strict=False)][-1]


@pytest.fixture
def model(service: Gateway) -> Any:
    return md.vl(endpoint=f"{service.url}/v1", api_key="anything", model="moondream-2B")


async def call(function: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    """The client knows no event loop."""
    return await asyncio.to_thread(function, *args, **fields)


def as_uri(picture: Image.Image) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(as_jpeg(picture)).decode()}"


def as_jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=95)
    return file.getvalue()


def pieces(stream: Any) -> list[str]:
    return list(stream)


async def test_its_client_captions_and_asks(model: Any, picture: Image.Image) -> None:
    captions = {
        length: (await call(model.caption, picture, length=length))["caption"]
        for length in ("short", "normal", "long")
    }
    answer = await call(model.query, picture, "How many people are there?")
    reasoned = await call(model.query, picture, "Is it day or night?", reasoning=True)

    assert all(captions.values())
    assert len(captions["short"]) < len(captions["long"])
    assert answer["answer"]
    assert "reasoning" not in answer
    assert reasoned["reasoning"] == {"text": "", "grounding": []}


async def test_its_client_finds_things(model: Any, picture: Image.Image) -> None:
    boxes = (await call(model.detect, picture, "person"))["objects"]
    points = (await call(model.point, picture, "person", settings={"max_objects": 1}))["points"]

    assert boxes
    assert points
    for box in boxes:
        assert 0 <= box["x_min"] < box["x_max"] <= 1
        assert 0 <= box["y_min"] < box["y_max"] <= 1
    assert all(0 <= point["x"] <= 1 and 0 <= point["y"] <= 1 for point in points)


async def test_its_client_reads_a_stream_to_the_end(model: Any, picture: Image.Image) -> None:
    whole = (await call(model.caption, picture))["caption"]
    streamed = (await call(model.caption, picture, stream=True))["caption"]
    answer = (await call(model.query, picture, "Is it night?", stream=True))["answer"]

    assert "".join(await call(pieces, streamed)) == whole
    assert "".join(await call(pieces, answer))


async def test_its_client_asks_without_a_picture(model: Any) -> None:
    answer = await call(model.query, question="Are you there?")
    streamed = await call(model.query, question="Are you there?", stream=True)

    assert "picture" in answer["answer"]
    assert "demo/" not in answer["answer"]  # the model's folder is nobody's business
    assert "".join(await call(pieces, streamed["answer"])) == answer["answer"]


@pytest.mark.parametrize("stream", [False, True])
async def test_its_client_hears_of_a_failure(model: Any, stream: bool) -> None:
    broken = md.types.Base64EncodedImage(image_url="data:image/jpeg;base64,bm90IGFuIGltYWdl")

    def ask() -> list[str]:
        return list(model.caption(broken, stream=stream)["caption"])

    with pytest.raises(HTTPError) as failed:
        await call(ask)
    assert failed.value.code == 415
    failed.value.close()


async def test_what_the_model_cannot_do_is_said(
    model: Any, picture: Image.Image, service: Gateway
) -> None:
    with pytest.raises(HTTPError) as failed:
        await call(model.segment, picture, "person")
    assert failed.value.code == 501
    failed.value.close()
    body = {"image_url": as_uri(picture), "question": "What is here?", "spatial_refs": [[0.5, 0.5]]}
    pointed = await service.client.post("/v1/query", json=body)
    assert (pointed.status_code, pointed.json()["error"]["param"]) == (501, "spatial_refs")


async def test_every_form_of_a_request_gives_the_same(
    service: Gateway, picture: Image.Image
) -> None:
    jpeg, uri = as_jpeg(picture), as_uri(picture)
    bare = uri.partition(",")[2]
    post = service.client.post
    file = {"file": ("frame.jpg", jpeg, "image/jpeg")}
    answers = [
        await post("/v1/detect", json={"image_url": uri, "object": "person"}),
        await post("/v1/detect", json={"image_url": bare, "obj": "person", "unknown": {"a": 1}}),
        await post("/v1/detect", json={"image_url": {"url": uri}, "object": "person"}),
        await post("/v1/detect", data={"image_url": uri, "object": "person"}),
        await post("/v1/detect", data={"object": "person"}, files=file),
        await post("/v1/detect?obj=person", files=file),
        await post(
            "/v1/detect?object=person", content=jpeg, headers={"Content-Type": "image/jpeg"}
        ),
    ]

    assert [answer.status_code for answer in answers] == [200] * len(answers)
    found = [answer.json() for answer in answers]
    assert all(each["objects"] == found[0]["objects"] for each in found)
    assert all(each["request_id"] and each["_stats"]["duration"] >= 0 for each in found)


async def test_a_form_can_ask_for_a_stream(service: Gateway, picture: Image.Image) -> None:
    files = {"file": ("frame.jpg", as_jpeg(picture), "image/jpeg")}

    answer = await service.client.post("/v1/caption?stream=true&length=short", files=files)

    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.splitlines() if line]
    assert {"tokens", "duration"} <= events[-2]["stats"].keys()
    assert events[-1]["completed"] is True
    assert events[-1]["request_id"]


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("caption", {}, "image_url"),
        ("caption", {"image_url": 7}, "image_url"),
        ("query", {"image_url": "x"}, "question"),
        ("query", {"image_url": "x", "question": ["a"]}, "question"),
        ("query", {"image_url": "x", "question": "a" * 2001}, "question"),
        ("detect", {"image_url": "x"}, "object"),
        ("point", {"object": "dog"}, "image_url"),
        ("caption", {"image_url": "x", "stream": "perhaps"}, "stream"),
        ("caption", {"image_url": "x", "timeout": -1}, "timeout"),
    ],
)
async def test_what_is_wrong_is_named(
    service: Gateway, path: str, body: dict[str, Any], param: str
) -> None:
    answer = await service.client.post(f"/v1/{path}", json=body)

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert param in answer.json()["message"]


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"{", 400), (b"[]", 400), (b"\xff\xfe", 400), (b'{"a":' * 40 + b"1" + b"}" * 40, 400)],
)
async def test_a_body_that_is_no_object_is_refused(
    service: Gateway, content: bytes, status: int
) -> None:
    headers = {"Content-Type": "application/json"}
    answer = await service.client.post("/v1/caption", content=content, headers=headers)

    assert answer.status_code == status
    assert answer.json()["message"]


async def test_half_a_character_is_no_failure(service: Gateway) -> None:
    headers = {"Content-Type": "application/json"}
    content = rb'{"question": "Why \ud800?"}'

    answer = await service.client.post("/v1/query", content=content, headers=headers)

    assert answer.status_code == 200
    assert "Why ??" in answer.json()["answer"]


async def test_the_program_of_the_page_works(
    service: Gateway, picture: Image.Image, tmp_path: Path
) -> None:
    picture.save(tmp_path / "photo.jpg", "JPEG")

    said = await run_page("moondream-client.md", service.url, tmp_path)

    caption, _, objects, points, streamed = said.splitlines()
    assert caption
    assert "x_min" in objects
    assert "'x'" in points
    assert streamed
