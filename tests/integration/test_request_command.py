"""`request` against a real service, over both versions of MQTT."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from schemas.requests.bridge import INFO
from schemas.requests.jobs import JOB_GET, JOB_LIST
from schemas.requests.table import TABLE
from service.commands.ask import ask
from service.errors import ServiceError
from service.settings import MqttSettings
from tests.integration.test_commands import run_command
from tests.integration.test_requests import Asking, service
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image
from tests.support.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(180)]

BASE = "home/commanded"


@dataclass(frozen=True, slots=True)
class Site:
    """A service with one waiting job."""

    talk: Asking
    port: int

    @property
    def environment(self) -> dict[str, str]:
        return {
            "MOONDREAM2MQTT__MQTT__PORT": str(self.port),
            "MOONDREAM2MQTT__MQTT__BASE_TOPIC": BASE,
        }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    async with service(mosquitto, BASE, tmp_path_factory.mktemp("commanded")) as talk:
        await talk.send("front", json_frame(make_image(1), job_id="mine", metadata={"a": "ä\x9b"}))
        await talk.wait_for("front/status", job_id="mine", status="queued")
        yield Site(talk, mosquitto.port)


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
async def test_answer_comes_back_over_every_version(site: Site, protocol: str) -> None:
    mqtt = MqttSettings(port=site.port, base_topic=BASE, protocol=protocol)
    before = len(site.talk.said("bridge/response/job/get"))
    data = await ask(mqtt, JOB_GET, {"job_id": "mine"}, timeout_s=20)
    assert (data["camera_id"], data["status"]) == ("front", "queued")
    if protocol == "3.1.1":  # the other listener may hear it a moment later
        await site.talk.wait_for_many(before + 1, "bridge/response/job/get")
    shared = len(site.talk.said("bridge/response/job/get")) - before
    assert shared == (1 if protocol == "3.1.1" else 0)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_error_of_the_service_is_raised_with_its_code(site: Site, protocol: str) -> None:
    mqtt = MqttSettings(port=site.port, base_topic=BASE, protocol=protocol)
    with pytest.raises(ServiceError, match="not_found: there is no job nobody"):
        await ask(mqtt, JOB_GET, {"job_id": "nobody"}, timeout_s=20)


async def test_broker_without_mqtt_5_is_asked_in_3_1_1(site: Site) -> None:
    async with TcpProxy(site.port, refuse_5="connack") as proxy:
        mqtt = MqttSettings(port=proxy.port, base_topic=BASE)
        data = await ask(mqtt, JOB_GET, {"job_id": "mine"}, timeout_s=20)
    assert data["status"] == "queued"


async def test_request_prints_the_data_as_json(site: Site) -> None:
    ended = await run_command("request", "job/get", "mine", environment=site.environment)
    assert (ended.code, ended.err) == (0, "")
    assert json.loads(ended.out)["metadata"] == {"a": "ä\x9b"}
    assert "ä\\u009b" in ended.out  # a terminal would obey the second


async def test_request_of_error_is_one_line_and_exits_1(site: Site) -> None:
    words = ("request", "job/list", "limit=1000")
    ended = await run_command(*words, environment=site.environment)
    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("moondream2mqtt: bad_request: limit: ")


async def test_request_to_nobody_says_so_and_is_not_sent(site: Site) -> None:
    mqtt = MqttSettings(port=site.port, base_topic="home/nobody")
    with pytest.raises(ServiceError, match="home/nobody/bridge/state says nothing"):
        await ask(mqtt, JOB_LIST, {}, timeout_s=1)


async def test_request_without_an_answer_ends_in_time(site: Site) -> None:
    mqtt = MqttSettings(port=site.port, base_topic="home/silent")
    await site.talk._client.publish("home/silent/bridge/state", "online", qos=1, retain=True)
    with pytest.raises(ServiceError, match=r"no answer to info within 0.3 s"):
        await ask(mqtt, INFO, {}, timeout_s=0.3)


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
async def test_what_is_no_answer_is_passed_over(site: Site, protocol: str) -> None:
    base = "home/crowded"
    await site.talk._client.publish(f"{base}/bridge/state", "online", qos=1, retain=True)
    mqtt = MqttSettings(port=site.port, base_topic=base, protocol=protocol)
    async with Conversation(site.port, base) as others:
        asking = asyncio.create_task(ask(mqtt, INFO, {}, timeout_s=20))
        request = await others.wait_for("bridge/request/info")
        transaction = request.json["transaction"]
        where = f"response/requests/{transaction}" if protocol == "5" else "bridge/response/info"
        for answer in (
            b"\xff",
            b"[" * 5000,
            b'{"status": "ok", "data": []}',
            b'{"status": "sleeping", "data": {}}',
            json.dumps({"status": "ok", "data": {"a": 1}, "transaction": transaction}).encode(),
        ):
            await others._client.publish(f"{base}/{where}", answer, qos=1)
        assert await asking == {"a": 1}


async def test_too_large_request_is_not_sent(site: Site) -> None:
    mqtt = MqttSettings(port=site.port, base_topic=BASE)
    with pytest.raises(ServiceError, match="too_large"):
        await ask(mqtt, INFO, {"a": "x" * 300_000}, timeout_s=1)


async def complete(site: Site | None, *words: str) -> list[str]:
    """What bash is offered for the last word."""
    ended = await run_command(
        environment={
            **(site.environment if site else {"MOONDREAM2MQTT__MQTT__PORT": "1"}),
            "_MOONDREAM2MQTT_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(["moondream2mqtt", *words]),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert (ended.code, ended.err) == (0, "")
    return ended.out.split()


async def test_operations_fields_values_and_job_ids_are_completed(site: Site) -> None:
    names = [each.name for each in TABLE if each.name.startswith("job/")]
    assert await complete(site, "request", "job/") == names
    assert await complete(site, "request", "job/list", "order_d") == ["order_direction="]
    assert await complete(site, "request", "job/list", "order_direction=d") == [
        "order_direction=desc"
    ]
    assert await complete(site, "request", "job/list", "order_direction", "=", "d") == ["desc"]
    assert await complete(site, "request", "job/list", "order_direction", "=") == ["asc", "desc"]
    assert await complete(site, "request", "job/get", "m") == ["mine"]
    assert await complete(site, "request", "job/get", "job_id=m") == ["job_id=mine"]
    assert await complete(site, "request", "camera/get", "f") == ["front"]
    assert await complete(site, "publish", "--camera", "f") == ["front"]


async def test_completion_without_a_service_is_silent() -> None:
    assert await complete(None, "request", "job/get", "m") == []
