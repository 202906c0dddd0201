"""What a job's end looks like outside, without a store."""

import json
from datetime import timedelta
from typing import Any

import pytest

from broker.publisher import address
from broker.topics import Topics
from engine.drawing import MAX_JPEG_BYTES
from schemas.camera import CameraSettings
from schemas.frame import (
    MAX_CHOICES,
    MAX_HEADERS,
    MAX_METADATA_BYTES,
    MAX_TASKS,
    MAX_TEXT_CHARACTERS,
    Task,
)
from schemas.job import ErrorDetail, FrigateOrigin, Job, JobStatus
from schemas.outbox import Channel, OutboxMessage
from schemas.result import Answer, Box, DetectedObjects, ModelInfo, Result
from schemas.write_back import WriteBack
from service.delivery.documents import (
    LONGEST_TOPIC,
    Documents,
    Rejection,
    result_document,
    without_senders_words,
)
from service.settings import without_secrets
from service.store.set_aside import SetAside
from tests.support.factories import NOON, make_job

TOPICS = Topics("base")
CHOICES = [f"{number:064}" for number in range(MAX_CHOICES)]
DOCUMENTS = Documents(TOPICS)
TAKEN = NOON - timedelta(days=1)
LATER = NOON + timedelta(seconds=3)
ERROR = ErrorDetail(code="engine_lost", message="The engine died")


def ended(status: JobStatus, error: ErrorDetail | None = None, **fields: Any) -> Job:
    return make_job(status=status, error=error, finished_at=NOON, taken_at=TAKEN, **fields)


def by_topic(rows: list[OutboxMessage]) -> dict[str, dict[str, Any]]:
    return {each.destination: json.loads(each.payload) for each in rows}


def make_result() -> Result:
    info = ModelInfo(
        model="m",
        revision="r",
        device="cpu",
        camera_id="front",
        motion_intensity=0.5,
        priority=make_job().priority,
    )
    return Result(
        caption="A cat",
        short_caption="A cat",
        confidence=0.5,
        processing_time=0.1,
        queue_time=0.0,
        model_info=info,
    )


def largest_result() -> Result:
    """As much as a frame can ask for and `model.max_objects` allows."""
    box = Box(x_min=1 / 3, y_min=1 / 3, x_max=2 / 3, y_max=2 / 3)
    found = DetectedObjects(label="\0" * MAX_TEXT_CHARACTERS, count=150, boxes=(box,) * 150)
    return make_result().model_copy(
        update={"objects": (found,) * MAX_TASKS, "caption": "\0" * 100_000}
    )


def test_retained_messages_fit_into_a_packet_at_their_largest() -> None:
    metadata = {"x": "y" * (MAX_METADATA_BYTES - 20)}
    job = ended(JobStatus.COMPLETED, metadata=metadata, location="\0" * 256)
    document = result_document(job, largest_result(), LATER)
    rows = DOCUMENTS.final_messages(job, LATER, document, b"x" * MAX_JPEG_BYTES, is_newest=True)
    choose = {"question": "\0" * MAX_TEXT_CHARACTERS, "choices": CHOICES}
    settings = CameraSettings(
        prompt="\0" * MAX_TEXT_CHARACTERS,
        tasks=[{"choose": choose}] * MAX_TASKS,
        webhook_headers={f"x-{number:0126}": "y" for number in range(MAX_HEADERS)},
    )
    settings_row = address(without_secrets(settings), TOPICS, camera_id="c" * 64)
    sizes = {row.destination: len(row.payload) for row in rows if row.options.get("retain")}
    sizes[settings_row.topic] = len(settings_row.payload)
    assert len(sizes) == 3
    assert max(sizes.values()) < 2_000_000 - LONGEST_TOPIC - 1000, sizes


@pytest.mark.parametrize("status", [each for each in JobStatus if each.is_final])
def test_every_end_is_a_status_that_says_when_the_frame_was_taken(status: JobStatus) -> None:
    said = by_topic(DOCUMENTS.final_messages(ended(status), LATER))
    document = said[TOPICS.status("front")]
    assert (document["status"], document["taken_at"]) == (status.value, "2025-12-31T12:00:00Z")
    assert document["timestamp"] == "2026-01-01T12:00:00Z"  # its end, however late it is said
    assert list(said) == [TOPICS.status("front")]


def test_result_says_when_the_frame_was_taken() -> None:
    document = result_document(ended(JobStatus.COMPLETED), make_result(), LATER)
    assert (document.taken_at, document.timestamp) == (TAKEN, LATER)


def test_failed_job_has_a_dead_letter_and_others_have_none() -> None:
    job = ended(JobStatus.FAILED, ERROR, num_bytes=7, attempts=3)
    said = by_topic(DOCUMENTS.final_messages(job, LATER))
    letter = said[TOPICS.bridge("dead_letter")]
    assert (letter["size"], letter["attempts"], letter["error"]["code"]) == (7, 3, "engine_lost")
    expired = ended(JobStatus.EXPIRED, ERROR)
    assert TOPICS.bridge("dead_letter") not in by_topic(DOCUMENTS.final_messages(expired, LATER))


