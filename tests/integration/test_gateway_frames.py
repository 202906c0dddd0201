"""Frames over HTTP: the forms they come in, what they are answered with, and who waits for them."""

import asyncio
import base64
import hashlib
import os
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from tests.support.factories import make_image
from tests.support.gateway import Gateway, gateway

pytestmark = pytest.mark.asyncio(loop_scope="module")

JPEG = {"Content-Type": "image/jpeg"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def service(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Gateway]:
    folder = tmp_path_factory.mktemp("frames") / "service"
    async with gateway(mosquitto, folder, "http/frames", frames={"max_bytes": 400_000}) as it:
        yield it


def _base64(image: bytes) -> str:
    return base64.b64encode(image).decode()


def _said(image: bytes) -> str:
    """What the engine without a model says of a picture."""
    return hashlib.sha256(image).hexdigest()


async def _ended(service: Gateway, job_id: str) -> dict[str, object]:
    answer = await service.client.get(f"/queue/job/{job_id}", params={"wait": 20})
    assert answer.status_code == 200, answer.text
    found: dict[str, object] = answer.json()
    return found


def _caption(job: dict[str, object]) -> str:
    result = job["result"]
    assert isinstance(result, dict)
    text: str = result["result"]["caption"]
    return text


def _problem(answer: httpx.Response) -> tuple[int, str, str]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["message"]


async def test_frame_is_answered_once_it_waits(service: Gateway) -> None:
    image = make_image(1)
    frame = {"camera_id": "front", "frame_data": _base64(image), "motion_intensity": 0.9}
    answer = await service.client.post("/motion/detect", json=frame)

    assert answer.status_code == 202
    said = answer.json()
    assert said["status"] in {"queued", "processing"}
    assert said["priority"] == "critical"
    assert {"queue_position", "estimated_wait_time", "message"} <= said.keys()
    assert said["webhook_configured"] is False
    assert _caption(await _ended(service, said["job_id"])) == _said(image)


@pytest.mark.parametrize("path", ["/motion/detect", "/motion/detect-with-webhook"])
async def test_image_is_taken_as_it_is(service: Gateway, path: str) -> None:
    image = make_image(hash(path) % 1000 + 2000)
    answer = await service.client.post(
        path,
        params={"camera_id": "front", "tasks": '["caption", {"detect": "person"}]'},
        content=image,
        headers=[
            (b"Content-Type", b"image/jpeg"),
            (b"X-Priority", b"low"),
            (b"X-Location", "Tür".encode()),
            (b"X-Request-Id", b"1"),
        ],
    )
    assert answer.status_code == 202, answer.text
    job = await _ended(service, answer.json()["job_id"])
    assert (job["priority"], job["location"]) == ("low", "Tür")
    assert _caption(job) == _said(image)


async def test_form_has_a_file_and_fields(service: Gateway) -> None:
    image = make_image(3)
    answer = await service.client.post(
        "/motion/detect",
        files={"file": ("a.jpg", image, "image/jpeg")},
        data={"camera_id": "front", "motion_intensity": "0.65", "metadata": '{"zone": "door"}'},
    )
    assert answer.status_code == 202, answer.text
    job = await _ended(service, answer.json()["job_id"])
    assert (job["priority"], job["metadata"]) == ("high", {"zone": "door"})
    assert _caption(job) == _said(image)


async def test_idempotency_key_is_the_job_id(service: Gateway) -> None:
    first, again = [
        await service.client.post(
            "/motion/detect",
            params={"camera_id": "front"},
            headers={**JPEG, "Idempotency-Key": "once"},
            content=make_image(number),
        )
        for number in (4, 5)
    ]

    assert first.json()["job_id"] == again.json()["job_id"] == "once"
    assert _caption(await _ended(service, "once")) == _said(make_image(4))
    frame = {"camera_id": "front", "frame_data": _base64(make_image(4)), "job_id": "twice"}
    answer = await service.client.post(
        "/motion/detect", json=frame, headers={"Idempotency-Key": "once"}
    )
    assert _problem(answer) == (400, "bad_field", "job_id: is not the Idempotency-Key")


async def test_end_at_once_is_200_with_its_status(service: Gateway) -> None:
    frame = {"camera_id": "yard", "frame_data": _base64(make_image(6))}
    first = await service.client.post("/motion/detect", json=frame)
    answer = await service.client.post("/motion/detect", json=frame)

    assert (first.status_code, answer.status_code) == (202, 200)
    assert answer.json()["status"] == "duplicate"
    assert answer.json()["error"]["code"] == "content"


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        ({"colour": 1}, (400, "bad_field", "colour: unknown field")),
        ({"motion_intensity": "x"}, (400, "bad_field", "motion_intensity: ")),
        ({"camera_id": "a/b"}, (400, "bad_field", "camera_id: ")),
        ({"frame_data": "?"}, (415, "not_an_image", "frame_data: ")),
        ({"image_url": "x"}, (400, "bad_field", "exactly one picture is required")),
        ({"webhook_url": "http://10.0.0.1/"}, (400, "url_refused", "")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_bad_field_is_named_as_over_mqtt(
    service: Gateway, frame: dict[str, object], said: tuple[int, str, str]
) -> None:
    whole = {"camera_id": "front", "frame_data": _base64(make_image(7)), **frame}
    status, code, message = _problem(await service.client.post("/motion/detect", json=whole))
    assert (status, code) == said[:2], message
    assert message.startswith(said[2])


@pytest.mark.parametrize(
    ("body", "headers", "said"),
    [
        (b"{", {"Content-Type": "application/json"}, (400, "bad_json")),
        (b"[]", {"Content-Type": "application/json"}, (400, "bad_json")),
        (b"{}", {"Content-Type": "application/json"}, (400, "bad_field")),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, (415, "unsupported_type")),
        (b"words", JPEG, (415, "not_an_image")),
        (b"\xff\xd8\xff" + bytes(400_000), JPEG, (413, "payload_too_large")),
        (b"--x\r\n", {"Content-Type": "multipart/form-data; boundary=x"}, (400, "bad_request")),
        (b"--x--", {"Content-Type": "multipart/form-data"}, (400, "bad_request")),
    ],
)
async def test_bad_body_is_refused(
    service: Gateway, body: bytes, headers: dict[str, str], said: tuple[int, str]
) -> None:
    answer = await service.client.post(
        "/motion/detect", params={"camera_id": "front"}, content=body, headers=headers
    )
    assert _problem(answer)[:2] == said, answer.text


async def test_body_beyond_any_picture_is_refused(service: Gateway) -> None:
    answer = await service.client.post("/motion/detect", content=bytes(900_000), headers=JPEG)
    assert answer.status_code == 413


async def test_name_that_does_not_belong_is_refused(service: Gateway) -> None:
    answer = await service.client.post(
        "/motion/detect", params={"camera": "front"}, content=make_image(8), headers=JPEG
    )
    assert _problem(answer) == (400, "bad_field", "camera: unknown field")


async def test_missing_camera_is_named(service: Gateway) -> None:
    answer = await service.client.post("/motion/detect", content=make_image(9), headers=JPEG)
    assert _problem(answer)[1:] == ("bad_field", "camera_id: is required")


@pytest.mark.parametrize("path", ["/caption", "/describe"])
async def test_caption_is_waited_for(service: Gateway, path: str) -> None:
    image = make_image(10)
    uri = f"data:image/jpeg;base64,{_base64(image)}"
    answer = await service.client.post(path, json={"image_url": uri})

    assert answer.status_code == 200, answer.text
    assert answer.json()["result"]["caption"] == _said(image)
    assert answer.json()["camera_id"] == "http"


async def test_same_picture_is_captioned_as_often_as_it_is_asked(service: Gateway) -> None:
    for _ in range(2):
        frame = {"camera_id": "front", "frame_data": _base64(make_image(11))}
        answer = await service.client.post("/caption", json=frame)
        assert answer.json()["result"]["caption"] == _said(make_image(11)), answer.text


async def test_file_of_a_form_is_described(service: Gateway) -> None:
    answer = await service.client.post(
        "/describe/file", files={"file": ("a.jpg", make_image(12), "image/jpeg")}
    )
    assert answer.json()["result"]["caption"] == _said(make_image(12)), answer.text


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/query", {"question": "Who?"}),
        ("/detect", {"label": "person"}),
        ("/point", {"label": "person"}),
        ("/choose", {"question": "Open?", "choices": '["yes", "no"]'}),
    ],
)
async def test_skills_are_asked_with_an_image_and_a_query(
    service: Gateway, path: str, query: dict[str, str]
) -> None:
    answer = await service.client.post(path, params=query, content=make_image(13), headers=JPEG)
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "completed"


