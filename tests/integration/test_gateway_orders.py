"""Everything else that is asked and ordered over HTTP: jobs, queue, batches, cameras, model."""

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("orders") / "service"
    cameras = {"door": {"location": "Door"}}
    async with gateway(mosquitto, folder, "http/orders", cameras=cameras) as it:
        yield it


@pytest_asyncio.fixture(loop_scope="module")
async def paused(service: Gateway) -> AsyncIterator[Gateway]:
    """What waits, waits on."""
    await service.client.post("/queue/pause")
    yield service
    await service.client.post("/queue/clear")
    await service.client.post("/queue/resume")


def _base64(number: int) -> str:
    return base64.b64encode(make_image(number)).decode()


async def _ok(answer: httpx.Response, status: int = 200) -> Any:
    assert answer.status_code == status, answer.text
    return answer.json()


async def _submit(service: Gateway, number: int, **fields: Any) -> str:
    frame = {"camera_id": "door", "frame_data": _base64(number), **fields}
    said = await _ok(await service.client.post("/motion/detect", json=frame), 202)
    job_id: str = said["job_id"]
    return job_id


async def _batch(service: Gateway, batch_id: str) -> Any:
    """A batch once it is over."""
    while True:
        found = await _ok(await service.client.get(f"/api/batch/{batch_id}"))
        if found["finished_at"] is not None:
            return found


def _problem(answer: httpx.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


# Jobs


async def test_job_is_cancelled_retried_and_listed(paused: Gateway) -> None:
    job_id = await _submit(paused, 1)
    cancelled = await _ok(await paused.client.delete(f"/queue/job/{job_id}"))
    assert cancelled["status"] == "cancelled"
    assert _problem(await paused.client.delete(f"/queue/job/{job_id}")) == (409, "wrong_state")

    again = await _ok(await paused.client.post(f"/queue/job/{job_id}/retry"), 202)
    assert again["retry_of"] == job_id
    page = await _ok(
        await paused.client.get(
            "/queue/jobs", params={"cameraId": "door", "orderBy": "queued_at", "limit": "1"}
        )
    )
    assert [each["job_id"] for each in page["items"]] == [again["job_id"]]
    assert page["pagination"] == {"limit": 1, "offset": 0, "has_more": True}


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "/queue/jobs?limit=0", (400, "bad_request")),
        ("GET", "/queue/jobs?colour=red", (400, "bad_request")),
        ("GET", "/queue/job/nobody", (404, "not_found")),
        ("GET", "/queue/job/a%2Fb", (404, "not_found")),
        ("DELETE", "/queue/job/nobody", (404, "not_found")),
        ("GET", "/cameras/nobody", (404, "not_found")),
        ("POST", "/cameras/door/describe", (409, "wrong_state")),
        ("DELETE", "/cameras/door", (409, "wrong_state")),
        ("POST", "/queue/cleanup?max_age_hours=x", (400, "bad_request")),
        ("POST", "/api/queue/enqueue/nobody", (404, "not_found")),
        ("GET", "/api/queue/status/nobody", (404, "not_found")),
        ("GET", "/nowhere", (404, "not_found")),
        ("PUT", "/queue/stats", (405, "method_not_allowed")),
    ],
)
async def test_refusal_has_its_status(
    service: Gateway, method: str, path: str, said: tuple[int, str]
) -> None:
    assert _problem(await service.client.request(method, path)) == said


async def test_field_that_does_not_belong_is_named(service: Gateway) -> None:
    answer = await service.client.post("/queue/clear", json={"prio": "low"})
    assert answer.json()["message"] == "prio: unknown field"
    answer = await service.client.post("/queue/cleanup?max_age_hours=1", json={"max_age_hours": 2})
    assert answer.json()["message"] == "max_age_hours: is said twice, and differently"
    answer = await service.client.post(
        "/queue/clear", content="{}", headers={"Content-Type": "text/plain"}
    )
    assert _problem(answer) == (415, "unsupported_type")


# The queue


