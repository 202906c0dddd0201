"""Drains the webhook rows of the outbox: a row is done when its receiver answers 2xx.

The rows are the truth, this process only remembers who must wait. A receiver may be down, slow or
hostile, so each attempt has a limit in time and bytes, each host a limit of requests at once and a
circuit (`service.delivery.receivers`), and every address is checked (`service.http`).

Messages for one URL arrive in the order of time. One exception: a message that its receiver has
refused `_STUBBORN` times steps aside when the next one gets through, or it would hold up a day.
"""

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import suppress

from schemas.job import ErrorDetail
from schemas.outbox import Channel, OutboxMessage
from schemas.status import Figures, HealthCheck
from service.backoff import Backoff, spread
from service.clock import Clock
from service.delivery.attempts import Attempts, ReceiverSilentError
from service.delivery.dead_letters import DeadLetters, of_webhook
from service.delivery.receivers import Receivers
from service.errors import (
    DeliveryError,
    ReceiverGoneError,
    ServiceError,
    StoreError,
    UrlRefusedError,
)
from service.settings import WebhookSettings
from service.store.outbox import Batch, Outbox, Size

logger = logging.getLogger(__name__)

_MOST_AT_ONCE = 128  # requests to all receivers together
# One turn of a URL. More, and others of its receiver wait longer; fewer, and each message takes a
# query of its own. Times the requests at once it bounds what is in memory: some 8 MiB.
_TURN = Size(num_messages=8, num_bytes=64 * 1024)
_RECEIVERS_READ = 32  # names read at once
_MOST_GIVEN_UP = 50  # in one transaction
_STUBBORN = 5  # refusals of one message before the next may be tried past it
# A receiver that returns after a day waits no longer than the longest.
_BACKOFF = Backoff(first=1.0, longest=600.0)
_JITTER = 0.2
_STORE_RETRY_S = 5.0
_LONGEST_SLEEP_S = 30.0  # then the store is asked: rows that stepped aside wake nobody
_CROWDED_S = 1.0  # between looks at receivers for whom there was no place
_MOST_OUTCOMES = 1000  # attempts the success rate looks back on
_TOO_OLD = DeliveryError("too old, and its receiver still fails")