def test_result_goes_to_caption_response_topic_and_webhook_alike() -> None:
    job = ended(
        JobStatus.COMPLETED,
        response_topic="base/response/front/1",
        correlation_data=b"\x01",
        webhook_url="https://hooks.example/T0K3N",
    )
    document = result_document(job, make_result(), NOON)
    rows = DOCUMENTS.final_messages(job, NOON, document, b"\xff\xd8", is_newest=True)
    [caption] = [each for each in rows if each.destination == TOPICS.caption("front")]
    [answer] = [each for each in rows if each.destination == job.response_topic]
    [webhook] = [each for each in rows if each.channel is Channel.WEBHOOK]
    [image] = [each for each in rows if each.destination == TOPICS.image("front")]
    assert caption.payload == answer.payload == webhook.payload
    assert (caption.options["retain"], answer.options["retain"]) == (True, False)
    assert (webhook.receiver, image.payload) == ("https://hooks.example", b"\xff\xd8")
    assert {each.job_key for each in rows} == {job.key}


def test_picture_is_there_before_its_caption() -> None:
    job = ended(JobStatus.COMPLETED)
    document = result_document(job, make_result(), NOON)
    rows = DOCUMENTS.final_messages(job, NOON, document, b"\xff\xd8", is_newest=True)
    topics = [each.destination for each in rows]
    assert topics.index(TOPICS.image("front")) < topics.index(TOPICS.caption("front"))


def test_caption_that_is_not_the_newest_is_not_retained_and_has_no_image() -> None:
    job = ended(JobStatus.COMPLETED)
    document = result_document(job, make_result(), NOON)
    rows = DOCUMENTS.final_messages(job, NOON, document, b"\xff\xd8", is_newest=False)
    [caption] = [each for each in rows if each.destination == TOPICS.caption("front")]
    assert not caption.options["retain"]
    assert TOPICS.image("front") not in [each.destination for each in rows]


@pytest.mark.parametrize(("camera_id", "topics"), [("front", 2), (None, 1)])
def test_rejection_is_a_dead_letter_and_a_status_where_there_is_a_camera(
    camera_id: str | None, topics: int
) -> None:
    error = ErrorDetail(code="not_an_image", message="This is no image")
    rejection = Rejection("t" * 5000, camera_id, "job-1", 4, "ab", error)
    said = by_topic(DOCUMENTS.of_rejection(rejection, NOON))
    assert len(said) == topics
    letter = said[TOPICS.bridge("dead_letter")]
    assert (len(letter["topic"]), letter["size"], letter["sha256"]) == (1024, 4, "ab")
    if camera_id is not None:
        status = said[TOPICS.status(camera_id)]
        assert (status["status"], status["taken_at"]) == ("rejected", None)
        assert status["message"] == "This is no image"


def test_unreadable_message_shows_nothing_of_its_url() -> None:
    lost = SetAside(ERROR, None, "job-1", "https://hooks.example/T0K3N", 4, 2)
    [row] = DOCUMENTS.of_unreadable(lost, NOON)
    assert json.loads(row.payload)["topic"] == "https://hooks.example"


def test_bare_job_holds_nothing_that_its_sender_has_written() -> None:
    job = ended(
        JobStatus.EXPIRED,
        metadata={"zone": "gate"},
        location="Gate",
        response_topic="base/response/front/1",
        webhook_url="https://hooks.example/",
    )
    rows = DOCUMENTS.final_messages(without_senders_words(job), NOON)
    assert [each.destination for each in rows] == [TOPICS.status("front")]
    assert json.loads(rows[0].payload)["metadata"] == {}


CHOICE = Task.model_validate({"choose": {"question": "Who?", "choices": ["DHL", "UPS"]}})
ORIGIN = FrigateOrigin(event_id="1700000000.5-abc", write_back=True, sub_label=CHOICE)


def written_back(job: Job, *answers: Answer) -> list[OutboxMessage]:
    result = make_result().model_copy(update={"answers": answers})
    document = result_document(job, result, LATER)
    rows = DOCUMENTS.final_messages(job, LATER, document)
    return [each for each in rows if each.channel is Channel.FRIGATE]


def test_description_of_an_object_of_frigates_goes_back_there() -> None:
    chosen = Answer(question="Who?", answer="UPS", confidence=0.9, probabilities={"UPS": 0.9})
    job = ended(JobStatus.COMPLETED, frigate=ORIGIN)
    [row] = written_back(job, Answer(question="Why?", answer="DHL", confidence=0.8), chosen)
    assert (row.destination, row.job_key) == ("1700000000.5-abc", job.key)
    content = WriteBack.model_validate_json(row.payload)
    assert content == WriteBack(description="A cat", sub_label="UPS", score=0.9)


@pytest.mark.parametrize(
    "origin", [None, ORIGIN.model_copy(update={"write_back": False})], ids=["none", "not wanted"]
)
def test_description_of_another_frame_goes_nowhere_else(origin: FrigateOrigin | None) -> None:
    """Also of one whose sender says so in its metadata."""
    said = {"frigate": {"event_id": "1700000000.5-abc", "write_back": True}}
    assert written_back(ended(JobStatus.COMPLETED, frigate=origin, metadata=said)) == []


def test_object_of_frigates_that_got_no_description_leaves_frigate_alone() -> None:
    job = ended(JobStatus.FAILED, ERROR, frigate=ORIGIN)
    rows = DOCUMENTS.final_messages(job, LATER)
    assert Channel.FRIGATE not in {each.channel for each in rows}


def test_answer_that_was_no_choice_is_no_sub_label() -> None:
    [row] = written_back(
        ended(JobStatus.COMPLETED, frigate=ORIGIN),
        Answer(question="Who?", answer="A tall man", confidence=0.9),
    )
    assert WriteBack.model_validate_json(row.payload).sub_label is None
