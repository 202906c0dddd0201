"""Keeps the outbox within its limits, and the store's count of time going.

Messages that cannot be delivered pile up: a receiver is away for a day, a flood of frames names one
that is slow, the broker refuses. Beyond a limit the longest waiting go, and become dead letters: a
webhook's and Frigate's one each, the broker's one for all that went at once, because letters to a
broker that takes nothing would only take the place of what they tell of.

A limit is looked at after each twentieth of it that was written, so it is exceeded by no more than
that and what is written while the oldest go.
"""

import asyncio
import logging
from collections.abc import Iterator, Sequence

from schemas.job import ErrorDetail
from schemas.outbox import Channel
from schemas.status import DeadLetter
from service.clock import Clock
from service.delivery.dead_letters import DeadLetters, of_webhook, of_write_back
from service.errors import StoreError
from service.settings import Settings
from service.store.outbox import Size
from service.store.store import Store

logger = logging.getLogger(__name__)

_NOTHING = Size(0, 0)
_LOOK_S = 0.2
_STORE_RETRY_S = 5.0
_LONGEST_PAUSE_S = 60.0  # also between two notes of the time: so much is lost when the power fails
_LOOKS_PER_LIMIT = 20
_MOST_FOUND = (
    2000  # ids in memory; finding the longest waiting of many costs more than their number
)
# In one transaction, with their payloads in memory. Fewer, and a flood is written faster than it
# goes; more, and the commits of new frames wait for it.
_MOST_EVICTED = Size(num_messages=500, num_bytes=4 << 20)


class Overflow:
    """Evicts from the outbox what is over its limits.

    Args:
        store: Whose outbox.
        settings: The limits of `store` and `webhooks`.
        letters: Take what is evicted.
        clock: For pauses and timestamps.
    """

    def __init__(
        self, store: Store, settings: Settings, letters: DeadLetters, clock: Clock
    ) -> None:
        self._store = store
        self._letters = letters
        self._clock = clock
        self._in_all = Size(settings.store.max_messages, settings.store.max_message_bytes)
        self._per_receiver = Size(settings.webhooks.max_messages, settings.webhooks.max_bytes)
        self._seen = Size(0, 0)
        self._look_at = 0.0

    async def run(self) -> None:
        """Look for ever."""
        while True:
            pause = _LOOK_S
            try:
                await self._look()
            except StoreError as error:
                logger.warning(
                    "the outbox cannot be bounded: %s", error, extra={"action": "sweep_failed"}
                )
                pause = _STORE_RETRY_S
            await asyncio.sleep(pause)

    async def _look(self) -> None:
        is_time = self._clock.monotonic() >= self._look_at
        if is_time:
            await self._store.keep_time()
        if is_time or self._has_grown():
            await self.check()

    async def check(self) -> None:
        """Evict what is over a limit.

        Raises:
            StoreError: The store refused.
        """
        self._seen = self._store.outbox.written
        self._look_at = self._clock.monotonic() + _LONGEST_PAUSE_S
        await self._bound_webhooks()
        for channel, limit in ((Channel.MQTT, self._in_all), (Channel.FRIGATE, self._per_receiver)):
            size = await self._store.outbox.size(channel)
            await self._evict(channel, None, _excess(size, limit))

    def _has_grown(self) -> bool:
        written, limit = self._store.outbox.written, self._per_receiver
        num_messages = written.num_messages - self._seen.num_messages
        num_bytes = written.num_bytes - self._seen.num_bytes
        return (
            num_messages * _LOOKS_PER_LIMIT >= limit.num_messages
            or num_bytes * _LOOKS_PER_LIMIT >= limit.num_bytes
        )

    async def _bound_webhooks(self) -> None:
        outbox = self._store.outbox
        size = await outbox.size(Channel.WEBHOOK)
        if _excess(size, self._per_receiver) != _NOTHING:  # else no receiver has more either
            for receiver, each in (await outbox.larger_than(self._per_receiver)).items():
                await self._evict(Channel.WEBHOOK, receiver, _excess(each, self._per_receiver))
            size = await outbox.size(Channel.WEBHOOK)
        await self._evict(Channel.WEBHOOK, None, _excess(size, self._in_all))

    async def _evict(self, channel: Channel, receiver: str | None, excess: Size) -> None:
        while excess != _NOTHING:
            oldest = await self._store.outbox.oldest(channel, receiver, _MOST_FOUND)
            victims = []
            for message_id, num_bytes in oldest:
                if excess == _NOTHING:
                    break
                victims.append((message_id, num_bytes))
                excess = _excess(excess, Size(1, num_bytes))
            if not victims:  # they have left meanwhile
                return
            logger.warning(
                "%d messages for %s given up, the oldest: too many wait",
                len(victims),
                receiver or channel.value,
                extra={"action": "outbox_full"},
            )
            if channel is Channel.MQTT:
                await self._give_up_all([message_id for message_id, _ in victims])
            else:
                for group in _groups(victims):
                    await self._give_up_each(group)

    async def _give_up_each(self, message_ids: Sequence[int]) -> None:
        """One dead letter each; the rows go last, so that a crash only writes them twice."""
        messages = await self._store.outbox.get(message_ids)
        error = ErrorDetail(
            code="outbox_full",
            message="More messages wait for webhook receivers, or for Frigate, than "
            "webhooks.max_messages, webhooks.max_bytes and the same of store allow; this was the "
            "oldest",
        )
        now = self._clock.now()
        letter = {Channel.FRIGATE: of_write_back}
        await self._letters.write(
            *(
                letter.get(each.channel, of_webhook)(each, error, each.attempts, now)
                for each in messages
            )
        )
        await self._store.outbox.sent(message_ids)

    async def _give_up_all(self, message_ids: Sequence[int]) -> None:
        """One dead letter for all."""
        for first in await self._store.outbox.get(message_ids[:1]):
            error = ErrorDetail(
                code="outbox_full",
                message=f"{len(message_ids)} messages, of {first.created_at.isoformat()} and "
                "later, did not reach the broker: more waited for it than store.max_messages or "
                "store.max_message_bytes",
            )
            letter = DeadLetter(
                job_id=first.job_id,
                topic=first.destination,
                camera_id=None,
                size=len(first.payload),
                sha256=None,
                error=error,
                attempts=first.attempts,
                timestamp=self._clock.now(),
            )
            await self._letters.write(letter)
        await self._store.outbox.sent(message_ids)


def _excess(size: Size, limit: Size) -> Size:
    """What is over a limit, in each measure."""
    return Size(
        max(0, size.num_messages - limit.num_messages), max(0, size.num_bytes - limit.num_bytes)
    )


def _groups(messages: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Ids of messages, given with their bytes, that may be in memory together."""
    group: list[int] = []
    total = 0
    for message_id, num_bytes in messages:
        total += num_bytes
        if group and (len(group) == _MOST_EVICTED.num_messages or total > _MOST_EVICTED.num_bytes):
            yield group
            group, total = [], num_bytes
        group.append(message_id)
    yield group
