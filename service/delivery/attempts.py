"""One attempt to deliver a webhook: the request, its limits, and what the answer means.

A receiver may be down, slow or hostile: each attempt is bounded in time and bytes, and every
address is checked where the connection is made (`service.http`).
"""

import asyncio
import logging
from dataclasses import dataclass
from datetime import timedelta

import httpx

from schemas.outbox import OutboxMessage
from service.clock import Clock
from service.delivery.signatures import Signer
from service.errors import UNEXPECTED, DeliveryError, ReceiverGoneError, ServiceError
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

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 64 * 1024
_DRAIN_S = 1.0  # for a body nobody needs; the status line has said it all
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


class ReceiverSilentError(DeliveryError):
    """No answer: no connection, or not in time. Speaks against the host, not the message."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    retry_after: str | None
    date: str | None


class Attempts:
    """Posts messages, each once.

    Args:
        settings: Secret, hosts, limit of time.
        http: Makes the guarded clients.
        clock: For timestamps.
        version: Of the package, for `User-Agent`.

    Raises:
        ConfigurationError: The secret or a host in the settings is malformed.
    """

    def __init__(
        self, settings: WebhookSettings, http: GuardedHttp, clock: Clock, version: str
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._user_agent = f"moondream2mqtt/{version}"
        secret = settings.secret.get_secret_value() if settings.secret else None
        self._signer = Signer(secret) if secret is not None else None
        self._allowed = AllowedHosts(settings.allow_hosts, "webhooks.allow_hosts")

    async def post(self, message: OutboxMessage) -> None:
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
