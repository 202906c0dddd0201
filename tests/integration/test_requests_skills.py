"""Questions about a picture, asked of a whole service whose engine has no model."""

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest
import pytest_asyncio

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_requests import Asking
from tests.support.conversation import json_frame
from tests.support.factories import make_image
from tests.support.quick_service import serving

pytestmark = pytest.mark.asyncio(loop_scope="module")

BASE = "home/skills"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def talk(
    mosquitto: EmbeddedBroker, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Asking]:
    folder = tmp_path_factory.mktemp("skills")
    (folder / "scratch").mkdir()
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": BASE},
        data_dir=folder / "data",
        queue={"retry_delay": 3.0, "capacity": 1000},
        cameras={"off": {"enabled": False}},
        frames={"max_bytes": 1 << 20},
    )
    async with (
        Asking(mosquitto.port, BASE) as talk,
        serving(settings, folder / "scratch"),
    ):
        await until_reached(talk)
        yield talk


async def until_reached(talk: Asking) -> None:
    """Until the service has subscribed: engines may be ready sooner."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(1):
                await talk.ask("health")
                return


def asked(seed: int, **fields: Any) -> dict[str, Any]:
    return json_frame(make_image(seed), **{"camera_id": "front", **fields})


@pytest.mark.parametrize(
    ("operation", "fields", "part"),
    [
        ("caption", {}, None),
        ("query", {"question": " Is it open? "}, "answers"),
        ("detect", {"label": "person"}, "objects"),
        ("point", {"label": "person"}, "points"),
    ],
)
async def test_answer_is_the_result_document(
    talk: Asking, operation: str, fields: dict[str, Any], part: str | None
) -> None:
    request = asked(len(operation), job_id=f"my-{operation}", metadata={"a": 1}, **fields)
    data = await talk.data(operation, request)
    assert (data["job_id"], data["status"], data["metadata"]) == (
        f"my-{operation}",
        "completed",
        {"a": 1},
    )
    result = data["result"]
    assert result["model_info"]["priority"] == "high"
    if part is None:
        digest = hashlib.sha256(make_image(len(operation))).hexdigest()
        assert result["caption"] == digest
    else:
        assert len(result[part]) == 1
    published = await talk.wait_for("front/status", job_id=f"my-{operation}", status="completed")
    assert published.json["priority"] == "high"


async def test_priority_and_further_tasks_are_the_frames_own(talk: Asking) -> None:
    request = asked(50, question="Is it wet?", tasks=["caption"], priority="low")
    result = (await talk.data("query", request))["result"]
    assert result["model_info"]["priority"] == "low"
    assert [each["question"] for each in result["answers"]] == ["Is it wet?"]
    assert result["caption"]


@pytest.mark.parametrize(
    ("operation", "request_", "code", "named"),
    [
        ("caption", {"frame_url": "http://x/y.jpg"}, "bad_request", "camera_id"),
        ("caption", {"camera_id": "front"}, "bad_request", "frame_data"),
        ("caption", asked(60, camera_id="../x"), "bad_request", "camera_id"),
        ("caption", asked(60, timeout=301), "bad_request", "timeout"),
        ("caption", asked(60, timeout="soon"), "bad_request", "timeout"),
        ("caption", asked(60, question="why?"), "bad_request", "question"),
        ("query", asked(60), "bad_request", "question"),
        ("query", asked(60, question="  "), "bad_request", "question"),
        ("query", asked(60, question={"deep": 1}), "bad_request", "question"),
        ("detect", asked(60, label=5), "bad_request", "label"),
        ("point", asked(60, label="x" * 3000), "bad_request", "label"),
        ("caption", {"camera_id": "front", "frame_data": "/9j/!"}, "bad_base64", "frame_data"),
        ("caption", {"camera_id": "front", "frame_data": "words"}, "not_an_image", "frame_data"),
        ("caption", {"camera_id": "front", "frame_url": "http://x/y"}, "url_refused", "fetch"),
        ("caption", asked(60, metadata={"x": "y" * 9000}), "bad_request", "metadata"),
        ("caption", asked(60, camera_id="off"), "camera_disabled", "dropped"),
        ("caption", asked(61, job_id="fail-1"), "image_corrupt", "ordered to fail"),
        ("caption", b'{"camera_id": "' + b"x" * 1_500_000 + b'"}', "too_large", "1463"),
    ],
)
async def test_what_gives_no_result_is_an_error_that_says_why(
    talk: Asking, operation: str, request_: Any, code: str, named: str
) -> None:
    answer = await talk.ask(operation, request_)
    assert (answer["status"], answer["error"]["code"]) == ("error", code), answer
    assert named in answer["error"]["message"]


async def test_same_picture_with_the_same_question_is_an_error_that_names_the_first(
    talk: Asking,
) -> None:
    await talk.data("caption", asked(70, job_id="first"))
    answer = await talk.ask("caption", asked(70))
    assert answer["error"]["code"] == "content"
    assert "first" in answer["error"]["message"]
    await talk.data("query", asked(70, question="Is it another question?"))


async def test_same_id_again_is_answered_with_the_job_there_is(talk: Asking) -> None:
    first = await talk.data("caption", asked(71, job_id="twice"))
    again = await talk.data("caption", asked(72, job_id="twice"))
    assert again == first


async def test_error_after_the_timeout_names_the_job_which_goes_on(talk: Asking) -> None:
    answer = await talk.ask("caption", asked(73, job_id="flaky-1", timeout=0.3))
    assert answer["error"]["code"] == "timeout"
    assert "flaky-1" in answer["error"]["message"]
    await talk.wait_for("front/status", job_id="flaky-1", status="completed")
    assert (await talk.data("job/result", b"flaky-1"))["status"] == "completed"


async def test_those_who_wait_hold_up_no_other_request_and_are_bounded(talk: Asking) -> None:
    before = len(talk.said("bridge/response/caption"))
    for number in range(110):  # each fails once and is tried again after three seconds
        request = asked(200 + number, camera_id="many", job_id=f"flaky-m{number}")
        topic = f"{BASE}/bridge/request/caption"
        await talk._client.publish(topic, json.dumps(request).encode(), qos=1)
    assert (await talk.ask("health"))["status"] == "ok"
    assert len(talk.said("bridge/response/caption")) < before + 50
    answers = await talk.wait_for_many(before + 110, "bridge/response/caption")
    codes = [(each.json.get("error") or {}).get("code") for each in answers[before:]]
    assert set(codes) == {None, "busy"}
    assert 100 <= codes.count(None) < 110
