"""Whoever attacks the gateway of a whole service gets answers; frames over MQTT notice nothing."""

import asyncio
import json
import logging
import statistics
import sys
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any

import aiomqtt
import httpx
import pytest
import pytest_asyncio

from bench._beside import beside
from broker.embedded import EmbeddedBroker
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

SECRET = "swordfish-swordfish-swordfish"  # noqa: S105 - of the tests
_BASE = "http/hostile"
_PACE_MS = 200.0  # as a fast GPU
_PROXIED = {"X-Forwarded-For": "203.0.113.9"}  # so that being on this machine does not count

Caption = Callable[[], Awaitable[float]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("hostile") / "service"
    sections: dict[str, Any] = {"dedupe": {"window": 0, "similarity": 0}}
    async with gateway(
        mosquitto, folder, _BASE, pace_ms=_PACE_MS, http={"token": SECRET}, **sections
    ) as it:
        yield it


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def caption(service: Gateway) -> AsyncIterator[Caption]:
    """Sends a critical frame over MQTT and waits for its caption; returns the seconds it took."""
    num_sent = 0
    async with aiomqtt.Client("127.0.0.1", service.settings.mqtt.port) as client:
        await client.subscribe(f"{_BASE}/door/caption")
        messages = aiter(client.messages)

        async def send() -> float:
            nonlocal num_sent
            num_sent += 1
            job_id = f"frame-{num_sent}"
            frame = {
                "job_id": job_id,
                "priority": "critical",
                "frame_data": b64encode(make_image(num_sent)).decode(),
            }
            began = time.perf_counter()
            await client.publish(f"{_BASE}/door/frame", json.dumps(frame), qos=1)
            while json.loads((await anext(messages)).payload)["job_id"] != job_id:
                pass
            return time.perf_counter() - began

        yield send


async def healthy(service: Gateway) -> dict[str, str]:
    """What is not."""
    answer = (await service.client.get("/health")).json()
    return {
        name: check["message"]
        for name, check in answer["checks"].items()
        if check["status"] != "healthy" and name in {"http", "internal", "broker", "store"}
    }


async def raw(service: Gateway, text: bytes) -> bytes:
    """Send bytes, and return all that comes until the connection ends, or a second has passed."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.settings.http.port)
    got = b""
    try:
        writer.write(text)
        async with asyncio.timeout(1):
            while piece := await reader.read(65536):
                got += piece
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.close()
    return got


async def test_thousand_idle_connections_are_borne(service: Gateway, caption: Caption) -> None:
    port = service.settings.http.port
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(1100)]
    try:
        assert (await service.client.get("/livez")).status_code == 200
        assert await caption() < 5
        assert await healthy(service) == {}
    finally:
        for _, writer in opened:
            writer.close()


_HEAD = b"Host: localhost\r\nContent-Type: application/json\r\n"
_ATTACKS = {
    "cut": b"POST /login HTTP/1.1\r\n" + _HEAD + b"Content-Length: 100\r\n\r\n{",
    "chunk": b"POST /login HTTP/1.1\r\n" + _HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "chunk-size": b"POST /login HTTP/1.1\r\n"
    + _HEAD
    + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\na",
    "multipart": b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 30\r\n"
    b"Content-Type: multipart/form-data\r\n\r\n" + b"a" * 30,
    "null": b"GET /%00 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "surrogate": b"GET /%ed%a0%80/%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "header": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: \xff\xfe\r\n\r\n",
    "cookie": b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Real-IP: 1\r\n"
    b"Cookie: =; moondream2mqtt-=1.2.3; a\xff=\xff\r\n\r\n",
    "upgrade": b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\n"
    b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n",
    "pipelined": b"GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n" * 2000,
}


@pytest.mark.parametrize("name", _ATTACKS)
async def test_attack_is_answered_and_no_error_of_ours(
    name: str, service: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        got = await raw(service, _ATTACKS[name])
    assert b" 500 " not in got
    assert [each.getMessage() for each in caplog.records] == []
    assert await healthy(service) == {}


async def test_noise_is_no_error_of_ours(
    service: Gateway, caplog: pytest.LogCaptureFixture
) -> None:
    random = Random(7)
    pieces = [
        *(each + b"\r\n" for each in _ATTACKS["cookie"].split(b"\r\n")),
        *(random.randbytes(n) for n in (1, 10, 100, 1000)),
        b"POST / HTTP/1.1\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: 5\r\n",
        b"\r\n",
        b"5\r\nabcde\r\n0\r\n\r\n",
    ]

    async def attack() -> None:
        text = b"".join(random.choice(pieces) for _ in range(random.randrange(1, 20)))
        _, writer = await asyncio.open_connection("127.0.0.1", service.settings.http.port)
        writer.write(text)
        await asyncio.sleep(0.01)
        writer.close()

    with caplog.at_level(logging.WARNING):
        for _ in range(20):
            await asyncio.gather(*(attack() for _ in range(10)))
    assert [each.getMessage() for each in caplog.records] == []
    assert await healthy(service) == {}


async def test_token_stands_nowhere(service: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    said = []
    with caplog.at_level(logging.DEBUG):
        async with aiomqtt.Client("127.0.0.1", service.settings.mqtt.port) as client:
            for headers in (
                {"Authorization": f"Bearer {SECRET}x", **_PROXIED},
                {"Authorization": f"Bearer {SECRET}", **_PROXIED},
            ):
                answer = await service.client.get("/nothing", headers=headers)
                said.append(answer.text + str(answer.headers))
            await client.subscribe(f"{_BASE}/bridge/#")
            await client.publish(f"{_BASE}/bridge/request/health", "{}")
            async with asyncio.timeout(5):
                async for message in client.messages:
                    said.append(str(message.payload))
                    if message.topic.value.endswith("bridge/info"):
                        break
    assert SECRET not in "".join(said)
    assert SECRET not in caplog.text


async def test_guesses_are_slowed_down_and_the_right_token_elsewhere_is_not(
    service: Gateway, caption: Caption
) -> None:
    codes = []
    for number in range(40):
        headers = {**_PROXIED, "X-API-Key": f"guess-{number}"}
        codes.append((await service.client.get("/nothing", headers=headers)).status_code)
    other = {"X-Forwarded-For": "203.0.113.10", "Authorization": f"Bearer {SECRET}"}
    assert (await service.client.get("/health", headers=other)).json()["checks"]
    assert set(codes[:5]) == {401}
    assert set(codes[-20:]) == {429}


async def test_browser_logs_in(service: Gateway) -> None:
    headers = {**_PROXIED, "X-Forwarded-For": "203.0.113.20", "Accept": "text/html"}
    async with httpx.AsyncClient(base_url=service.url, headers=headers) as browser:
        sent = await browser.get("/nothing")
        form = await browser.get(sent.headers["Location"])
        assert "<form" in form.text
        done = await browser.post("/login", data={"token": SECRET, "next": "health"})
        assert done.headers["Location"] == "health"
        assert (await browser.get("/health")).json()["checks"]


@asynccontextmanager
async def flood(service: Gateway, kind: str) -> AsyncIterator[list[int]]:
    """A flood from another process while the block lasts; its number of answers comes last."""
    command = (sys.executable, "-m", "tests.support.http_flood")
    process = await asyncio.create_subprocess_exec(
        *command, str(service.settings.http.port), kind, stdin=-1, stdout=-1
    )
    assert process.stdin is not None and process.stdout is not None
    count: list[int] = []
    try:
        await asyncio.sleep(0.7)
        yield count
    finally:
        process.stdin.close()
        count.append(int(await process.stdout.read() or 0))
        await process.wait()


async def test_critical_frame_does_not_wait_for_a_flood(service: Gateway, caption: Caption) -> None:
    """Alternating, so that what else the machine does falls on both."""
    alone: list[float] = []
    flooded: list[float] = []
    num_answers = 0
    for _ in range(3):
        await caption()
    for _ in range(3):
        for kind in ("health", "paths", "connections"):
            alone += [await caption() for _ in range(3)]
            async with flood(service, kind) as count:
                flooded += [await caption() for _ in range(3)]
            num_answers += count[0]
    ratio = statistics.median(flooded) / statistics.median(alone)
    print(f"{ratio:.2f} × with {num_answers} answers in {sum(flooded):.1f} s")  # noqa: T201
    assert num_answers > 100
    assert ratio <= 1.2
    assert await healthy(service) == {}


async def test_bad_input_of_every_kind_has_the_right_code_and_no_frame_waits(
    service: Gateway, caption: Caption
) -> None:
    async with beside(service.settings.http.port, "bad") as counts:
        for _ in range(3):
            assert await caption() < 5
    assert [name for name in counts if name.endswith("WRONG")] == []
    assert counts.total() > 20
    assert await healthy(service) == {}


async def test_port_in_use_is_no_end(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory, service: Gateway
) -> None:
    folder = tmp_path_factory.mktemp("taken") / "service"
    port = service.settings.http.port
    check: dict[str, str] = {}
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(
            aiomqtt.Client("127.0.0.1", service.settings.mqtt.port)
        )
        await client.subscribe("http/taken/bridge/health")
        await stack.enter_async_context(
            gateway(mosquitto, folder, "http/taken", http={"port": port})
        )
        async with asyncio.timeout(20):
            async for message in client.messages:
                check = json.loads(message.payload)["checks"].get("http", {})
                if check:
                    break
    assert check["status"] == "degraded"
    assert f"port {port}" in check["message"]
