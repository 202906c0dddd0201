"""What a source is: what it subscribes to, and what it makes of a message.

A new source is one file with a class of this shape; `app` lists them, and the first that claims a
topic reads its messages.
"""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import Protocol

from broker.message import Message
from broker.options import Subscription
from schemas.job import ErrorDetail
from service.delivery.documents import Rejection
from service.intake.submission import Submission

#: A frame that is complete soon; None once what a message said otherwise is stored.
Later = asyncio.Future[Submission] | asyncio.Future[None]


class Source(Protocol):
    """Reads the messages of some topics."""

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """The topic filters it needs."""

    def claims(self, topic: str) -> bool:
        """Whether a message on this topic is this source's."""

    def read(self, message: Message) -> "Submission | Rejection | Later | None":
        """A message as a frame, or why it is refused; None for what is nobody's motion.

        A future is of a frame that is not complete yet, or of what the message said otherwise being
        stored. It holds up no other message, and this one is acknowledged once it is done.
        """


def refuse(
    message: Message, camera_id: str | None, error: ErrorDetail, job_id: str | None = None
) -> Rejection:
    """The rejection of a message that is no frame; `camera_id` where it names a valid one."""
    return Rejection(
        origin=message.topic,
        camera_id=camera_id,
        job_id=job_id,
        size=len(message.payload),
        sha256=hashlib.sha256(message.payload).hexdigest(),
        error=error,
    )
