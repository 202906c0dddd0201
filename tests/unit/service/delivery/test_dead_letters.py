"""A webhook that is given up is named by its job and its receiver, never by its URL."""

import hashlib

from schemas.job import ErrorDetail
from schemas.outbox import Channel, OutboxMessage
from service.delivery.dead_letters import dead_letter
from tests.support.factories import NOON

URL = "https://me:hunter2@hooks.example.com:8443/token?key=secret"


def test_dead_letter_names_job_and_receiver_and_nothing_of_the_url() -> None:
    message = OutboxMessage(
        job_key="front/job-1",
        channel=Channel.WEBHOOK,
        destination=URL,
        receiver="https://hooks.example.com:8443",
        payload=b"result",
        created_at=NOON,
        attempts=3,
    )
    error = ErrorDetail(code="receiver_gone", message="it answered 410")
    letter = dead_letter(message, error, 4, NOON)
    assert (letter.job_id, letter.camera_id) == ("job-1", "front")
    assert letter.topic == "https://hooks.example.com:8443"
    assert (letter.size, letter.sha256) == (6, hashlib.sha256(b"result").hexdigest())
    assert (letter.attempts, letter.error) == (4, error)
    said = letter.model_dump_json()
    assert not any(secret in said for secret in ("hunter2", "token", "secret"))
