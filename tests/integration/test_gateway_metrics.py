"""What Prometheus reads of a whole service."""

import json
import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as read_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families

from broker.embedded import EmbeddedBroker
from tests.docs.reference import ROOT
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "http/metrics"
_DASHBOARD = ROOT / "docs" / "grafana" / "moondream2mqtt.json"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("metrics") / "service"
    async with gateway(mosquitto, folder, BASE, pace_ms=20) as it:
        yield it


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


async def read(service: Gateway) -> Samples:
    answer = await service.client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain")
    return {
        (each.name.removeprefix("moondream2mqtt_"), frozenset(each.labels.items())): each.value
        for family in text_string_to_metric_families(answer.text)
        for each in family.samples
    }


def labelled(**labels: str) -> frozenset[tuple[str, str]]:
    return frozenset(labels.items())


async def test_a_captioned_frame_is_counted(service: Gateway, mosquitto: EmbeddedBroker) -> None:
    async with Conversation(mosquitto.port, BASE) as talk:
        await talk.send("door", json_frame(make_image(1), priority="high"))
        await talk.wait_for("door/caption")
    found = await read(service)

    assert found["frames_total", labelled(camera="door", source="mqtt")] == 1
    assert found["jobs_total", labelled(camera="door", status="completed")] == 1
    for name in ("queue_wait", "processing", "job"):
        assert found[f"{name}_seconds_count", labelled(priority="high")] == 1
        assert found[f"{name}_seconds_bucket", labelled(priority="high", le="+Inf")] == 1
    assert found["processing_seconds_sum", labelled(priority="high")] >= 0.02
    assert found["generated_tokens_total", labelled()] >= 0
    assert found["mqtt_connected", labelled()] == 1
    assert found["last_caption_timestamp_seconds", labelled(camera="door")] > 1.7e9


async def test_refusals_are_counted_by_reason(service: Gateway, mosquitto: EmbeddedBroker) -> None:
    async with Conversation(mosquitto.port, BASE) as talk:
        await talk.send("door", b"no picture")
        await talk.wait_for("door/status", status="rejected")
    found = await read(service)

    assert found["rejected_total", labelled(reason="not_an_image")] == 1


async def test_a_waiting_job_grows_old_in_its_class(
    service: Gateway, mosquitto: EmbeddedBroker
) -> None:
    async with Conversation(mosquitto.port, BASE) as talk:
        await service_paused(service, talk, paused=True)
        await talk.send("door", json_frame(make_image(2), priority="low"))
        await talk.wait_for("door/status", status="queued", priority="low")
        found = await read(service)
        await service_paused(service, talk, paused=False)
        await talk.wait_for("door/status", status="completed", priority="low")

    assert found["queue_jobs", labelled(priority="low")] == 1
    assert found["queue_oldest_seconds", labelled(priority="low")] > 0
    assert found["queue_oldest_seconds", labelled(priority="critical")] == 0


async def service_paused(service: Gateway, talk: Conversation, *, paused: bool) -> None:
    operation = "queue/pause" if paused else "queue/resume"
    before = len(talk.said(f"bridge/response/{operation}"))
    await talk.send("", b"{}", topic=f"{BASE}/bridge/request/{operation}")
    await talk.wait_for_many(before + 1, f"bridge/response/{operation}")


async def test_routes_are_named_by_their_pattern(service: Gateway) -> None:
    for path in ("/livez", "/no/such/thing", "/another/%2e%2e/thing"):
        await service.client.get(path)
    found = await read(service)

    routes = {dict(labels)["route"] for name, labels in found if name == "http_requests_total"}
    assert "/livez" in routes
    assert not any("thing" in route for route in routes)
    assert found["http_requests_total", labelled(route="none", code="404")] >= 2


async def test_openmetrics_is_answered_to_who_asks_for_it(service: Gateway) -> None:
    accept = {"accept": "application/openmetrics-text; version=1.0.0"}
    answer = await service.client.get("/metrics", headers=accept)

    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    names = {
        family.name
        for family in read_openmetrics(answer.text)  # type: ignore[no-untyped-call]
    }
    assert {"moondream2mqtt_build", "moondream2mqtt_frames"} <= names


async def test_dashboard_asks_for_nothing_that_is_not_there(service: Gateway) -> None:
    """Metrics of GPUs are there with a GPU only."""
    found = await service.client.get("/metrics")
    there = set(re.findall(r"^(moondream2mqtt_\w+)", found.text, re.MULTILINE))
    declared = set(re.findall(r"^# TYPE (\w+) ", found.text, re.MULTILINE))
    dashboard = json.loads(_DASHBOARD.read_text())
    asked = {
        name
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
        for name in re.findall(r"moondream2mqtt_\w+", target["expr"])
    }

    assert len(asked) >= 12
    missing = {name for name in asked if name not in there | declared}
    assert all(name.startswith("moondream2mqtt_gpu_") for name in missing)
