"""What is said of a webhook that is given up: enough to find the job, nothing of the URL."""

import hashlib
from datetime import datetime

from schemas.job import ErrorDetail
from schemas.outbox import OutboxMessage
from schemas.status import DeadLetter


def dead_letter(
    message: OutboxMessage, error: ErrorDetail, attempts: int, now: datetime
) -> DeadLetter:
    """The dead letter of one message.

    Args:
        message: As it was stored.
        error: Why it is given up.
        attempts: How often it was tried.
        now: The time of day.
    """
    return DeadLetter(
        job_id=message.job_id,
        topic=message.receiver,
        camera_id=message.camera_id,
        size=len(message.payload),
        sha256=hashlib.sha256(message.payload).hexdigest(),
        error=error,
        attempts=attempts,
        timestamp=now,
    )
