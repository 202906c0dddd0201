"""Drains the Frigate rows of the outbox: a row is done when its text is read back from there.

While an object is tracked each of Frigate's writes replaces all that is stored of it, and the last
one comes after the end was published. So nothing is written before the database shows the end, and
what was written is read again before its row goes; until then the row is due again and again, also
after a restart. What somebody else has written, Frigate itself or a person, stays.
"""

import asyncio
import hashlib
import logging
import random
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from schemas.job import ErrorDetail
from schemas.outbox import Channel, OutboxMessage
from schemas.write_back import RECEIVER, WriteBack
from service.backoff import Backoff, spread
from service.boundary import contained
from service.clock import Clock
from service.delivery.dead_letters import DeadLetters, of_write_back
from service.errors import (
    UNEXPECTED,
    FrigateAccessError,
    FrigateError,
    HostError,
    StoreError,
)
from service.frigate.api import MAX_SUB_LABEL, FrigateApi
from service.frigate_settings import FrigateSettings
from service.store.outbox import Batch, Outbox, Size

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 4  # objects; Frigate runs beside its detectors, often on a small machine
_ONE_OBJECT = Size(num_messages=16, num_bytes=64 * 1024)
# The last write follows the end by a second or two, the sub label its answer by less.
_AGAIN = Backoff(first=2.0, longest=300.0)
_AWAY = Backoff(first=2.0, longest=60.0)  # of Frigate as a whole
_NO_ACCESS_S = 30.0
_JITTER = 0.2
# An object without clip and snapshot is never stored. A restart of Frigate takes a minute.
_LONGEST_UNKNOWN_S = 600.0
_STORE_RETRY_S = 5.0
_LOOK_S = 1.0  # while rows wait: those that stepped aside wake nobody
_IDLE_S = 30.0
_MOST_GIVEN_UP = 50  # in one transaction
_MOST_REMEMBERED = 1000  # objects of which it is known what we wrote


@dataclass(frozen=True, slots=True)
class _Missing:
    """What Frigate does not have yet."""

    description: str | None
    sub_label: tuple[str, float] | None  #: with its score

    @property
    def is_nothing(self) -> bool:
        return self.description is None and self.sub_label is None


class _GiveUp(Exception):  # noqa: N818 - a decision
    """It will not be written, however often it is tried."""


