"""Asking of a whole service over HTTP: hanging up, trying again, text while it is generated."""

import asyncio
import base64
import hashlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.support.conversation import Conversation
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "http/asking"
PACE_S = 1.2


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("asking") / "service"
    queue = {"retry_delay": 0.1}
    async with gateway(mosquitto, folder, BASE, pace_ms=PACE_S * 1e3, queue=queue) as it:
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def mqtt(mosquitto: EmbeddedBroker) -> AsyncIterator[Conversation]:
    async with Conversation(mosquitto.port, BASE) as it:
        yield it


def asked(image: bytes, **fields: Any) -> dict[str, Any]:
    data = base64.b64encode(image).decode()
    return {"image_url": f"data:image/jpeg;base64,{data}", **fields}


async def read(service: Gateway, image: bytes, key: str = "") -> list[tuple[float, dict[str, Any]]]:
    """What a stream says, and when."""
    headers = {"Idempotency-Key": key} if key else {}
    began, said = time.monotonic(), []
    content = asked(image, stream=True)
    async with service.client.stream("POST", "/v1/caption", json=content, headers=headers) as got:
        assert got.status_code == 200
        async for line in got.aiter_lines():
            if not line.startswith("data:"):
                continue
            said.append((time.monotonic() - began, json.loads(line.removeprefix("data:"))))
    return said


def pieces(said: list[tuple[float, dict[str, Any]]]) -> list[str]:
    return [each["chunk"] for _, each in said if "chunk" in each]


async def test_text_comes_while_it_is_generated(service: Gateway) -> None:
    image = make_image(1)
    said = await read(service, image)
    digest = hashlib.sha256(image).hexdigest()
    assert pieces(said) == [digest[:32], digest[32:]]
    assert said[0][0] < PACE_S <= said[1][0]


async def test_engine_that_is_lost_repeats_nothing(service: Gateway) -> None:
    image = make_image(2)
    assert "".join(pieces(await read(service, image, "crash-1"))) == (
        hashlib.sha256(image).hexdigest()
    )


async def test_engine_that_says_otherwise_the_second_time_ends_the_stream(service: Gateway) -> None:
    try:
        said = await read(service, make_image(3), "waver-1")
    except Exception:  # noqa: BLE001 - the connection is cut, or a line is no JSON: either will do
        return
    assert pieces(said) == ["Something else"]
    assert not any("completed" in each for _, each in said)


async def test_job_of_who_hangs_up_ends_as_cancelled_within_a_second(
    service: Gateway, mqtt: Conversation
) -> None:
    host, port = service.url.removeprefix("http://").split(":")
    body = json.dumps(asked(make_image(4))).encode()
    _, writer = await asyncio.open_connection(host, int(port))
    lines = (
        "POST /v1/caption HTTP/1.1",
        "Host: 127.0.0.1",
        "Content-Type: application/json",
        "Idempotency-Key: gone-1",
        f"Content-Length: {len(body)}",
    )
    writer.write("\r\n".join((*lines, "", "")).encode() + body)
    await mqtt.wait_for("http/status", job_id="gone-1", status="processing")
    writer.close()
    left = time.monotonic()
    await mqtt.wait_for("http/status", job_id="gone-1", status="cancelled")
    assert time.monotonic() - left < 1.0


async def test_identical_requests_are_one_job(service: Gateway, mqtt: Conversation) -> None:
    content = asked(make_image(5))
    answers = await asyncio.gather(
        *(service.client.post("/v1/caption", json=content) for _ in range(5))
    )
    assert {each.json()["request_id"] for each in answers} == {answers[0].json()["request_id"]}
    await mqtt.wait_for("http/status", job_id=answers[0].json()["request_id"], status="completed")
    captioned = {each.json["job_id"] for each in mqtt.said("http/status", status="completed")}
    assert captioned == {answers[0].json()["request_id"]}