async def test_large_picture_is_asked_about(service: Gateway) -> None:
    noise = os.urandom(300_000)
    image = make_image(18) + noise  # what comes after the picture is nobody's business
    for path in ("/caption", "/query?question=Who", "/motion/detect?camera_id=large"):
        frame = {"frame_data": _base64(image)}
        answer = await service.client.post(path, json=frame, headers={"X-Priority": "low"})
        assert answer.status_code in {200, 202}, answer.text


async def test_question_that_is_missing_is_named(service: Gateway) -> None:
    answer = await service.client.post("/query", content=make_image(14), headers=JPEG)
    assert _problem(answer)[:2] == (400, "bad_field")
    assert answer.json()["error"]["param"] == "question"


async def test_upload_is_answered_as_immichvr_wants_it(service: Gateway) -> None:
    answer = await service.client.post(
        "/api/media/upload", files={"media": ("cat.jpg", make_image(15), "image/jpeg")}
    )
    assert answer.status_code == 201, answer.text
    said = answer.json()
    assert (said["filename"], said["type"]) == ("cat.jpg", "image/jpeg")
    assert said["size"] == len(make_image(15))
    job = await _ended(service, said["queueId"])
    assert _caption(job) == _said(make_image(15))


async def test_clip_is_told_where_it_belongs(service: Gateway) -> None:
    answer = await service.client.post(
        "/api/media/upload", files={"media": ("a.mp4", b"....ftyp", "video/mp4")}
    )
    assert _problem(answer)[:2] == (415, "unsupported_type")


