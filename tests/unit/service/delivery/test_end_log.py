import logging

import pytest

from schemas.frame import Priority
from schemas.job import ErrorDetail, JobStatus
from schemas.result import Answer, DetectedObjects, Result
from service.delivery.end_log import EndLog
from tests.support.factories import make_job
from tests.unit.service.delivery.test_deliver import make_result

SEEN = make_result().model_copy(
    update={
        "caption": "Two people\nat the gate",
        "answers": (Answer(question="Is it day?", answer="Yes", confidence=0.9),),
        "objects": (DetectedObjects(label="person", count=2, boxes=()),),
    }
)


@pytest.fixture(autouse=True)
def _at_info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "service.delivery.end_log")


@pytest.mark.parametrize(
    ("captions", "result", "line"),
    [
        (True, SEEN, "front high 2.35 s: Two people at the gate | Is it day? Yes [2 person]"),
        (True, make_result(), "front high 2.35 s: A cat"),
        (False, SEEN, "front high 2.35 s captioned"),
    ],
)
def test_caption_is_one_line(
    captions: bool, result: Result, line: str, caplog: pytest.LogCaptureFixture
) -> None:
    log = EndLog(captions=captions)
    log.captioned(make_job(priority=Priority.HIGH, job_id="job-1"), result, 2.345)
    [record] = caplog.records
    assert (record.getMessage(), record.levelname) == (line, "INFO")
    assert getattr(record, "job_id", None) == "job-1"


def test_answer_that_is_the_caption_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    asked = Answer(question="Is it day?", answer="A cat", confidence=0.9)
    EndLog().captioned(make_job(), make_result().model_copy(update={"answers": (asked,)}), 1.0)
    assert caplog.messages == ["front normal 1.00 s: A cat"]


def test_flood_of_the_same_end_is_a_few_lines_and_a_count(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = EndLog()
    error = ErrorDetail(code="queue_full", message="The queue is full")
    job = make_job(status=JobStatus.DROPPED, error=error)
    for number in range(500):
        log.ended(job, "queue_full", 1.0, now=number / 100)
    log.ended(job, "conflated", 1.0, now=5.0)  # another reason has lines of its own
    assert len(caplog.messages) == 11
    assert caplog.messages[0] == "front normal dropped after 1.00 s: The queue is full"
    log.ended(job, "queue_full", 1.0, now=60.5)
    assert caplog.messages[-1].endswith("The queue is full (and 490 like it before)")
    assert {record.levelname for record in caplog.records} == {"INFO"}


def test_rejections_are_warnings_and_bounded_like_all(caplog: pytest.LogCaptureFixture) -> None:
    log = EndLog()
    for number in range(50):
        log.rejected("id", "front", "not_an_image", "is no image", now=float(number) / 10)
    assert caplog.messages == ["front rejected: is no image"] * 10
    assert {record.levelname for record in caplog.records} == {"WARNING"}
