"""Drains the webhook rows of the outbox: a row is done when its receiver answers 2xx.

The rows are the truth, this process only remembers who must wait. A receiver may be down, slow or
hostile, so each attempt has a limit in time and bytes, each host a limit of requests at once and a
circuit (`service.delivery.receivers`), and every address is checked (`service.http`).

Messages for one URL arrive in the order of time. One exception: a message that its receiver has
refused `_STUBBORN` times steps aside when the next one gets through, or it would hold up a day.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import logging
import random
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

import httpx

from schemas.job import ErrorDetail
from schemas.outbox import Channel, OutboxMessage
from schemas.status import DeadLetter, HealthCheck
from service.clock import Clock
from service.delivery.dead_letters import dead_letter
from service.delivery.receivers import Receivers
from service.errors import (
    UNEXPECTED,
    ConfigurationError,
    DeliveryError,
    ReceiverGoneError,
    ServiceError,
    StoreError,
    UrlRefusedError,
)
from service.http.exchange import http_errors, moment_of, seconds_until
from service.http.urls import (
    AddressRule,
    AllowedHosts,
    GuardedHttp,
    is_public_or_private,
    origin,
    parse_url,
)
from service.settings import WebhookSettings
from service.store.outbox import Batch, Outbox, Size

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
_DRAIN_S = 1.0  # for a body nobody needs; the status line has said it all
_MOST_AT_ONCE = 128  # requests to all receivers together
# One turn of a URL. More, and others of its receiver wait longer; fewer, and each message takes a
# query of its own. Times the requests at once it bounds what is in memory: some 8 MiB.
_TURN = Size(num_messages=8, num_bytes=64 * 1024)
_RECEIVERS_READ = 32  # names read at once
_MOST_GIVEN_UP = 50  # in one transaction
_STUBBORN = 5  # refusals of one message before the next may be tried past it
_FIRST_DELAY_S = 1.0
_LONGEST_DELAY_S = 600.0  # a receiver that returns after a day waits no longer than this
_JITTER = 0.2
_STORE_RETRY_S = 5.0
_LONGEST_SLEEP_S = 30.0  # then the store is asked: rows that stepped aside wake nobody
_CROWDED_S = 1.0  # between looks at receivers for whom there was no place
_MOST_OUTCOMES = 1000  # attempts the success rate looks back on
_RETRIED_4XX = frozenset({408, 425, 429})
# A receiver that verifies signatures refuses a timestamp that is off: while the clocks disagree by
# more than Standard Webhooks lets pass, the clock may be at fault and not the message.
_UNSIGNED = frozenset({400, 401, 403})
_CLOCK_TOLERANCE = timedelta(minutes=5)
# Ours, or none of a sender's business: who may publish a frame must not shape the exchange.
_RESERVED_HEADERS = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
        "webhook-id",
        "webhook-signature",
        "webhook-timestamp",
    }
)


class Bury(Protocol):
    """Publishes what has been given up, durably; see `service.delivery.deliver`."""

    async def __call__(self, *letters: DeadLetter) -> None:
        """Raises StoreError when they could not be kept: the rows stay then."""


class ReceiverSilentError(DeliveryError):
    """No answer: no connection, or not in time. Speaks against the host, not the message."""


_TOO_OLD = DeliveryError("too old, and its receiver still fails")


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str | None
    date: str | None


class Signer:
    """Signs bodies as Standard Webhooks asks for.

    Args:
        secrets: `whsec_` and base64; several, separated by blanks, while receivers change over.

    Raises:
        ConfigurationError: A secret is not base64.
    """

    def __init__(self, secrets: str) -> None:
        self._keys = [self._read(secret) for secret in secrets.split()]
        if not self._keys:
            raise ConfigurationError("webhooks.secret: must not be empty")

    @staticmethod
    def _read(secret: str) -> bytes:
        try:
            key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except (binascii.Error, ValueError) as error:
            raise ConfigurationError(
                "webhooks.secret: must be whsec_ followed by base64 of 24 to 64 random bytes"
            ) from error
        if len(key) < 24:
            logger.warning("webhooks.secret has only %d bytes, 24 are the least to use", len(key))
        return key

    def sign(self, message_id: str, timestamp: int, body: bytes) -> str:
        """Return the value of `webhook-signature`: one signature per key."""
        content = f"{message_id}.{timestamp}.".encode() + body
        digests = (hmac.digest(key, content, hashlib.sha256) for key in self._keys)
        return " ".join(f"v1,{base64.b64encode(digest).decode()}" for digest in digests)


class WebhookSender:
    """Posts committed results to their receivers until they have them, or it is too late.

    Args:
        outbox: The rows.
        settings: Secret, hosts, limits.
        http: Makes the guarded clients.
        bury: Takes the dead letters.
        clock: For pauses and timestamps.
        rng: Spreads retries, so that receivers are not hit by all at once.
        version: Of the package, for `User-Agent`.

    Raises:
        ConfigurationError: The secret or a host in the settings is malformed.
    """

    def __init__(
        self,
        outbox: Outbox,
        settings: WebhookSettings,
        *,
        http: GuardedHttp,
        bury: Bury,
        clock: Clock,
        rng: random.Random,
        version: str,
    ) -> None:
        self._outbox = outbox
        self._settings = settings
        self._http = http
        self._bury = bury
        self._clock = clock
        self._rng = rng
        self._user_agent = f"moondream2mqtt/{version}"
        secret = settings.secret.get_secret_value() if settings.secret else None
        self._signer = Signer(secret) if secret is not None else None
        self._allowed = AllowedHosts(settings.allow_hosts, "webhooks.allow_hosts")
        self._receivers = Receivers(settings.concurrency, _MOST_AT_ONCE)
        self._read_up_to: str | None = None  # a receiver: in this round all up to it are known
        self._read_at = 0.0  # when to look for receivers nobody has told of
        self._outcomes: deque[bool] = deque(maxlen=_MOST_OUTCOMES)
        self._arrived: set[int] = set()  # but their rows could not be deleted yet
        self._wake = asyncio.Event()

    @property
    def success_rate(self) -> float | None:
        """Share of recent attempts that got a 2xx answer, 0..1; None before the first."""
        if not self._outcomes:
            return None
        return round(sum(self._outcomes) / len(self._outcomes), 4)

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
            self._postpone(receiver, batch.key, _LONGEST_DELAY_S)
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
            await self._attempt(message)
        except (UrlRefusedError, ReceiverGoneError) as error:
            self._outcomes.append(False)
            if isinstance(error, ReceiverGoneError):
                self._receivers.answered(receiver)
            await self._give_up(error, message, attempts=1)
            return
        except DeliveryError as error:
            self._outcomes.append(False)
            self._note_failure(receiver, message, error)
            raise
        self._outcomes.append(True)
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

    async def _attempt(self, message: OutboxMessage) -> None:
        """POST a message once.

        Raises:
            UrlRefusedError: Its URL or address is not allowed; nothing was sent.
            ReceiverGoneError: The receiver will never take it.
            DeliveryError: It may take it later.
        """
        try:
            answer = await self._exchange(message)
        except ServiceError:
            raise
        except Exception as error:  # this message is at fault: it is tried as often as others
            logger.exception("%s: an attempt to send it failed", message.job_key)
            raise DeliveryError(UNEXPECTED) from error
        if 200 <= answer.status < 300:
            return
        where = f"{origin(message.destination)} answered {answer.status}"
        ours = self._clock.now()
        theirs = moment_of(answer.date) or ours
        if answer.status in _UNSIGNED and abs(theirs - ours) > _CLOCK_TOLERANCE:
            raise DeliveryError(f"{where}; it says that it is {theirs.isoformat()}")
        if 400 <= answer.status < 500 and answer.status not in _RETRIED_4XX:
            raise ReceiverGoneError(where)
        raise DeliveryError(where, seconds_until(answer.retry_after, theirs))

    async def _exchange(self, message: OutboxMessage) -> _Answer:
        """Send the request and read the answer's head; its body only matters to the receiver.

        Raises:
            UrlRefusedError: The URL or its address is not allowed; nothing was sent.
            ReceiverSilentError: There was no answer in time.
        """
        url = parse_url(message.destination)
        where = origin(message.destination)
        client = self._http.client(self._address_rule(url, message), self._settings.timeout)
        headers = [
            (name.encode(), value.encode()) for name, value in self._headers(message).items()
        ]
        request = client.build_request("POST", url, content=message.payload, headers=headers)
        response: httpx.Response | None = None
        try:
            with http_errors():
                async with asyncio.timeout(self._settings.timeout), client:
                    response = await client.send(request, stream=True)
                    await _drain(response)
        except TimeoutError as error:
            if response is None:
                raise ReceiverSilentError(
                    f"{where} did not answer within {self._settings.timeout:g} s"
                ) from error
        except httpx.HTTPError as error:
            if response is None:  # otherwise it has answered, whatever became of the connection
                reason = f"{type(error).__name__} {error}".strip()
                raise ReceiverSilentError(f"{where}: {reason}") from error
        answer = response.headers
        return _Answer(response.status_code, answer.get("retry-after"), answer.get("date"))

    def _address_rule(self, url: httpx.URL, message: OutboxMessage) -> AddressRule:
        if message.options.get("trusted") is True:
            return is_public_or_private
        return self._allowed.rule(url)

    def _headers(self, message: OutboxMessage) -> dict[str, str]:
        given = message.options.get("headers") or {}
        headers = {
            name.lower(): value
            for name, value in given.items()
            if name.lower() not in _RESERVED_HEADERS
        }
        message_id: str = (
            message.options.get("webhook_id") or message.job_id or f"message-{message.message_id}"
        )
        timestamp = int(self._clock.now().timestamp())
        headers |= {
            "accept-encoding": "identity",
            "connection": "close",
            "content-type": "application/json",
            "user-agent": self._user_agent,
            "webhook-id": message_id,
            "webhook-timestamp": str(timestamp),
        }
        if self._signer is not None:
            signature = self._signer.sign(message_id, timestamp, message.payload)
            headers["webhook-signature"] = signature
        return headers

    def _delay(self, message: OutboxMessage, error: DeliveryError) -> float:
        """Seconds until the next attempt; a receiver's wish counts, but not past the end."""
        if error.retry_after is not None:
            delay = max(error.retry_after, _FIRST_DELAY_S) * (1 + _JITTER * self._rng.random())
            return min(delay, max(self._seconds_left(message), _FIRST_DELAY_S))
        return self._backoff(message.attempts + 1)

    def _backoff(self, num_failures: int) -> float:
        delay = min(_FIRST_DELAY_S * 2.0 ** min(num_failures - 1, 16), _LONGEST_DELAY_S)
        return delay * self._rng.uniform(1 - _JITTER, 1 + _JITTER)

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
        await self._bury(
            *(dead_letter(each, detail, each.attempts + attempts, now) for each in messages)
        )
        await self._outbox.sent([message.row_id for message in messages])


async def _drain(response: httpx.Response) -> None:
    """Take a body off the wire as far as manners ask for: some receivers log a reset as an error.

    It is neither kept nor decompressed, and nothing that happens to it changes the answer.
    """
    num_bytes = 0
    try:
        with http_errors():
            async with asyncio.timeout(_DRAIN_S):
                async for chunk in response.aiter_raw(4096):
                    num_bytes += len(chunk)
                    if num_bytes >= MAX_BODY_BYTES:
                        break
    except (TimeoutError, httpx.HTTPError):
        return


def _is_stubborn(message: OutboxMessage, error: DeliveryError) -> bool:
    return (
        not isinstance(error, ReceiverSilentError)
        and error.retry_after is None
        and message.attempts + 1 >= _STUBBORN
    )