class WebhookSender:
    """Posts committed results to their receivers until they have them, or it is too late.

    Args:
        outbox: The rows.
        settings: Its limits are used.
        attempts: Make one each.
        letters: Take what is given up.
        clock: For pauses and timestamps.
        rng: Spreads retries, so that receivers are not hit by all at once.

    Attributes:
        attempts: How many there were in this run, `delivered` and `failed`.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: WebhookSettings,
        *,
        attempts: Attempts,
        letters: DeadLetters,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._attempts = attempts
        self._letters = letters
        self._clock = clock
        self._rng = rng
        self._receivers = Receivers(settings.concurrency, _MOST_AT_ONCE)
        self._read_up_to: str | None = None  # a receiver: in this round all up to it are known
        self._read_at = 0.0  # when to look for receivers nobody has told of
        self._outcomes: deque[bool] = deque(maxlen=_MOST_OUTCOMES)
        self.attempts: Counter[str] = Counter(delivered=0, failed=0)
        self._arrived: set[int] = set()  # but their rows could not be deleted yet
        self._wake = asyncio.Event()

    @property
    def success_rate(self) -> float | None:
        """Share of recent attempts that got a 2xx answer, 0..1; None before the first."""
        if not self._outcomes:
            return None
        return round(sum(self._outcomes) / len(self._outcomes), 4)

    def _note(self, *, is_delivered: bool) -> None:
        self._outcomes.append(is_delivered)
        self.attempts["delivered" if is_delivered else "failed"] += 1

    async def figures(self) -> Figures:
        """For `bridge/stats`."""
        return {"webhook_success_rate": self.success_rate}

    def check(self) -> HealthCheck:
        """Healthy while every receiver took its last message."""
        failing = self._receivers.failing
        if not failing:
            return HealthCheck(status="healthy", message="ok")
        shown = ", ".join(failing[:5]) + (" and others" if len(failing) > 5 else "")
        return HealthCheck(status="degraded", message=f"retrying {shown}")

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        """Look for rows now: these have just been committed; none: there may be others.

        They are read from the store all the same: only there it can be seen that nothing older
        waits for the same URL.
        """
        if not messages:
            self._read_at = 0.0
        for name in {message.receiver for message in messages}:
            if not self._receivers.expect(name):
                self._read_at = min(self._read_at, self._clock.monotonic() + _CROWDED_S)
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        self._outbox.subscribe(Channel.WEBHOOK, self.notify)
        async with asyncio.TaskGroup() as tasks:
            while True:
                self._wake.clear()
                try:
                    await self._find_receivers(self._clock.monotonic())
                    await self._start_due(tasks)
                    pause = self._pause()
                except StoreError as error:
                    logger.warning(
                        "webhooks cannot be read: %s", error, extra={"action": "outbox_unread"}
                    )
                    pause = _STORE_RETRY_S
                # Not wait_for: on Python 3.11 it loses a cancellation that comes with the event.
                with suppress(TimeoutError):  # somebody's pause is over
                    async with asyncio.timeout(pause):
                        await self._wake.wait()

    def _pause(self) -> float:
        moment = min(self._receivers.next_moment(), self._read_at)
        return min(max(0.0, moment - self._clock.monotonic()), _LONGEST_SLEEP_S)

    async def _find_receivers(self, now: float) -> None:
        """Look for those nobody has told of: left by the last run, or too many to remember."""
        while now >= self._read_at:
            if self._read_up_to is None:
                self._receivers.is_complete = True
            names = await self._outbox.receivers(self._read_up_to, _RECEIVERS_READ)
            for name in names:
                if not self._receivers.expect(name):
                    break
                self._read_up_to = name
            else:
                if len(names) < _RECEIVERS_READ:
                    self._read_up_to = None
            if not self._receivers.is_complete:
                self._read_at = now + _CROWDED_S
            elif self._read_up_to is None:
                self._read_at = now + _LONGEST_SLEEP_S

    async def _start_due(self, tasks: asyncio.TaskGroup) -> None:
        now = self._clock.monotonic()
        while (turn := self._receivers.next_turn(now)) is not None:
            try:
                batches = await self._outbox.batches(
                    turn.receiver, turn.after, turn.skip, turn.num_urls, _TURN
                )
            except StoreError:
                self._receivers.expect(turn.receiver)
                raise
            self._receivers.begin(turn, [batch.key for batch in batches], now)
            for batch in batches:
                work = self._work(turn.receiver, batch)
                tasks.create_task(work, name=f"webhooks {turn.receiver}")

    async def _work(self, receiver: str, batch: Batch) -> None:
        """Post messages for one URL in order, until one must be tried again later."""
        try:
            await self._post_in_order(receiver, batch)
            if self._receivers.is_open(receiver):
                await self._give_up_old(receiver)
        except StoreError as error:
            logger.warning(
                "webhooks to %s: the store refused: %s",
                receiver,
                error,
                extra={"action": "outbox_uncleared"},
            )
            self._postpone(receiver, batch.key, _STORE_RETRY_S)
        except Exception:  # one message must not end the delivery of the others
            logger.exception("webhooks to %s broke their sender", receiver)
            self._postpone(receiver, batch.key, _BACKOFF.longest)
        finally:
            self._receivers.release(receiver, batch.key)
            self._wake.set()

    async def _post_in_order(self, receiver: str, batch: Batch) -> None:
        aside: OutboxMessage | None = None  # refused often; is it the message or the receiver?
        delay = 0.0
        for message in batch.messages:
            if self._receivers.is_failing(receiver, batch.key) and self._is_too_old(message):
                await self._give_up(_TOO_OLD, message)
                continue
            try:
                await self._deliver(receiver, batch.key, message)
            except DeliveryError as error:
                delay = delay or self._delay(message, error)
                if self._is_too_old(message):
                    await self._give_up(error, message, attempts=1)
                    break
                if aside is None and _is_stubborn(message, error):
                    aside = message
                    continue
                await self._outbox.failed(message.row_id)
                break
            if aside is not None:
                await self._outbox.failed(aside.row_id, aside_s=delay)
                aside, delay = None, 0.0
        if aside is not None:
            await self._outbox.failed(aside.row_id)
        if delay:
            self._postpone(receiver, batch.key, delay)

    def _postpone(self, receiver: str, key: int, delay: float) -> None:
        """Let a URL wait; only in memory, so that a restart tries at once."""
        now = self._clock.monotonic()
        if num_failures := self._receivers.pause(receiver, key, now + delay):
            self._receivers.hold(receiver, now + self._backoff(num_failures))

    async def _deliver(self, receiver: str, key: int, message: OutboxMessage) -> None:
        """Make one attempt and settle the row, unless it is to be tried again.

        Raises:
            DeliveryError: It is to be tried again.
        """
        if message.row_id in self._arrived:
            await self._settle(message)
            return
        started = self._clock.monotonic()
        try:
            await self._attempts.post(message)
        except (UrlRefusedError, ReceiverGoneError) as error:
            self._note(is_delivered=False)
            if isinstance(error, ReceiverGoneError):
                self._receivers.answered(receiver)
            await self._give_up(error, message, attempts=1)
            return
        except DeliveryError as error:
            self._note(is_delivered=False)
            self._note_failure(receiver, message, error)
            raise
        self._note(is_delivered=True)
        if self._receivers.is_failing(receiver, key):
            self._wake.set()  # other URLs of the receiver may wait for this news
        self._receivers.delivered(receiver, key)
        logger.info(
            "%s delivered to %s in %.2f s",
            message.job_key,
            receiver,
            self._clock.monotonic() - started,
            extra={"action": "webhook_delivered"},
        )
        await self._settle(message)

    async def _settle(self, message: OutboxMessage) -> None:
        """Delete the row; while the store refuses, remember not to send it again."""
        self._arrived.add(message.row_id)
        await self._outbox.sent([message.row_id])
        self._arrived.discard(message.row_id)

    def _note_failure(self, receiver: str, message: OutboxMessage, error: DeliveryError) -> None:
        if isinstance(error, ReceiverSilentError):
            num_silent = self._receivers.silent(receiver)
            self._receivers.hold(receiver, self._clock.monotonic() + self._backoff(num_silent))
        else:
            self._receivers.answered(receiver)
        logger.warning(
            "%s not delivered, attempt %d: %s",
            message.job_key,
            message.attempts + 1,
            error,
            extra={"action": "webhook_failed"},
        )

    def _delay(self, message: OutboxMessage, error: DeliveryError) -> float:
        """Seconds until the next attempt; a receiver's wish counts, but not past the end."""
        if error.retry_after is not None:
            delay = max(error.retry_after, _BACKOFF.first) * (1 + _JITTER * self._rng.random())
            return min(delay, max(self._seconds_left(message), _BACKOFF.first))
        return self._backoff(message.attempts + 1)

    def _backoff(self, num_failures: int) -> float:
        return spread(_BACKOFF.after(num_failures), _JITTER, self._rng)

    def _seconds_left(self, message: OutboxMessage) -> float:
        return self._settings.give_up_after - message.waited_s

    def _is_too_old(self, message: OutboxMessage) -> bool:
        return self._seconds_left(message) <= 0

    async def _give_up_old(self, receiver: str) -> None:
        """Give up what has waited too long for a receiver that fails, whichever URLs it is for.

        While its circuit is open they have a turn now and then only.
        """
        while True:
            oldest = await self._outbox.oldest(Channel.WEBHOOK, receiver, _MOST_GIVEN_UP)
            messages = await self._outbox.get([message_id for message_id, _ in oldest])
            late = [message for message in messages if self._is_too_old(message)]
            if late:
                await self._give_up(_TOO_OLD, *late)
            if len(late) < _MOST_GIVEN_UP:
                return

    async def _give_up(
        self, error: ServiceError, *messages: OutboxMessage, attempts: int = 0
    ) -> None:
        """Write dead letters; the rows go last, so that a crash only writes them twice.

        Args:
            error: Why.
            messages: Which.
            attempts: Those that are not counted in the rows yet.
        """
        detail = ErrorDetail(code=error.code, message=str(error))
        now = self._clock.now()
        for message in messages:
            logger.error(
                "%s given up after %d attempts: %s",
                message.job_key,
                message.attempts + attempts,
                error,
                extra={"action": "webhook_given_up"},
            )
        await self._letters.write(
            *(of_webhook(each, detail, each.attempts + attempts, now) for each in messages)
        )
        await self._outbox.sent([message.row_id for message in messages])


def _is_stubborn(message: OutboxMessage, error: DeliveryError) -> bool:
    return (
        not isinstance(error, ReceiverSilentError)
        and error.retry_after is None
        and message.attempts + 1 >= _STUBBORN
    )
