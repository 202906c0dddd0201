"""Documents to messages and to rows of the outbox and back."""

import asyncio
from typing import Any

import pytest

from broker.errors import BrokerError, ConnectionLostError, NotConnectedError, PublishError
from broker.handover import Publish
from broker.publisher import Publisher, address, address_image, answer, from_outbox, to_outbox
from broker.topics import TABLE, Topics
from schemas.camera import CameraSettings
from schemas.frame import Priority
from schemas.job import ErrorDetail, JobStatus
from schemas.outbox import Channel
from schemas.result import ModelInfo, Result, ResultDocument
from schemas.status import DeadLetter, LogDocument, StatusDocument
from tests.support.factories import NOON

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


def test_outbox_row_says_how_often_it_was_lost() -> None:
    row = to_outbox(answer(make_result(), "reply/to", None), job_key="front/job-1", created_at=NOON)
    assert from_outbox(row.model_copy(update={"attempts": 2})).num_lost == 2


class ScriptedConnection:
    """Takes messages as a connection does; the test says what becomes of them."""

    is_connected = True

    def __init__(self) -> None:
        self.sent: list[Publish] = []
        self.problem: BrokerError | None = None  # raised at once

    def send(self, message: Publish) -> asyncio.Future[None]:
        if self.problem is not None:
            raise self.problem
        message.done = asyncio.get_running_loop().create_future()
        self.sent.append(message)
        return message.done

    async def end(self, error: BrokerError | None) -> list[int]:
        """End what is on its way, and say how often it had been lost before."""
        ended, self.sent = self.sent, []
        for message in ended:
            assert message.done is not None
            message.done.set_result(None) if error is None else message.done.set_exception(error)
        await asyncio.sleep(0)
        return [message.num_lost for message in ended]


def make_publisher() -> tuple[Publisher, ScriptedConnection]:
    connection = ScriptedConnection()
    return Publisher(connection, TOPICS), connection  # type: ignore[arg-type]


LOST = ConnectionLostError("lost")


async def test_publisher_counts_the_losses_of_a_topic_until_one_arrives() -> None:
    publisher, connection = make_publisher()
    counts = []
    for error in (LOST, NotConnectedError("away"), LOST, None, LOST):
        publisher.announce(LOG)
        publisher.announce(LOG)
        publisher.announce(make_status())
        counts.append(await connection.end(error))
    assert counts == [[0, 0, 0], [1, 1, 1], [1, 1, 1], [2, 2, 2], [0, 0, 0]]


@pytest.mark.parametrize("code", ["refused", "unsendable"])
async def test_publisher_leaves_a_topic_alone_that_the_broker_does_not_take(
    code: str, caplog: pytest.LogCaptureFixture
) -> None:
    publisher, connection = make_publisher()
    publisher.announce(CameraSettings(), camera_id="front")
    await connection.end(PublishError(code, "not for you"))
    assert not publisher.announce(CameraSettings(), camera_id="front")
    publisher.renew()
    assert connection.sent == []
    assert publisher.announce(CameraSettings(), camera_id="back")
    assert "moondream2mqtt/front/settings" in caplog.text
    assert "not for you" in caplog.text


async def test_publisher_names_what_is_too_large_once_and_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher, connection = make_publisher()
    connection.problem = PublishError("too_large", "9 bytes for a; the broker takes at most 8")
    for _ in range(5):
        assert not publisher.announce(LOG)
    assert caplog.text.count("at most 8") == 1
    connection.problem = None
    assert publisher.announce(LOG)


async def test_publisher_remembers_a_bounded_number_of_topics() -> None:
    publisher, connection = make_publisher()
    for number in range(3000):
        publisher.announce(make_status(camera_id=f"invented-{number}"))
        await connection.end(LOST if number % 2 else PublishError("refused", "no"))
    assert len(publisher._losses) + len(publisher._muted_until) <= 2000