async def test_task_with_an_image_becomes_a_job(service: Gateway) -> None:
    body = {"image": _base64(make_image(16)), "config": {"prompt": "Who?"}}
    answer = await service.client.post("/api/visage/task", json=body)
    assert answer.status_code == 202, answer.text
    assert (await _ended(service, answer.json()["task_id"]))["status"] == "completed"


async def test_long_poll_hears_the_end_and_costs_no_places_when_nobody_listens(
    service: Gateway,
) -> None:
    await service.client.post("/queue/pause")
    try:
        frame = {"camera_id": "front", "frame_data": _base64(make_image(17)), "job_id": "slow"}
        queued = await service.client.post("/motion/detect", json=frame)
        assert queued.json()["queue_position"] == 1
        assert queued.json()["message"] == "Waiting, processing is paused"
        soon = await service.client.get("/queue/job/slow", params={"wait": 0.2})
        assert soon.json()["status"] == "queued"
        for _ in range(120):  # more than may wait at once
            with pytest.raises(httpx.TimeoutException):
                await service.client.get("/queue/job/slow", params={"wait": 60}, timeout=0.03)
        for _ in range(200):  # a loaded machine notices late who has gone
            if (await service.client.get("/queue/job/slow?wait=0.01")).status_code == 200:
                break
            await asyncio.sleep(0.05)
        waiting = asyncio.create_task(
            service.client.get("/queue/job/slow", params={"wait": 20, "camera_id": "front"})
        )
        await asyncio.sleep(0.1)
        assert not waiting.done()
    finally:
        await service.client.post("/queue/resume")
    began = time.monotonic()
    assert (await waiting).json()["status"] == "completed"
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("wait", ["x", "-1", "1000", "nan"])
async def test_bad_wait_is_named(service: Gateway, wait: str) -> None:
    answer = await service.client.get("/queue/job/slow", params={"wait": wait})
    assert _problem(answer)[:2] == (400, "bad_field")