async def test_queue_is_paused_cleared_and_resumed(paused: Gateway) -> None:
    stats = await _ok(await paused.client.get("/queue/stats"))
    assert stats["processing"] is False
    await _submit(paused, 2, priority="low")
    cleared = await _ok(await paused.client.post("/queue/clear", json={"priority": "low"}))
    assert cleared["count"] == 1
    switched = await paused.client.post("/queue/processing", json={"enabled": True})
    assert await _ok(switched) == {"processing": True}


async def test_full_queue_says_when_to_come_again(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("full") / "service"
    async with gateway(mosquitto, folder, "http/full", queue={"capacity": 1}) as small:
        await small.client.post("/queue/pause")
        await _submit(small, 3, priority="high")
        frame = {"camera_id": "door", "frame_data": _base64(4), "priority": "low"}
        answer = await small.client.post("/motion/detect", json=frame)
        assert _problem(answer) == (429, "queue_full")
        assert int(answer.headers["Retry-After"]) >= 1
        await small.client.post("/queue/clear")


# Batches


async def test_batch_is_taken_and_read(service: Gateway) -> None:
    items = [{"frame_data": _base64(20)}, {"frame_data": "?"}, {"camera_id": "x", "colour": 1}]
    body = {"name": "night", "camera_id": "door", "items": items}
    taken = await _ok(await service.client.post("/api/batch", json=body), 202)
    assert (taken["total"], taken["total_tasks"]) == (3, 3)
    assert taken["job_id"] == taken["batch_id"]

    found = await _batch(service, taken["batch_id"])
    assert [each["status"] for each in found["results"]] == ["completed", "failed", "failed"]
    page = await _ok(await service.client.get("/api/batch?limit=1"))
    assert page["items"][0]["name"] == "night"
    said = await _ok(await service.client.get(f"/api/queue/status/{taken['batch_id']}"))
    assert (said["status"], said["progress"]) == ("completed", 1.0)


async def test_batch_of_a_task_queue_is_taken(service: Gateway) -> None:
    items = [_base64(21), {"image": _base64(22), "id": 7}, f"data:image/png;base64,{_base64(23)}"]
    body = {"type": "caption", "items": items, "config": {"prompt": "Who?", "threads": 4}}
    taken = await _ok(await service.client.post("/api/batch", json=body), 202)
    found = await _batch(service, taken["job_id"])
    assert [each["status"] for each in found["results"]] == ["completed"] * 3


async def test_images_of_a_job_are_a_batch(service: Gateway) -> None:
    body = {"images": [_base64(24), "?"], "config": {}}
    taken = await _ok(await service.client.post("/api/visage/job", json=body), 202)
    found = await _batch(service, taken["job_id"])
    assert [each["status"] for each in found["results"]] == ["completed", "failed"]


async def test_batch_is_cancelled(paused: Gateway) -> None:
    body = {"camera_id": "door", "items": [{"frame_data": _base64(25)}]}
    taken = await _ok(await paused.client.post("/api/batch", json=body), 202)
    ended = await _ok(await paused.client.delete(f"/api/batch/{taken['batch_id']}"))
    assert ended["state"] == "cancelled"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/api/batch", {"items": []}, (400, "bad_request")),
        ("/api/batch", {"items": [{}], "colour": 1}, (400, "bad_request")),
        ("/api/batch", {"type": "x", "items": "x"}, (400, "bad_field")),
        ("/api/batch", {"type": "x", "items": ["x"], "config": 1}, (400, "bad_field")),
        ("/api/batch", [], (400, "bad_json")),
        ("/api/visage/job", {}, (400, "bad_request")),
    ],
)
async def test_bad_batch_is_refused(
    service: Gateway, path: str, body: Any, said: tuple[int, str]
) -> None:
    assert _problem(await service.client.post(path, json=body)) == said


async def test_large_batch_is_read(service: Gateway) -> None:
    item = {"frame_data": _base64(26) + "A" * (4 << 20)}  # longer than a frame: its own failure
    body = json.dumps({"camera_id": "door", "items": [item] * 4})
    answer = await service.client.post(
        "/api/batch", content=body, headers={"Content-Type": "application/json"}
    )
    taken = await _ok(answer, 202)
    assert (await _batch(service, taken["batch_id"]))["failed"] == 4


