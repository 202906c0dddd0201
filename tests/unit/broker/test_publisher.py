"""Documents to messages and to rows of the outbox and back."""

from typing import Any

import pytest

from broker.publisher import address, address_image, answer, from_outbox, to_outbox
from broker.topics import TABLE, Topics
from schemas.camera import CameraSettings
from schemas.frame import Priority
from schemas.job import ErrorDetail, JobStatus
from schemas.outbox import Channel
from schemas.result import ModelInfo, Result, ResultDocument
from schemas.status import DeadLetter, LogDocument, StatusDocument
from tests.factories import NOON

TOPICS = Topics("moondream2mqtt")
LOG = LogDocument(level="warning", code="x", message="y", timestamp=NOON)


def make_status(**fields: Any) -> StatusDocument:
    values = {"job_id": "job-1", "camera_id": "front", "status": "queued", "message": "waits"}
    return StatusDocument.model_validate({**values, "timestamp": NOON, **fields})


def make_result(*, completed: bool = True) -> ResultDocument:
    info = ModelInfo(
        model="m",
        revision="r",
        device="cpu",
        camera_id="front",
        motion_intensity=0.9,
        priority=Priority.CRITICAL,
    )
    result = Result(
        caption="A cat",
        short_caption="A cat",
        confidence=0.5,
        processing_time=1,
        queue_time=1,
        model_info=info,
    )
    return ResultDocument(
        job_id="job-1",
        camera_id="front",
        status=JobStatus.COMPLETED if completed else JobStatus.FAILED,
        result=result if completed else None,
        error_message=None if completed else "broken",
        timestamp=NOON,
        location=None,
        metadata={},
    )


def test_address_takes_qos_and_retain_from_the_table() -> None:
    table = {spec.name: (spec.qos, spec.retain) for spec in TABLE}
    messages = {
        "status": address(make_status(), TOPICS),
        "caption": address(make_result(), TOPICS),
        "settings": address(CameraSettings(), TOPICS, camera_id="front"),
        "bridge/log": address(LOG, TOPICS),
        "image": address_image(b"\xff\xd8\xff", TOPICS, "front"),
    }
    for name, message in messages.items():
        assert (message.qos, message.retain) == table[name]
        assert message.topic.endswith(f"/{name}")


def test_address_puts_what_a_filter_needs_into_the_properties() -> None:
    message = address(make_result(), TOPICS)
    expected = {
        "job_id": "job-1",
        "camera_id": "front",
        "status": "completed",
        "priority": "critical",
    }
    assert dict(message.user_properties) == expected
    assert message.content_type == "application/json"


def test_address_of_a_status_carries_no_properties() -> None:
    assert address(make_status(), TOPICS).user_properties == ()


def test_address_of_a_dead_letter_of_no_camera_is_the_bridges() -> None:
    letter = DeadLetter(
        topic="a/b",
        camera_id=None,
        size=1,
        sha256=None,
        error=ErrorDetail(code="x", message="y"),
        attempts=0,
        timestamp=NOON,
    )
    assert address(letter, TOPICS).topic == "moondream2mqtt/bridge/dead_letter"


def test_address_refuses_a_document_without_a_camera_where_one_is_needed() -> None:
    with pytest.raises(ValueError, match="camera"):
        address(CameraSettings(), TOPICS)


def test_answer_is_never_retained_and_carries_the_correlation_data() -> None:
    message = answer(make_result(completed=False), "reply/to", b"\x00\xff", priority=Priority.LOW)
    assert (message.topic, message.retain, message.qos) == ("reply/to", False, 1)
    assert message.correlation_data == b"\x00\xff"
    assert ("priority", "low") in message.user_properties


def test_outbox_row_gives_the_same_message_back() -> None:
    message = answer(make_result(), "reply/to", b"\x00\xff")
    row = to_outbox(message, job_key="front/job-1", created_at=NOON)
    assert row.channel is Channel.MQTT
    kept = type(row).model_validate_json(row.model_copy(update={"payload": b""}).model_dump_json())
    assert from_outbox(kept.model_copy(update={"payload": row.payload})) == message
