"""Frames that come over MQTT: gather, read, submit, acknowledge, release.

A message is acknowledged after the commit that holds its job or its rejection, in arrival order.
One whose frame is not complete yet holds up the acknowledgements behind it, and nothing else: the
frames of others are committed meanwhile, and their bytes given back.
While the store refuses nothing is acknowledged, the byte gate closes and the broker keeps the rest.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from broker.message import Message
from service.boundary import INTERNAL, keep_running
from service.delivery.documents import Rejection
from service.intake.intake import MOST_BYTES_IN_GROUP, MOST_IN_GROUP, Intake
from service.intake.submission import Submission
from service.sources.source import Later, Source, refuse

logger = logging.getLogger(__name__)


class Inbox(Protocol):
    """The receiving connection; see `broker.connection`."""

    inbox: asyncio.Queue[Message]

    def acknowledge(self, message: Message) -> bool:
        """Send PUBACK unless the connection has changed since."""

    def release(self, message: Message) -> None:
        """Give the message's bytes back to the byte gate."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message that is not acknowledged yet."""

    message: Message
    later: "asyncio.Task[None] | None" = None  #: completes its frame, and hands it over

    @property
    def is_committed(self) -> bool:
        task = self.later
        return task is None or (task.done() and not task.cancelled() and not task.exception())


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
        self._taken: deque[_Taken] = deque()  # not acknowledged yet, in order of arrival

    async def run(self) -> None:
        """Take groups for ever."""
        try:
            while True:
                await self._take(await self._gather())
        finally:  # what is not acknowledged is delivered again
            for taken in self._taken:
                if taken.later is not None:
                    taken.later.cancel()
            self._taken.clear()

    async def _take(self, messages: Sequence[Message]) -> None:
        read = [self._read(each) for each in messages]
        frames = [each for each in read if isinstance(each, Submission | Rejection)]
        await self._submit(frames)
        if not frames:  # nothing was waited for: everybody else gets a turn
            await asyncio.sleep(0)
        for message, item in zip(messages, read, strict=True):
            if isinstance(item, asyncio.Future):
                self._taken.append(_Taken(message, self._wait(message, item)))
            else:
                self._taken.append(_Taken(message))
                self._inbox.release(message)
        self._acknowledge()

    def _wait(self, message: Message, item: Later) -> "asyncio.Task[None]":
        """Complete what a message holds, behind the others' backs."""
        task = asyncio.create_task(self._complete(message, item), name="an incomplete frame")
        task.add_done_callback(lambda _: self._acknowledge())
        return task

    async def _complete(self, message: Message, item: Later) -> None:
        result: Submission | Rejection | None
        try:
            result = await item
        except Exception:
            logger.exception("a frame on %s cannot be completed", message.topic)
            result = refuse(message, None, INTERNAL)
        if result is not None:
            await self._submit([result])
        self._inbox.release(message)

    def _acknowledge(self) -> None:
        """As far as everything is committed."""
        while self._taken and self._taken[0].is_committed:
            self._inbox.acknowledge(self._taken.popleft().message)

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

    def _read(self, message: Message) -> Submission | Rejection | Later | None:
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