# Cameras and the model


async def test_settings_of_a_camera_are_changed_and_reset(service: Gateway) -> None:
    changed = await service.client.patch("/cameras/door", json={"cooldown": 5, "prompt": "Who?"})
    assert (await _ok(changed))["settings"]["cooldown"] == 5
    back = await service.client.patch("/cameras/door", json={"cooldown": None})
    assert (await _ok(back))["changed"] == ["prompt"]
    reset = await service.client.post("/cameras/door/reset", json={"setting": "prompt"})
    assert (await _ok(reset))["changed"] == []
    answer = await service.client.patch("/cameras/door", json={"camera_id": "other", "cooldown": 1})
    assert _problem(answer) == (400, "bad_field")


async def test_camera_is_listed_and_forgotten(service: Gateway) -> None:
    await _ok(await service.client.patch("/cameras/attic", json={"cooldown": 1}))
    page = await _ok(await service.client.get("/cameras"))
    assert {"attic", "door"} <= {each["camera_id"] for each in page["items"]}
    gone = await _ok(await service.client.delete("/cameras/attic"))
    assert gone == {"camera_id": "attic"}


async def test_model_is_told_unloaded_and_loaded(service: Gateway) -> None:
    info = await _ok(await service.client.get("/model/info"))
    assert info["model"]["state"] == "ready"
    assert await _ok(await service.client.get("/api/ai/info")) == info
    await _ok(await service.client.get("/model/list"))
    ordered = await _ok(await service.client.post("/model/unload"))
    assert ordered["state"] in {"unloaded", "accepted"}
    answer = await service.client.post("/model/load", json={"model": "nobody/nothing"})
    assert _problem(answer) == (404, "not_found")
    assert (await _ok(await service.client.get("/info")))["version"]


# As others ask


@pytest.mark.parametrize("path", ["/api/queue/stats", "/api/queue/summary", "/api/media/status"])
async def test_stats_are_told_by_status(service: Gateway, path: str) -> None:
    said = await _ok(await service.client.get(path))
    assert {"queued", "processing", "completed", "failed"} <= said["stats"].keys()
    assert {"timestamp", "total_jobs"} <= said.keys()


async def test_items_are_read_cancelled_and_retried(paused: Gateway) -> None:
    job_id = await _submit(paused, 30)
    page = await _ok(await paused.client.get("/api/queue/items?status=queued&orderDirection=DESC"))
    assert page["items"][0]["job_id"] == job_id
    assert (await _ok(await paused.client.get(f"/api/queue/items/{job_id}")))["job_id"] == job_id
    ended = await _ok(await paused.client.post(f"/api/queue/items/{job_id}/cancel"))
    assert (ended["success"], ended["queueId"]) == (True, job_id)
    again = await _ok(await paused.client.post(f"/api/queue/items/{job_id}/retry"), 202)
    ended = await _ok(await paused.client.post(f"/api/queue/cancel/{again['queueId']}"))
    assert ended["status"] == "cancelled"
    answer = await paused.client.post(f"/api/queue/enqueue/{again['queueId']}")
    assert (await _ok(answer, 202))["mediaItemId"] == again["queueId"]


async def test_worker_is_stopped_and_started(service: Gateway) -> None:
    stopped = await _ok(await service.client.post("/api/queue/worker/stop"))
    assert (stopped["success"], stopped["running"]) == (True, False)
    status = await _ok(await service.client.get("/api/queue/worker/status"))
    assert status["running"] is False
    assert (await _ok(await service.client.post("/api/queue/worker/start")))["running"] is True


async def test_health_is_told_to_all(service: Gateway) -> None:
    assert (await _ok(await service.client.get("/api/queue/health")))["queue_healthy"] is True
    assert (await _ok(await service.client.get("/api/ai/health")))["status"] == "healthy"
    checks = (await _ok(await service.client.get("/health")))["checks"]
    assert {"database", "queue"} <= checks.keys()
