"""What is said of a message that is given up, and that it is kept until it is sent."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from broker.topics import Topics
from schemas.job import ErrorDetail
from schemas.outbox import Channel, OutboxMessage
from schemas.status import DeadLetter
from service.delivery.dead_letters import DeadLetters, of_publication, of_webhook
from service.store.store import Store
from tests.support.factories import NOON

TOPICS = Topics("base")
ERROR = ErrorDetail(code="unsendable", message="m")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with Store.open(f"sqlite:///{tmp_path / 'store.db'}") as opened:
        yield opened


def make_letter(topic: str) -> DeadLetter:
    return DeadLetter(
        topic=topic,
        camera_id=None,
        size=1,
        sha256=None,
        error=ERROR,
        attempts=3,
        timestamp=NOON,
    )


def make_message(channel: Channel, destination: str, payload: bytes = b"{}") -> OutboxMessage:
    return OutboxMessage(
        job_key="front/job-1",
        channel=channel,
        destination=destination,
        payload=payload,
        created_at=NOON,
        receiver="https://hooks.example" if channel is Channel.WEBHOOK else "",
    )


async def test_letters_are_kept_and_their_sender_is_told(store: Store) -> None:
    told: list[OutboxMessage] = []
    store.outbox.subscribe(Channel.MQTT, told.extend)
    await DeadLetters(store, TOPICS).write(make_letter("a"), make_letter("b"))
    assert [json.loads(each.payload)["topic"] for each in told] == ["a", "b"]
    assert {each.destination for each in told} == {TOPICS.bridge("dead_letter")}
    assert await store.outbox.for_broker(10) == told


async def test_letter_of_a_letter_is_not_written(store: Store) -> None:
    """It would be as unsendable as the first, and so on for ever."""
    await DeadLetters(store, TOPICS).write(make_letter(TOPICS.bridge("dead_letter")))
    assert await store.outbox.pending_count(Channel.MQTT) == 0


def test_webhook_is_named_by_its_host_alone() -> None:
    message = make_message(Channel.WEBHOOK, "https://hooks.example/T0K3N", b"12345")
    letter = of_webhook(message, ERROR, 4, NOON)
    assert (letter.topic, letter.camera_id, letter.job_id) == (
        "https://hooks.example",
        "front",
        "job-1",
    )
    assert (letter.size, letter.attempts, letter.error) == (5, 4, ERROR)
    assert "T0K3N" not in letter.model_dump_json()


def test_publication_is_named_by_its_topic_as_far_as_it_is_worth_keeping() -> None:
    message = make_message(Channel.MQTT, "t" * 5000, b'{"camera_id": "back"}')
    letter = of_publication(message, ERROR, 1, NOON)
    assert (len(letter.topic), letter.camera_id) == (1024, "back")
