"""The whole service in one process with a real broker, a real store and a real engine process.

One service serves all tests of this file; each test has cameras of its own.
"""

import asyncio
import base64
import io
import json
import random
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image, ImageDraw

from broker.embedded import EmbeddedBroker
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image, make_picture
from tests.support.http_receivers import Receiver, answers

pytestmark = pytest.mark.asyncio(loop_scope="module")

MODEL = Path(__file__).parents[2] / "demo" / "model"
BASE = "home/vision"
HOOK_SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()


@dataclass(frozen=True, slots=True)
class Site:
    """A running service and who is around it."""

    port: int
    receiver: Receiver
    settings: Settings


@pytest.fixture(scope="module")
def seeds() -> Iterator[int]:
    """A new picture for whoever asks."""
    return iter(range(1000, 100_000))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def site(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Site]:
    stop, ready = asyncio.Event(), asyncio.Event()
    async with Receiver(answers(200)) as receiver:
        settings = make_settings(mosquitto.port, tmp_path_factory.mktemp("service"), receiver)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve(settings, stop=stop, on_ready=ready.set))
            async with asyncio.timeout(60):
                await ready.wait()
            yield Site(mosquitto.port, receiver, settings)
            stop.set()


def make_settings(port: int, data_dir: Path, receiver: Receiver) -> Settings:
    content: dict[str, Any] = {
        "mqtt": {"port": port, "base_topic": BASE},
        "data_dir": data_dir,
        "model": {"name": str(MODEL), "device": "cpu", "slots": 4, "max_tokens": 48},
        "stats_interval": 0.5,
        "webhooks": {"secret": HOOK_SECRET, "allow_hosts": ["127.0.0.1"]},
        "fetch": {"allow_hosts": ["127.0.0.1"]},
        "sources": [{"topic": "ring/+/camera/{camera}/snapshot", "motion_intensity": 0.7}],
        "cameras": {
            "off": {"enabled": False},
            "still": {"min_intensity": 0.3},
            "cooling": {"cooldown": 60},
            "hooked": {
                "webhook_url": receiver.url,
                "webhook_headers": {"X-Operator": "token"},
                "location": "Gate",
            },
            "owner": {"webhook_url": receiver.url},
            "copycat": {"webhook_url": receiver.url},
            "asked": {"prompt": "Is there a dog?"},
            "shown": {"publish_image": True},
            "all": {"similarity": 0},
        },
    }
    return Settings(**content)


@pytest_asyncio.fixture(loop_scope="module")
async def talk(site: Site) -> AsyncIterator[Conversation]:
    async with Conversation(site.port, BASE) as conversation:
        yield conversation


# -- what comes back -----------------------------------------------------------------------------


async def test_jpeg_comes_back_as_a_retained_caption(talk: Conversation, site: Site) -> None:
    await talk.send("jpeg", make_image(1))
    status = await talk.wait_for("jpeg/status", status="completed")
    caption = await talk.wait_for("jpeg/caption", job_id=status.json["job_id"])
    assert talk.statuses("jpeg") == ["queued", "processing", "completed"]
    assert caption.json["result"]["caption"]
    assert 0 < caption.json["result"]["confidence"] <= 1
    assert caption.json["error_message"] is None
    async with Conversation(site.port, BASE) as latecomer:
        again = await latecomer.wait_for("jpeg/caption", job_id=status.json["job_id"])
        assert again.retain


async def test_caption_carries_user_properties(talk: Conversation) -> None:
    await talk.send("properties", json_frame(make_image(2), job_id="prop-1", priority="high"))
    caption = await talk.wait_for("properties/caption", job_id="prop-1")
    assert caption.user == {
        "job_id": "prop-1",
        "camera_id": "properties",
        "status": "completed",
        "priority": "high",
    }


