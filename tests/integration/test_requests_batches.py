"""Batches over MQTT: many frames in one request, beside what cameras send."""

import io
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking, service
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.http_receivers import Receiver, answers
from tests.support.quick_service import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/batched"
QUICK = "home/quick"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    """Without a model: what waits stays."""
    async with service(mosquitto, BASE, tmp_path_factory.mktemp("batched")) as found:
        yield found


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def quick(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    """With an engine that captions at once."""
    folder = tmp_path_factory.mktemp("quick")
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": QUICK}, data_dir=folder, queue={"capacity": 10}
    )
    async with Asking(mosquitto.port, QUICK) as asking, serving(settings, folder):
        yield asking


def items(number: int, first: int = 0, **fields: Any) -> list[dict[str, Any]]:
    return [json_frame(make_image(first + i), **fields) for i in range(number)]


async def over(asking: Asking, batch_id: str) -> dict[str, Any]:
    heard = await asking.wait_for(f"bridge/batch/{batch_id}", progress=1)
    found: dict[str, Any] = heard.json
    return found


async def test_batch_ends_with_results_in_the_order_of_its_items(quick: Asking) -> None:
    frames = items(40)
    frames[3]["prompt"] = "Is there a car?"
    frames[7]["camera_id"] = "street"
    request = {"name": "night", "camera_id": "yard", "items": frames}
    batch = await quick.data("batch/submit", request)
    assert (batch["name"], batch["total"], batch["state"]) == ("night", 40, "running")
    end = await over(quick, batch["batch_id"])
    assert (end["completed"], end["failed"], end["state"]) == (40, 0, "finished")
    assert end["finished_at"]
    found = await quick.data("batch/get", batch["batch_id"].encode())
    assert [each["camera_id"] for each in found["results"]] == [
        "street" if i == 7 else "yard" for i in range(40)
    ]
    assert all(each["result"]["caption"] for each in found["results"])
    assert len({each["result"]["caption"] for each in found["results"]}) == 40
    part = await quick.data("batch/get", {"batch_id": batch["batch_id"], "offset": 38})
    assert part["results"] == found["results"][38:]
    assert not part["pagination"]["has_more"]


async def test_same_pictures_in_a_batch_are_captioned_each(quick: Asking) -> None:
    """They were asked for, and their camera's frames are none the wiser."""
    same = json_frame(make_image(900))
    batch = await quick.data("batch/submit", {"camera_id": "twin", "items": [same] * 3})
    assert (await over(quick, batch["batch_id"]))["completed"] == 3
    await quick.send("twin", {**same, "job_id": "live"})
    await quick.wait_for("twin/status", job_id="live", status="completed")


async def test_caption_of_a_batch_does_not_take_the_place_of_the_camera_s(quick: Asking) -> None:
    await quick.send("gate", json_frame(make_image(910), job_id="live"))
    await quick.wait_for("gate/status", job_id="live", status="completed")
    batch = await quick.data("batch/submit", {"camera_id": "gate", "items": items(1, 911)})
    await over(quick, batch["batch_id"])
    async with Asking(quick._client._port, QUICK) as late:
        kept = await late.wait_for("gate/caption")
    assert kept.json["job_id"] == "live"


