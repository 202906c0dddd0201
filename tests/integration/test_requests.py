"""Requests to a whole service, with a real broker; each is answered once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiomqtt
import pytest
import pytest_asyncio
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from broker.embedded import EmbeddedBroker
from schemas.requests.table import TABLE
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image
from tests.support.quick_service import WITHOUT_MODEL

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/asked"


class Asking(Conversation):
    """Sends requests too."""

    async def ask(
        self, operation: str, request: Any = b"", *, response_topic: str | None = None
    ) -> dict[str, Any]:
        """Send a request and wait for its answer."""
        where = response_topic or f"{self.base}/bridge/response/{operation}"
        name = where.removeprefix(f"{self.base}/")
        before = len(self.said(name))
        payload = request if isinstance(request, bytes) else json.dumps(request).encode()
        properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
        if response_topic is not None:
            properties.ResponseTopic = response_topic
            properties.CorrelationData = b"\x00\x01"
        await self._client.publish(
            f"{self.base}/bridge/request/{operation}", payload, qos=1, properties=properties
        )
        answer = (await self.wait_for_many(before + 1, name))[-1]
        if response_topic is not None:
            assert answer.correlation_data == b"\x00\x01"
        found: dict[str, Any] = answer.json
        return found

    async def flood(self, operation: str) -> None:
        """Send a request and wait for nothing."""
        await self._client.publish(f"{self.base}/bridge/request/{operation}", b"{}", qos=0)

    async def until_it_listens(self) -> None:
        """What is sent before the service has subscribed reaches nobody."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.ask("health")
                    return

    async def data(self, operation: str, request: Any = b"") -> dict[str, Any]:
        answer = await self.ask(operation, request)
        assert answer["status"] == "ok", answer
        found: dict[str, Any] = answer["data"]
        return found

    async def code(self, operation: str, request: Any = b"") -> str:
        answer = await self.ask(operation, request)
        assert answer["status"] == "error", answer
        assert answer["error"]["message"]
        return str(answer["error"]["code"])


@asynccontextmanager
async def service(
    broker: EmbeddedBroker, base: str, folder: Path, **sections: Any
) -> AsyncIterator[Asking]:
    """A service whose model is not there: frames wait, and stay where a test put them."""
    settings = Settings(
        mqtt={"port": broker.port, "base_topic": base},
        data_dir=folder,
        **sections,
    )
    stop = asyncio.Event()
    async with Asking(broker.port, base) as talk, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop=stop, parts=WITHOUT_MODEL))
        await talk.wait_for("bridge/info")
        await talk.until_it_listens()
        yield talk
        stop.set()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    async with service(mosquitto, BASE, tmp_path_factory.mktemp("requests")) as found:
        yield found


async def test_answer_goes_to_the_response_topic_with_the_correlation_data(talk: Asking) -> None:
    topic = f"{BASE}/response/requests/me"
    answer = await talk.ask("queue/stats", {"transaction": 7}, response_topic=topic)
    assert (answer["status"], answer["transaction"]) == ("ok", 7)
    assert answer["data"]["queue_size"] >= 0
    assert not talk.said("bridge/response/queue/stats", transaction=7)


@pytest.mark.parametrize("elsewhere", ["front/caption", "response/requests"])
async def test_response_topic_elsewhere_is_an_error_where_the_sender_can_look(
    talk: Asking, elsewhere: str
) -> None:
    properties = Properties(PacketTypes.PUBLISH)  # type: ignore[no-untyped-call]
    properties.ResponseTopic = f"{BASE}/{elsewhere}"
    request = json.dumps({"transaction": elsewhere}).encode()
    await talk._client.publish(f"{BASE}/bridge/request/info", request, qos=1, properties=properties)
    answer = await talk.wait_for("bridge/response/info", transaction=elsewhere)
    assert answer.json["error"]["code"] == "bad_response_topic"
    assert "response/requests/" in answer.json["error"]["message"]
    assert not talk.said(elsewhere)