async def test_json_frame_gets_its_tasks_answered_and_its_words_back(talk: Conversation) -> None:
    frame = json_frame(
        make_image(3),
        job_id="json-1",
        motion_intensity=0.9,
        location="Front Door",
        metadata={"zone": "entrance", "n": [1, 2]},
        tasks=["caption", {"query": "Is it day or night?"}, {"detect": "dog"}, {"point": "car"}],
    )
    await talk.send("json", frame)
    document = (await talk.wait_for("json/caption", job_id="json-1")).json
    assert (document["location"], document["metadata"]) == (
        "Front Door",
        {"zone": "entrance", "n": [1, 2]},
    )
    result = document["result"]
    assert result["answers"][0]["question"] == "Is it day or night?"
    assert result["objects"][0]["label"] == "dog"
    assert result["objects"][0]["count"] == len(result["objects"][0]["boxes"])
    assert result["points"][0]["label"] == "car"
    assert result["model_info"]["priority"] == "critical"
    assert result["model_info"]["motion_intensity"] == 0.9
    assert (await talk.wait_for("json/status", status="queued")).json["priority"] == "critical"


async def test_choice_is_one_of_those_given_with_the_probability_of_each(
    talk: Conversation,
) -> None:
    question = {"question": "Is it day or night?", "choices": ["Night", "Day"]}
    tasks = [{"query": "Is it day or night?"}, {"choose": question}]
    frame = json_frame(make_image(77), tasks=tasks)
    await talk.send("chooser", frame)
    caption = await talk.wait_for("chooser/caption")
    free, choice = caption.json["result"]["answers"]
    assert set(free) == {"question", "answer", "confidence"}
    assert set(choice) == {"question", "answer", "confidence", "probabilities"}
    assert choice["question"] == "Is it day or night?"
    assert list(choice["probabilities"]) == ["Night", "Day"]
    assert sum(choice["probabilities"].values()) == pytest.approx(1, abs=2e-4)
    assert choice["confidence"] == choice["probabilities"][choice["answer"]]
    assert free["answer"].startswith(choice["answer"])


@pytest.mark.parametrize("form", ["PNG", "WEBP", "base64", "lines", "data-uri"])
async def test_every_form_of_an_image_is_taken(
    talk: Conversation, form: str, seeds: Iterator[int]
) -> None:
    camera_id = f"form-{form}"
    payload = make_image(next(seeds), form=form if form in {"PNG", "WEBP"} else "JPEG")
    if form == "base64":
        payload = base64.b64encode(payload)
    elif form == "lines":
        payload = base64.encodebytes(payload)
    elif form == "data-uri":
        payload = b"data:image/jpeg;base64," + base64.b64encode(payload)
    await talk.send(camera_id, payload)
    await talk.wait_for(f"{camera_id}/status", status="completed")


async def test_user_properties_describe_a_binary_frame(talk: Conversation) -> None:
    user = {"job_id": "user-1", "priority": "critical", "metadata": '{"a": 1}'}
    await talk.send("user", make_image(4), user=user)
    document = (await talk.wait_for("user/caption", job_id="user-1")).json
    assert document["metadata"] == {"a": 1}
    assert document["result"]["model_info"]["priority"] == "critical"


async def test_prompt_of_the_camera_replaces_the_caption(talk: Conversation) -> None:
    await talk.send("asked", make_image(5))
    document = (await talk.wait_for("asked/caption")).json
    assert document["result"]["caption"]
    assert document["result"]["answers"] == []


async def test_foreign_topic_brings_frames_of_its_camera(talk: Conversation) -> None:
    await talk.send("", make_image(6), topic="ring/abc/camera/porch/snapshot")
    document = (await talk.wait_for("porch/caption")).json
    assert document["result"]["model_info"]["priority"] == "high"


async def test_image_is_published_when_the_camera_wants_it(talk: Conversation) -> None:
    await talk.send("shown", json_frame(make_image(7), tasks=["caption", {"detect": "person"}]))
    picture = await talk.wait_for("shown/image")
    with Image.open(io.BytesIO(picture.payload)) as image:
        assert (image.format, image.size) == ("JPEG", (320, 240))


