"""Frames that come over MQTT: gather, read, submit, acknowledge, release.

A message is acknowledged after the commit that holds its job or its rejection, in arrival order.
While the store refuses nothing is acknowledged, the byte gate closes and the broker keeps the rest.
"""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from broker.message import Message
from service.boundary import INTERNAL, keep_running
from service.delivery.documents import Rejection
from service.intake.intake import MOST_BYTES_IN_GROUP, MOST_IN_GROUP, Intake
from service.intake.submission import Submission
from service.sources.source import Source, refuse

logger = logging.getLogger(__name__)


class Inbox(Protocol):
    """The receiving connection; see `broker.connection`."""

    inbox: asyncio.Queue[Message]

    def acknowledge(self, message: Message) -> bool:
        """Send PUBACK unless the connection has changed since."""

    def release(self, message: Message) -> None:
        """Give the message's bytes back to the byte gate."""


class MqttFrames:
    """Hands messages to intake and acknowledges them.

    Args:
        inbox: Where messages come from and are acknowledged.
        sources: Who reads them; the first that claims a topic does.
        intake: Commits.
    """

    def __init__(self, inbox: Inbox, sources: Sequence[Source], intake: Intake) -> None:
        self._inbox = inbox
        self._sources = sources
        self._intake = intake

    async def run(self) -> None:
        """Take groups for ever."""
        while True:
            await self._take(await self._gather())

    async def _take(self, messages: Sequence[Message]) -> None:
        read = [self._read(each) for each in messages]
        frames = [each for each in read if isinstance(each, Submission | Rejection)]
        await self._submit(frames)
        if not frames:  # nothing was waited for: everybody else gets a turn
            await asyncio.sleep(0)
        if notes := {each for each in read if isinstance(each, asyncio.Future)}:
            await asyncio.wait(notes)
        for message in messages:
            self._inbox.acknowledge(message)
            self._inbox.release(message)

    async def _submit(self, items: Sequence[Submission | Rejection]) -> None:
        """Hand frames over until it is known that they are committed."""
        handed = list(items)

        async def submit() -> None:
            now, handed[:] = list(handed), [_as_redelivery(each) for each in handed]
            await self._intake.submit(now)

        await keep_running(submit, "the intake of MQTT frames")

    async def _gather(self) -> list[Message]:
        """Wait for a message and take those that are there already."""
        messages = [await self._inbox.inbox.get()]
        num_bytes = len(messages[0].payload)
        while (
            len(messages) < MOST_IN_GROUP
            and num_bytes < MOST_BYTES_IN_GROUP
            and not self._inbox.inbox.empty()
        ):
            messages.append(self._inbox.inbox.get_nowait())
            num_bytes += len(messages[-1].payload)
        return messages

    def _read(self, message: Message) -> "Submission | Rejection | asyncio.Future[None] | None":
        try:
            source = next((each for each in self._sources if each.claims(message.topic)), None)
            return None if source is None else source.read(message)
        except Exception:
            # Whatever a hostile payload finds must not stop the others.
            logger.exception("a message on %s broke its reader", message.topic)
            return refuse(message, None, INTERNAL)


def _as_redelivery(item: Submission | Rejection) -> Submission | Rejection:
    """The same once more: it may have become a job already."""
    return replace(item, is_redelivery=True) if isinstance(item, Submission) else item