@pytest.mark.parametrize(
    ("item", "code", "named"),
    [
        ({"frame_data": "AAAA"}, "not_an_image", "frame_data"),
        ({}, "bad_field", "frame_data"),
        ({"frame_url": "http://elsewhere/a.jpg"}, "url_refused", "elsewhere"),
        ({"frame_data": "x", "colour": "red"}, "bad_field", "colour"),
        ({"frame_data": "x", "motion_intensity": "high"}, "bad_field", "motion_intensity"),
        ({"camera_id": "a/b", "frame_data": "x"}, "bad_field", "camera_id"),
        ({"metadata": {"a": [[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]}}, "bad_json", "deeper"),
        ([1, 2], "bad_json", "object"),
        (None, "bad_json", "object"),
        ('text, [with] {all} "of" it', "bad_json", "object"),
    ],
)
async def test_item_that_is_no_frame_is_one_failed_result(
    talk: Asking, item: Any, code: str, named: str
) -> None:
    request = {"camera_id": "odd", "items": [*items(1, 50), item]}
    batch = await talk.data("batch/submit", request)
    assert (batch["total"], batch["failed"], batch["completed"]) == (2, 1, 0)
    first, second = (await talk.data("batch/get", batch["batch_id"].encode()))["results"]
    assert first["status"] == "queued"
    assert (second["status"], second["error"]["code"], second["job_id"]) == ("failed", code, None)
    assert named in second["error"]["message"]
    await talk.data("batch/cancel", batch["batch_id"].encode())


async def test_item_without_any_camera_is_one_failed_result(talk: Asking) -> None:
    batch = await talk.data("batch/submit", {"items": items(1)})
    assert (await over(talk, batch["batch_id"]))["failed"] == 1
    [only] = (await talk.data("batch/get", batch["batch_id"].encode()))["results"]
    assert "camera_id" in only["error"]["message"]


@pytest.mark.parametrize(
    ("operation", "request_", "code", "named"),
    [
        ("batch/submit", {}, "bad_request", "items"),
        ("batch/submit", {"items": []}, "bad_request", "items"),
        ("batch/submit", {"items": {"a": 1}}, "bad_request", "items"),
        ("batch/submit", {"items": "all"}, "bad_request", "items"),
        ("batch/submit", {"items": [{}] * 1001}, "bad_request", "items"),
        ("batch/submit", {"items": [{}], "colour": 1}, "bad_request", "colour"),
        ("batch/submit", {"items": [{}], "name": 5}, "bad_request", "name"),
        ("batch/submit", {"items": [{}], "camera_id": "bridge"}, "bad_request", "camera_id"),
        ("batch/submit", b'{"items": [{}', "bad_json", "brackets"),
        ("batch/submit", b'{"items": [{},,{}]}', "bad_json", "comma"),
        ("batch/submit", b'{"items": ["', "bad_json", "end"),
        ("batch/submit", b'{"items": [{}]} x', "bad_json", "character"),
        ("batch/get", {}, "bad_request", "batch_id"),
        ("batch/get", {"batch_id": 7}, "bad_request", "batch_id"),
        ("batch/get", {"batch_id": "front/1"}, "bad_request", "batch_id"),
        ("batch/get", b"nobody", "not_found", "nobody"),
        ("batch/cancel", b"nobody", "not_found", "nobody"),
        ("batch/list", {"limit": 0}, "bad_request", "limit"),
    ],
)
async def test_bad_request_is_an_error_that_names_what_is_wrong(
    talk: Asking, operation: str, request_: Any, code: str, named: str
) -> None:
    answer = await talk.ask(operation, request_)
    assert (answer["status"], answer["error"]["code"]) == ("error", code)
    assert named in answer["error"]["message"]


async def test_cancel_ends_what_waits_in_the_queue_and_beside_it(talk: Asking) -> None:
    batch = await talk.data("batch/submit", {"camera_id": "yard", "items": items(150, 100)})
    name = batch["batch_id"].encode()
    cancelled = await talk.data("batch/cancel", name)
    assert (cancelled["state"], cancelled["cancelled"]) == ("cancelled", 150)
    end = await over(talk, batch["batch_id"])
    assert (end["state"], end["cancelled"]) == ("cancelled", 150)
    assert await talk.code("batch/cancel", name) == "wrong_state"
    job_id = (await talk.data("batch/get", name))["results"][149]["job_id"]
    job = await talk.data("job/get", {"job_id": job_id})
    assert (job["status"], job["error"]["code"]) == ("cancelled", "cancelled")
    listed = await talk.data("batch/list", {"limit": 1})
    assert listed["count"] >= 1
    assert listed["items"][0]["batch_id"] == batch["batch_id"]


async def test_id_that_is_a_job_already_is_that_job(talk: Asking) -> None:
    await talk.send("known", json_frame(make_image(400), job_id="mine"))
    await talk.wait_for("known/status", job_id="mine", status="queued")
    request = {"camera_id": "known", "items": items(2, 401, job_id="mine")}
    batch = await talk.data("batch/submit", request)
    found = await talk.data("batch/get", batch["batch_id"].encode())
    assert [each["job_id"] for each in found["results"]] == ["mine", "mine"]
    cancelled = await talk.data("batch/cancel", batch["batch_id"].encode())
    assert cancelled["cancelled"] == 0  # it is not the batch's
    assert (await talk.data("job/get", b"mine"))["status"] == "queued"


async def test_batch_drops_no_frame_of_a_camera(mosquitto: EmbeddedBroker, tmp_path: Path) -> None:
    """A queue of three: what a camera sends takes the place of what a batch has in it."""
    base = "home/narrow"
    async with service(mosquitto, base, tmp_path, queue={"capacity": 3}) as talk:
        batch = await talk.data("batch/submit", {"camera_id": "yard", "items": items(20)})
        await talk.wait_for_many(3, "yard/status", status="queued")
        for number in range(4):
            frame = json_frame(make_image(600 + number), job_id=f"live-{number}", priority="low")
            await talk.send("street", frame)
        await talk.wait_for("street/status", status="dropped", code="queue_full")
        assert len(talk.said("street/status", status="queued")) >= 3
        assert not talk.said("yard/status", status="dropped")
        stats = await talk.data("queue/stats")
        assert stats["status_counts"]["queued"] == 23
        found = await talk.data("batch/get", batch["batch_id"].encode())
        assert {each["status"] for each in found["results"]} == {"queued"}


async def test_large_request_is_read(talk: Asking) -> None:
    request = {"camera_id": "yard", "items": items(300)}
    assert len(json.dumps(request)) > 256 * 1024  # what other requests may have
    batch = await talk.data("batch/submit", request)
    assert (batch["total"], batch["failed"]) == (300, 0)
    await talk.data("batch/cancel", batch["batch_id"].encode())


async def test_images_behind_urls_and_webhooks_of_items(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    async with (
        Receiver(answers(200, body=make_image(700))) as pictures,
        Receiver(answers(404)) as nothing,
        Receiver(answers(200)) as hooks,
    ):
        settings = Settings(
            mqtt={"port": mosquitto.port, "base_topic": "home/urls"},
            data_dir=tmp_path,
            fetch={"allow_hosts": ["127.0.0.1"]},
            webhooks={"allow_hosts": ["127.0.0.1"]},
        )
        frames = [
            {"frame_url": f"{pictures.url}?number={i}", "webhook_url": hooks.url} for i in range(30)
        ]
        request = {"camera_id": "yard", "items": [*frames, {"frame_url": nothing.url}]}
        async with Asking(mosquitto.port, "home/urls") as asking, serving(settings, tmp_path):
            await asking.wait_for("bridge/info")
            batch = await asking.data("batch/submit", request)
            end = await over(asking, batch["batch_id"])
            assert (end["completed"], end["failed"]) == (30, 1)
            found = await asking.data("batch/get", batch["batch_id"].encode())
            last = found["results"][-1]
            assert (last["status"], last["error"]["code"]) == ("failed", "fetch_failed")
            await hooks.wait_for(30)


async def test_disk_that_is_nearly_full_takes_no_batch(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    base = "home/full"
    async with service(
        mosquitto, base, tmp_path, store={"min_free_bytes": 1 << 44}, stats_interval=1
    ) as talk:
        await talk.wait_for("bridge/health", status="unhealthy")
        answer = await talk.ask("batch/submit", {"camera_id": "yard", "items": items(3)})
        assert answer["error"]["code"] == "store"
        assert "disk" in answer["error"]["message"]
        assert (await talk.data("batch/list"))["count"] == 0
        assert (await talk.data("queue/stats"))["total_jobs"] == 0


async def test_batches_leave_half_of_the_store_to_the_cameras(
    mosquitto: EmbeddedBroker, tmp_path: Path
) -> None:
    """Else the cameras' low frames would be dropped: `disk_full`."""
    noise = random.Random(1).randbytes(800 * 800 * 3)
    buffer = io.BytesIO()
    Image.frombytes("RGB", (800, 800), noise).save(buffer, "JPEG", quality=90)
    request = {"camera_id": "yard", "items": [json_frame(buffer.getvalue())] * 5}
    async with service(mosquitto, "home/half", tmp_path, store={"max_bytes": 16 << 20}) as talk:
        answers = [await talk.ask("batch/submit", request) for _ in range(5)]
        assert [each["status"] for each in answers[:2]] == ["ok", "ok"]
        assert answers[-1]["error"]["code"] == "store"
        assert "half" in answers[-1]["error"]["message"]
        first = answers[0]["data"]["batch_id"]
        await talk.data("batch/cancel", first.encode())
        assert (await talk.ask("batch/submit", request))["status"] == "ok"