async def test_response_topic_gets_the_result_with_the_correlation_data(
    talk: Conversation,
) -> None:
    await talk.send(
        "asker",
        json_frame(make_image(8), job_id="resp-1"),
        ResponseTopic=f"{BASE}/response/asker/me",
        CorrelationData=b"\x00\xff42",
    )
    answer = await talk.wait_for("response/asker/me")
    assert answer.correlation_data == b"\x00\xff42"
    assert (answer.json["job_id"], answer.json["status"]) == ("resp-1", "completed")


@pytest.mark.parametrize("topic", ["x/caption", "response/other/me", "response/me", "response"])
async def test_response_topic_outside_the_allowed_ones_gets_nothing(
    talk: Conversation, topic: str, seeds: Iterator[int]
) -> None:
    number = next(seeds)
    camera_id, job_id = f"asker-{number}", f"resp-{number}"
    frame = json_frame(make_image(number), job_id=job_id)
    await talk.send(camera_id, frame, ResponseTopic=f"{BASE}/{topic}")
    await talk.wait_for(f"{camera_id}/caption", job_id=job_id)
    line = (
        f"{camera_id}: no answer is sent to the response topic '{BASE}/{topic}': "
        "mqtt.response_topics does not allow it for this camera"
    )
    await talk.wait_for("bridge/log", level="warning", message=line)
    assert talk.said(topic) == []


async def test_result_is_posted_to_the_cameras_webhook_signed(
    talk: Conversation, site: Site
) -> None:
    await talk.send("hooked", json_frame(make_image(10), job_id="hook-1"))
    caption = await talk.wait_for("hooked/caption", job_id="hook-1")
    await site.receiver.wait_for(1)
    request = site.receiver.requests[0]
    assert request.headers["webhook-id"] == "hook-1"
    assert request.headers["webhook-signature"].startswith("v1,")
    assert request.body == caption.payload
    assert caption.json["location"] == "Gate"


async def test_headers_go_only_to_the_url_of_who_gave_them(talk: Conversation, site: Site) -> None:
    num_before = len(site.receiver.requests)
    headers = {"X-Sender": "hello"}
    async with Receiver(answers(200)) as senders:
        theirs = json_frame(
            make_image(12), job_id="hook-2", webhook_url=senders.url, webhook_headers=headers
        )
        await talk.send("hooked", theirs)
        await senders.wait_for(1)
        await talk.send("hooked", json_frame(make_image(13), webhook_headers=headers))
        await site.receiver.wait_for(num_before + 1)
        [to_sender] = senders.requests
    to_operator = site.receiver.requests[-1]
    assert to_sender.headers.get("x-sender") == "hello"
    assert "x-operator" not in to_sender.headers
    assert to_operator.headers.get("x-operator") == "token"
    assert "x-sender" not in to_operator.headers


async def test_image_behind_an_allowed_url_is_fetched(talk: Conversation) -> None:
    async with Receiver(answers(200, body=make_image(11))) as host:
        await talk.send("remote", {"frame_url": f"{host.url}/now.jpg", "job_id": "url-1"})
        document = (await talk.wait_for("remote/caption", job_id="url-1")).json
    assert document["result"]["caption"]


async def test_image_that_cannot_be_fetched_fails_the_job(talk: Conversation) -> None:
    async with Receiver(answers(404)) as host:
        await talk.send("remote", {"frame_url": f"{host.url}/gone.jpg", "job_id": "url-2"})
        status = await talk.wait_for("remote/status", job_id="url-2", status="failed")
    assert status.json["error"]["code"] == "fetch_failed"


# -- what is refused -----------------------------------------------------------------------------