@pytest.mark.parametrize(
    ("operation", "request_", "code", "named"),
    [
        ("queue/nonsense", {}, "unknown_operation", "queue/stats"),
        ("job/get", {}, "bad_request", "job_id"),
        ("job/get", {"job_id": 5}, "bad_request", "job_id"),
        ("job/get", {"job_id": "x", "colour": "red"}, "bad_request", "colour"),
        ("job/get", {"job_id": "nobody"}, "not_found", "nobody"),
        ("job/get", b"nobody", "not_found", "nobody"),
        ("job/list", {"limit": 1000}, "bad_request", "limit"),
        ("job/list", {"status": "sleeping"}, "bad_request", "status"),
        ("info", b"[1]", "bad_json", "object"),
        ("info", b"{", "bad_json", "character"),
        ("info", b"\xff", "bad_json", "object"),
        ("job/get", b"\xff", "bad_json", "UTF-8"),
        ("info", b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}", "bad_json", "deeper"),
        ("info", b" " * 300_000 + b"{}", "too_large", "262144"),
        ("info", {"transaction": []}, "bad_request", "transaction"),
        ("info", {"transaction": "x" * 300}, "bad_request", "transaction"),
        ("info", {"transaction": "\ud800"}, "bad_request", "transaction"),
    ],
)
async def test_bad_request_is_an_error_that_names_what_is_wrong(
    talk: Asking, operation: str, request_: Any, code: str, named: str
) -> None:
    answer = await talk.ask(operation, request_)
    assert (answer["status"], answer["error"]["code"]) == ("error", code)
    assert named in answer["error"]["message"]


async def test_job_is_found_by_its_id_alone_until_two_cameras_have_it(talk: Asking) -> None:
    await talk.send("front", json_frame(make_image(1), job_id="mine", metadata={"a": 1}))
    await talk.wait_for("front/status", job_id="mine", status="queued")
    job = await talk.data("job/get", b"mine")
    assert (job["status"], job["camera_id"], job["metadata"]) == ("queued", "front", {"a": 1})
    assert job["queue_position"] == 1
    await talk.send("back", json_frame(make_image(2), job_id="mine"))
    await talk.wait_for("back/status", job_id="mine", status="queued")
    assert await talk.code("job/get", b"mine") == "ambiguous"
    job = await talk.data("job/get", {"job_id": "mine", "camera_id": "back"})
    assert job["camera_id"] == "back"
    assert await talk.code("job/result", {"job_id": "mine", "camera_id": "back"}) == "wrong_state"


async def test_list_pages_through_what_matches(talk: Asking) -> None:
    for number in range(5):
        await talk.send("paged", json_frame(make_image(10 + number), job_id=f"page-{number}"))
        await talk.wait_for("paged/status", job_id=f"page-{number}", status="queued")
    request = {"camera_id": "paged", "limit": 2, "order_direction": "asc"}
    page = await talk.data("job/list", request)
    assert [each["job_id"] for each in page["items"]] == ["page-0", "page-1"]
    assert page["count"] == 5
    assert page["pagination"] == {"limit": 2, "offset": 0, "has_more": True}
    page = await talk.data("job/list", {**request, "offset": 4})
    assert [each["job_id"] for each in page["items"]] == ["page-4"]
    assert not page["pagination"]["has_more"]


async def test_retained_request_is_not_answered(mosquitto: EmbeddedBroker, talk: Asking) -> None:
    """It was asked for long ago; at a start the broker would send it again."""
    async with aiomqtt.Client("127.0.0.1", mosquitto.port) as client:
        topic = f"{BASE}/bridge/request/info"
        await client.publish(topic, b'{"transaction": "old"}', qos=1, retain=True)
        await talk.data("health")
        answered = len(talk.said("bridge/response/info", transaction="old"))
        await client.publish(topic, b"", qos=1, retain=True)
    assert answered == 1  # live: to a subscriber that is there it comes without the flag


async def test_every_operation_is_answered(
    talk: Asking, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))  # no model of the machine's is loaded
    for operation in TABLE:
        request = dict(operation.example)
        if "timeout" in operation.request.model_fields:  # there is no end without a model
            request["timeout"] = 0.2
        answer = await talk.ask(operation.name, request)
        assert answer["status"] in {"ok", "error"}
        if answer["status"] == "error":
            assert answer["error"]["code"] in {"not_found", "wrong_state", "timeout", "content"}, (
                answer
            )