class FrigateSender:
    """Writes descriptions and sub labels into Frigate until they are there, or it is too late.

    Args:
        outbox: The rows.
        frigate: Is read and written.
        settings: What may be written, and for how long it is tried.
        letters: Take what is given up.
        clock: For pauses and timestamps.
        rng: Spreads attempts.
    """

    def __init__(
        self,
        outbox: Outbox,
        frigate: FrigateApi,
        settings: FrigateSettings,
        *,
        letters: DeadLetters,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._outbox = outbox
        self._frigate = frigate
        self._settings = settings
        self._letters = letters
        self._clock = clock
        self._rng = rng
        self._busy: set[int] = set()  # destination keys
        self._last_key: int | None = None  # whose turn it was last
        self._num_away = 0  # attempts in a row that Frigate as a whole has refused
        self._away_until = 0.0
        self._written: OrderedDict[str, bytes] = OrderedDict()
        self._wake = asyncio.Event()

    def notify(self, _: Sequence[OutboxMessage]) -> None:
        """Look for rows now."""
        self._wake.set()

    async def run(self) -> None:
        """Write for ever."""
        self._outbox.subscribe(Channel.FRIGATE, self.notify)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    pause = await self._start_due(tasks)
                except StoreError as error:
                    logger.warning(
                        "what goes to Frigate cannot be read: %s",
                        error,
                        extra={"action": "outbox_unread"},
                    )
                    pause = _STORE_RETRY_S
                with suppress(TimeoutError):
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    async def _start_due(self, tasks: asyncio.TaskGroup) -> float:
        """Begin with what is due, and say in how many seconds to look again."""
        wait_s = self._away_until - self._clock.monotonic()
        if wait_s > 0:
            return min(wait_s, _IDLE_S)
        most = 1 if self._num_away else _MOST_AT_ONCE
        num_free = most - len(self._busy)
        if num_free <= 0:
            return _IDLE_S  # whoever ends wakes us
        busy = frozenset(self._busy)
        batches = await self._outbox.batches(
            RECEIVER, self._last_key, busy, num_free, _ONE_OBJECT, Channel.FRIGATE
        )
        for batch in batches:
            self._last_key = batch.key
            self._busy.add(batch.key)
            tasks.create_task(self._work(batch), name=f"write-back {batch.key:x}")
        return _LOOK_S if await self._outbox.pending_count(Channel.FRIGATE) else _IDLE_S

    async def _work(self, batch: Batch) -> None:
        """Make one attempt for an object, for the newest row about it."""
        message = max(batch.messages, key=lambda each: each.row_id)
        try:
            await self._attempt(message)
        except StoreError as error:
            logger.warning(
                "what goes to Frigate: the store refused: %s",
                error,
                extra={"action": "outbox_uncleared"},
            )
            self._away_until = self._clock.monotonic() + _STORE_RETRY_S
        except Exception:  # one row must not end the delivery of the others
            logger.exception("%s broke what writes to Frigate", message.job_key)
            with contained("a row for Frigate cannot be put back"):
                if self._is_too_old(message):
                    await self._give_up(message, reason=UNEXPECTED)
                else:
                    await self._put_back(message, _AGAIN.longest)
        finally:
            self._busy.discard(batch.key)
            self._wake.set()

    async def _attempt(self, message: OutboxMessage) -> None:
        """Bring Frigate nearer to what a row says: it is settled, or due again later.

        Raises:
            StoreError: The row is as it was.
        """
        try:
            delay = await self._approach(message)
        except _GiveUp as reason:
            await self._give_up(message, reason=str(reason))
            return
        except (HostError, FrigateAccessError) as error:
            await self._note_away(message, error)
            return
        except FrigateError as error:
            logger.warning(
                "%s not written, attempt %d: %s",
                message.job_key,
                message.attempts + 1,
                error,
                extra={"action": "write_back_failed"},
            )
            delay, reason_if_late = _AGAIN.after(message.attempts + 1), str(error)
        else:
            reason_if_late = "Frigate has not kept it, or not ended the object"
        self._num_away = 0
        if delay is None:
            await self._outbox.settled(message)
        elif self._is_too_old(message):
            await self._give_up(message, reason=reason_if_late)
        else:
            await self._put_back(message, delay)

    async def _put_back(self, message: OutboxMessage, delay: float) -> None:
        await self._outbox.failed(message.row_id, spread(delay, _JITTER, self._rng))

    async def _approach(self, message: OutboxMessage) -> float | None:
        """Read, compare and write; None when nothing is missing any more."""
        content = _content_of(message)
        event_id, delay = message.destination, _AGAIN.after(message.attempts + 1)
        event = await self._frigate.event(event_id)
        if event is None:
            if message.waited_s > _LONGEST_UNKNOWN_S:
                raise _GiveUp(
                    "Frigate has not stored the object: it kept neither clip nor snapshot of it, "
                    "or has deleted it"
                )
            return delay
        if event.get("end_time") is None:
            return delay
        missing = await self._missing(event_id, content, event)
        if missing.is_nothing:
            logger.info("%s settled in Frigate", event_id, extra={"action": "write_back_done"})
            return None
        # First what Frigate writes later: it reads and writes the whole object, and our own
        # description with it.
        if missing.sub_label is not None:
            await self._frigate.write_sub_label(event_id, *missing.sub_label)
        if missing.description is not None:
            self._remember(event_id, missing.description)
            await self._frigate.write_description(event_id, missing.description)
        return delay

    async def _missing(
        self, event_id: str, content: WriteBack, event: Mapping[str, Any]
    ) -> _Missing:
        data = event.get("data")
        data = data if isinstance(data, dict) else {}
        description = await self._missing_description(
            event_id, content.description, data.get("description"), event.get("camera")
        )
        sub_label = self._sub_label(content)
        present = _name_of(event.get("sub_label"))
        if sub_label is not None and (
            present == sub_label[0] or (present and not self._settings.overwrite)
        ):
            sub_label = None
        return _Missing(description, sub_label)

    async def _missing_description(
        self, event_id: str, wanted: str, present: object, camera: object
    ) -> str | None:
        if isinstance(present, str) and present.split() == wanted.split():
            return None
        if self._settings.overwrite:
            return wanted
        if isinstance(present, str) and present.strip() and not self._is_ours(event_id, present):
            logger.info("%s has a description already, which stays", event_id)
            return None
        if await self._describes_itself(camera):
            logger.info("%s is left to Frigate's own descriptions of %s", event_id, camera)
            return None
        return wanted

    async def _describes_itself(self, camera: object) -> bool:
        try:
            return isinstance(camera, str) and await self._frigate.describes_itself(camera)
        except FrigateError as error:  # it may be more than we read; the description may go in
            logger.warning("whether Frigate describes %s itself is not known: %s", camera, error)
            return False

    def _sub_label(self, content: WriteBack) -> tuple[str, float] | None:
        wanted = self._settings.sub_label
        label, score = content.sub_label, content.score
        if label is None or score is None or label == wanted.none_of_them:
            return None
        if score < wanted.min_confidence or score <= 0:
            return None
        return label[:MAX_SUB_LABEL], min(score, 1.0)

    def _remember(self, event_id: str, description: str) -> None:
        self._written[event_id] = _digest(description)
        self._written.move_to_end(event_id)
        if len(self._written) > _MOST_REMEMBERED:
            self._written.popitem(last=False)

    def _is_ours(self, event_id: str, present: str) -> bool:
        return self._written.get(event_id) == _digest(present)

    async def _note_away(
        self, message: OutboxMessage, error: HostError | FrigateAccessError
    ) -> None:
        """Let all rows wait: no other would fare better."""
        self._num_away += 1
        pause = _AWAY.after(self._num_away)
        if isinstance(error, FrigateAccessError):
            pause = max(pause, _NO_ACCESS_S)
        self._away_until = self._clock.monotonic() + spread(pause, _JITTER, self._rng)
        if self._num_away == 1:
            logger.warning(
                "descriptions wait for Frigate: %s", error, extra={"action": "write_back_failed"}
            )
        if self._is_too_old(message):
            await self._give_up_old(str(error))

    def _is_too_old(self, message: OutboxMessage) -> bool:
        return message.waited_s >= self._settings.give_up_after

    async def _give_up_old(self, reason: str) -> None:
        """Give up all that has waited too long, while Frigate lets nothing in."""
        while True:
            oldest = await self._outbox.oldest(Channel.FRIGATE, RECEIVER, _MOST_GIVEN_UP)
            messages = await self._outbox.get([message_id for message_id, _ in oldest])
            late = [message for message in messages if self._is_too_old(message)]
            if late:
                await self._give_up(*late, reason=reason)
            if len(late) < _MOST_GIVEN_UP:
                return

    async def _give_up(self, *messages: OutboxMessage, reason: str) -> None:
        """Write dead letters; the rows go last, so that a crash only writes them twice."""
        error, now = ErrorDetail(code="write_back", message=reason), self._clock.now()
        for message in messages:
            logger.error(
                "%s given up after %d attempts: %s",
                message.job_key,
                message.attempts + 1,
                reason,
                extra={"action": "write_back_given_up"},
            )
        await self._letters.write(
            *(of_write_back(each, error, each.attempts + 1, now) for each in messages)
        )
        for message in messages:
            await self._outbox.settled(message)


def _content_of(message: OutboxMessage) -> WriteBack:
    try:
        return WriteBack.model_validate_json(message.payload)
    except ValidationError as error:
        raise _GiveUp("what is stored of it cannot be read") from error


def _name_of(sub_label: object) -> str:
    """The sub label of an object: a text, or a pair of it and its score."""
    if isinstance(sub_label, list) and sub_label:
        sub_label = sub_label[0]
    return sub_label.strip() if isinstance(sub_label, str) else ""


def _digest(description: str) -> bytes:
    text = " ".join(description.split())
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()  # JSON can hold halves