REFUSED = {
    "text": (b"hello\n", "not_an_image"),
    "empty": (b"", "empty_payload"),
    "truncated": (make_image(20)[:-400], "image_truncated"),
    "base64": (b"data:image/jpeg;base64,/9j/4AAQ****", "bad_base64"),
    "json": (b'{"frame_data": ', "bad_json"),
    "field": (b'{"frame_data": "aGVsbG8=", "motion_intensity": 7}', "bad_field"),
    "unknown": (b'{"frame_data": "aGVsbG8=", "motion": 0.7}', "bad_field"),
    "camera": (b'{"frame_data": "aGVsbG8=", "camera_id": "other"}', None),
    "side": (make_image(21, size=(9000, 20)), "side_too_long"),
    "small": (make_image(22, size=(8, 8)), "image_too_small"),
    "bytes": (b"\xff\xd8\xff" + bytes(5 << 20), "payload_too_large"),
    "address": (b'{"frame_url": "http://192.168.1.1/x.jpg"}', "url_refused"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_wrong_frame_is_rejected_where_its_sender_looks(
    talk: Conversation, name: str
) -> None:
    payload, code = REFUSED[name]
    await talk.send(f"wrong-{name}", payload)
    status = (await talk.wait_for(f"wrong-{name}/status", status="rejected")).json
    letter = (await talk.wait_for("bridge/dead_letter", camera_id=f"wrong-{name}")).json
    assert status["error"] == letter["error"]
    assert code in {None, status["error"]["code"]}, status
    assert status["message"]
    assert letter["size"] == len(payload)


async def test_rejected_frame_keeps_its_job_id(talk: Conversation) -> None:
    await talk.send("wrong", {"frame_data": "!!", "job_id": "mine-1"})
    assert await talk.wait_for("wrong/status", job_id="mine-1", status="rejected")


async def test_topic_without_a_valid_camera_goes_to_the_dead_letters(talk: Conversation) -> None:
    await talk.send("", make_image(23), topic=f"{BASE}/no camera!/frame")
    letter = (await talk.wait_for("bridge/dead_letter", code="bad_topic")).json
    assert letter["camera_id"] is None


async def test_retained_frame_is_no_motion(talk: Conversation, site: Site) -> None:
    await talk.send("", make_image(24), topic="ring/abc/camera/old/snapshot", retain=True)
    await talk.wait_for("old/status", status="completed")  # live, the broker clears the flag
    assert talk.statuses("old") == ["queued", "processing", "completed"]


# -- what needs no caption -----------------------------------------------------------------------


async def test_same_job_id_again_is_answered_with_the_existing_job(talk: Conversation) -> None:
    await talk.send("twice", json_frame(make_image(30), job_id="once-1"))
    await talk.wait_for("twice/caption", job_id="once-1")
    await talk.send("twice", json_frame(make_image(31), job_id="once-1"))
    await talk.wait_for_many(2, "twice/status", job_id="once-1", status="completed")
    assert len(talk.said("twice/caption", job_id="once-1")) == 1


async def test_id_that_another_camera_used_first_silences_nobody(
    talk: Conversation, site: Site, seeds: Iterator[int]
) -> None:
    for _ in range(2):  # the second time it is known, to each camera as its own
        for camera_id in ("copycat", "owner"):
            frame = json_frame(make_image(next(seeds)), job_id="shared-1")
            await talk.send(camera_id, frame)
            await talk.wait_for(f"{camera_id}/caption", job_id="shared-1")
    for camera_id in ("copycat", "owner"):
        topic = f"{camera_id}/status"
        ends = await talk.wait_for_many(2, topic, job_id="shared-1", status="completed")
        assert {each.json["camera_id"] for each in ends} == {camera_id}
        [caption] = talk.said(f"{camera_id}/caption", job_id="shared-1")
        assert caption.json["camera_id"] == caption.user["camera_id"] == camera_id
    hooks = await hooks_of(site.receiver, "shared-1", 2)
    assert {camera_id: webhook_id for camera_id, (webhook_id, _) in hooks.items()} == {
        "copycat": "shared-1",
        "owner": "owner/shared-1",
    }
    for camera_id, (_, body) in hooks.items():
        assert body == talk.said(f"{camera_id}/caption", job_id="shared-1")[0].payload


async def test_id_that_two_cameras_use_at_once_gives_two_captions(
    talk: Conversation, site: Site, seeds: Iterator[int]
) -> None:
    for camera_id in ("copycat", "owner"):
        frame = json_frame(make_image(next(seeds)), job_id="shared-2")
        await talk.send(camera_id, frame)
    for camera_id in ("copycat", "owner"):
        await talk.wait_for(f"{camera_id}/caption", job_id="shared-2")
    hooks = await hooks_of(site.receiver, "shared-2", 2)
    assert {webhook_id for webhook_id, _ in hooks.values()} == {"shared-2", "owner/shared-2"}


async def hooks_of(receiver: Receiver, job_id: str, count: int) -> dict[str, tuple[str, bytes]]:
    """The webhook-id and the body of each camera's webhook about a job id, once so many came."""
    while True:
        documents = [(json.loads(each.body), each) for each in receiver.requests]
        found = [(said["camera_id"], each) for said, each in documents if said["job_id"] == job_id]
        if len(found) >= count:
            assert len(found) == count
            return {camera: (each.headers["webhook-id"], each.body) for camera, each in found}
        await receiver.wait_for(len(receiver.requests) + 1)


async def test_same_picture_again_is_a_duplicate(talk: Conversation) -> None:
    await talk.send("same", json_frame(make_image(32), job_id="same-1"))
    await talk.wait_for("same/caption", job_id="same-1")
    await talk.send("same", json_frame(make_image(32), job_id="same-2"))
    status = (await talk.wait_for("same/status", job_id="same-2", status="duplicate")).json
    assert status["error"]["code"] == "content"
    assert "same-1" in status["message"]


async def test_same_scene_is_described_once_in_one_visit(
    talk: Conversation, seeds: Iterator[int]
) -> None:
    scene = make_picture(33, (640, 480))
    for number in range(6):
        frame = json_frame(noisy(scene, next(seeds)), job_id=f"visit-{number}")
        await talk.send("visit", frame)
        await talk.wait_for(
            "visit/status", job_id=f"visit-{number}", status=("duplicate", "completed")[number == 0]
        )
    changed = scene.copy()
    ImageDraw.Draw(changed).rectangle((100, 100, 300, 400), fill=(250, 250, 250))
    await talk.send("visit", json_frame(noisy(changed, next(seeds)), job_id="visitor"))
    await talk.wait_for("visit/caption", job_id="visitor")
    status = talk.said("visit/status", job_id="visit-5", status="duplicate")[0].json
    assert status["error"]["code"] == "similar"


async def test_more_important_frame_of_the_same_scene_is_captioned(
    talk: Conversation, seeds: Iterator[int]
) -> None:
    scene = make_picture(34, (640, 480))
    for priority in ("low", "critical"):
        frame = json_frame(noisy(scene, next(seeds)), job_id=f"rise-{priority}", priority=priority)
        await talk.send("rise", frame)
        await talk.wait_for("rise/caption", job_id=f"rise-{priority}")


async def test_camera_without_similarity_captions_every_frame(
    talk: Conversation, seeds: Iterator[int]
) -> None:
    scene = make_picture(35, (640, 480))
    for number in range(2):
        await talk.send("all", json_frame(noisy(scene, next(seeds)), job_id=f"every-{number}"))
        await talk.wait_for("all/caption", job_id=f"every-{number}")


def noisy(picture: Image.Image, seed: int) -> bytes:
    """The scene as the camera sees it a moment later: its sensor's noise is new."""
    rng = random.Random(seed)
    noise = Image.frombytes("L", picture.size, rng.randbytes(picture.width * picture.height))
    grain = Image.merge("RGB", (noise, noise, noise))
    buffer = io.BytesIO()
    Image.blend(picture, grain, 0.02).save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("camera_id", "intensity", "code"),
    [("off", 0.9, "camera_disabled"), ("still", 0.2, "low_intensity")],
)
async def test_camera_settings_drop_frames(
    talk: Conversation, camera_id: str, intensity: float, code: str, seeds: Iterator[int]
) -> None:
    frame = json_frame(make_image(next(seeds)), motion_intensity=intensity)
    await talk.send(camera_id, frame)
    status = (await talk.wait_for(f"{camera_id}/status", status="dropped")).json
    assert status["error"]["code"] == code


async def test_cooldown_drops_the_next_frame_but_no_critical_one(
    talk: Conversation, seeds: Iterator[int]
) -> None:
    for job_id, priority in (("cool-1", "normal"), ("cool-2", "high"), ("cool-3", "critical")):
        frame = json_frame(make_image(next(seeds)), job_id=job_id, priority=priority)
        await talk.send("cooling", frame)
    await talk.wait_for("cooling/caption", job_id="cool-1")
    await talk.wait_for("cooling/caption", job_id="cool-3")
    status = (await talk.wait_for("cooling/status", job_id="cool-2", status="dropped")).json
    assert status["error"]["code"] == "cooldown"


async def test_frame_older_than_its_max_age_expires(
    talk: Conversation, seeds: Iterator[int]
) -> None:
    frame = json_frame(make_image(next(seeds)), job_id="old-1", max_age=1e-6)
    await talk.send("late", frame)
    status = (await talk.wait_for("late/status", job_id="old-1", status="expired")).json
    assert status["error"]["code"] == "expired"


# -- what the service says about itself ----------------------------------------------------------


async def test_bridge_tells_who_is_here_without_secrets(talk: Conversation, site: Site) -> None:
    assert (await talk.wait_for("bridge/state")).payload == b"online"
    info = await talk.wait_for("bridge/info")
    while info.json["model"]["state"] != "ready":  # it is told a moment after the engine says so
        info = (await talk.wait_for_many(len(talk.said("bridge/info")) + 1, "bridge/info"))[-1]
    assert info.json["mqtt_version"] == "5"
    assert HOOK_SECRET.encode() not in info.payload
    assert (site.settings.data_dir / "instance").read_bytes().strip() not in info.payload


async def test_bridge_stats_count_what_happened(talk: Conversation, seeds: Iterator[int]) -> None:
    await talk.send("counted", json_frame(make_image(next(seeds)), job_id="count-1"))
    await talk.wait_for("counted/caption", job_id="count-1")
    before = len(talk.said("bridge/stats"))
    stats = (await talk.wait_for_many(before + 2, "bridge/stats"))[-1].json
    assert stats["status_counts"]["completed"] >= 1
    assert stats["system_status"] == "running"
    assert stats["max_concurrent_jobs"] >= 4
    assert stats["latency"]["normal"]["p50"] > 0
    assert stats["connection"].keys() >= {"reconnects", "broker_dropped", "unpublished"}


async def test_rejected_frames_are_counted_though_they_are_no_jobs(talk: Conversation) -> None:
    await talk.send("wrong", {"frame_data": "!!", "job_id": "rejected-1"})
    await talk.wait_for("wrong/status", job_id="rejected-1", status="rejected")
    before = len(talk.said("bridge/stats"))
    stats = (await talk.wait_for_many(before + 2, "bridge/stats"))[-1].json
    counts = stats["status_counts"]
    assert counts["rejected"] == sum(stats["rejected"].values()) >= 1
    assert stats["rejected"].keys() >= {"bad_base64"}
    assert stats["total_jobs"] == sum(counts.values()) - counts["rejected"]


async def test_captioned_frame_says_when_it_was_taken(
    talk: Conversation, seeds: Iterator[int]
) -> None:
    frame = json_frame(make_image(next(seeds)), job_id="taken-1", timestamp="2024-01-01T12:00:00Z")
    await talk.send("taken", frame)
    for topic in ("taken/status", "taken/caption"):
        document = (await talk.wait_for(topic, job_id="taken-1", status="completed")).json
        assert document["taken_at"] == "2024-01-01T12:00:00Z"
        assert document["timestamp"] > "2026"


async def test_bridge_health_is_healthy(talk: Conversation) -> None:
    health = (await talk.wait_for("bridge/health", status="healthy")).json
    assert set(health["checks"]) == {
        "broker",
        "engine",
        "store",
        "webhooks",
        "disk",
        "internal",
    }
