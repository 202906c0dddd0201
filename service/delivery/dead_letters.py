"""Dead letters: what is said of a message that is given up; enough to find its job.

Nothing of a webhook's URL but its host, which may hold a token, and never a payload.
"""

import asyncio
import hashlib
from datetime import datetime

from broker.codec import PayloadError, read_json
from broker.topics import Topics
from schemas.frame import is_camera_id
from schemas.job import ErrorDetail
from schemas.outbox import OutboxMessage
from schemas.status import DeadLetter
from service.delivery.documents import LONGEST_TOPIC, Documents
from service.store.store import Store


class DeadLetters:
    """Publishes dead letters, at least once.

    Args:
        store: Keeps them until they are sent.
        topics: Where they go.
    """

    def __init__(self, store: Store, topics: Topics) -> None:
        self._store = store
        self._documents = Documents(topics)

    async def write(self, *letters: DeadLetter) -> None:
        """Commit them, in one transaction.

        Raises:
            StoreError: They could not be kept.
        """
        if rows := self._documents.dead_letters(letters):
            await asyncio.shield(self._store.accept([], {}, rows))


def of_webhook(
    message: OutboxMessage, error: ErrorDetail, attempts: int, now: datetime
) -> DeadLetter:
    """The dead letter of a webhook that is given up.

    Args:
        message: As it was stored.
        error: Why.
        attempts: How often it was tried.
        now: The time of day.
    """
    return _of(message, message.receiver, message.camera_id, error, attempts, now)


def of_publication(
    message: OutboxMessage, error: ErrorDetail, attempts: int, now: datetime
) -> DeadLetter:
    """The same for a message that the broker does not take."""
    camera_id = _camera_of(message.payload)
    return _of(message, message.destination[:LONGEST_TOPIC], camera_id, error, attempts, now)


def of_write_back(
    message: OutboxMessage, error: ErrorDetail, attempts: int, now: datetime
) -> DeadLetter:
    """The same for what was to go into Frigate."""
    topic = f"frigate event {message.destination}"[:LONGEST_TOPIC]
    return _of(message, topic, message.camera_id, error, attempts, now)


def _of(
    message: OutboxMessage,
    topic: str,
    camera_id: str | None,
    error: ErrorDetail,
    attempts: int,
    now: datetime,
) -> DeadLetter:
    return DeadLetter(
        job_id=message.job_id,
        topic=topic,
        camera_id=camera_id,
        size=len(message.payload),
        sha256=hashlib.sha256(message.payload).hexdigest(),
        error=error,
        attempts=attempts,
        timestamp=now,
    )


def _camera_of(payload: bytes) -> str | None:
    """The camera of a status or a result; None for anything else."""
    try:
        document = read_json(payload)
    except PayloadError:
        return None
    camera_id = document.get("camera_id") if isinstance(document, dict) else None
    return camera_id if isinstance(camera_id, str) and is_camera_id(camera_id) else None
