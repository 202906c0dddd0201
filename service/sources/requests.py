"""Requests over MQTT: read, call, answer once.

They share the connection with frames, so they are only put down when they are read, and done by a
task of their own. Work for them is bounded: a few at once, so many a second; what comes beyond that
is answered with `busy`, and beyond `_MOST_REFUSALS_A_SECOND` not at all.
"""

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from broker.codec import PayloadError
from broker.errors import BrokerError
from broker.handover import Publish
from broker.message import Message
from broker.options import Subscription
from broker.requests import ReplyAddress, operation_of, publish_reply, read_request, reply_address
from broker.topics import Topics
from schemas.job import ErrorDetail
from schemas.requests.envelope import Answer, Reply, Transaction
from service.boundary import INTERNAL, contained
from service.clock import Clock
from service.operations.operations import OperationError, Operations

logger = logging.getLogger(__name__)

_MOST_WAITING = 200
_MOST_WAITING_BYTES = 128 << 20  # two of the largest batches
_MOST_AT_ONCE = 16
_MOST_A_SECOND = 100.0  # at some 2 ms each, a fifth of one core
_MOST_REFUSALS_A_SECOND = 50

_CODES = {"payload_too_large": "too_large", "bad_field": "bad_request"}


class Sender(Protocol):
    """The publishing connection; see `broker.connection`."""

    def send(self, message: Publish) -> "asyncio.Future[None]":
        """Raises BrokerError."""


@dataclass(frozen=True, slots=True)
class _Asked:
    operation: str
    payload: bytes
    address: ReplyAddress


class RequestTopics:
    """The source of requests, as far as the receiving connection is concerned.

    Args:
        topics: Ours.
        operations: Does what is asked for.
        sender: Takes the answers.
        clock: For the pace.
    """

    def __init__(
        self, topics: Topics, operations: Operations, sender: Sender, clock: Clock
    ) -> None:
        self._topics = topics
        self._operations = operations
        self._sender = sender
        self._clock = clock
        self._waiting: asyncio.Queue[_Asked] = asyncio.Queue()
        self._num_bytes = 0
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._refused_since, self._num_refused = clock.monotonic(), 0

    @property
    def subscriptions(self) -> Sequence[Subscription]:
        """All requests."""
        return (Subscription(f"{self._topics.base}/bridge/request/#"),)

    def claims(self, topic: str) -> bool:
        """Whether it is a request."""
        return operation_of(topic, self._topics) is not None

    def read(self, message: Message) -> None:
        """Put a request down; it is no frame, whatever it says.

        One that was retained was asked for long ago, by nobody who still waits.
        """
        name = operation_of(message.topic, self._topics)
        if message.retain or name is None:
            return
        address = reply_address(message, name, self._topics)
        num_bytes = self._num_bytes + len(message.payload)
        if self._waiting.qsize() >= _MOST_WAITING or num_bytes > _MOST_WAITING_BYTES:
            self._refuse_busy(address)
            return
        self._num_bytes = num_bytes
        self._waiting.put_nowait(_Asked(name, message.payload, address))

    async def run(self) -> None:
        """Answer for ever."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                asked = await self._waiting.get()
                self._num_bytes -= len(asked.payload)
                await self._slots.acquire()
                tasks.create_task(self._answer(asked), name=f"request {asked.operation[:64]}")
                await asyncio.sleep(1.0 / _MOST_A_SECOND)

    async def _answer(self, asked: _Asked) -> None:
        try:
            with contained("a request cannot be answered"):
                transaction, outcome = await self._call(asked)
                self._send(_reply(outcome, transaction), asked.address)
        finally:
            self._slots.release()

    async def _call(self, asked: _Asked) -> tuple[Transaction, Answer | ErrorDetail]:
        transaction: Transaction = None
        try:
            operation = self._operations.find(asked.operation)
            request = read_request(asked.payload, operation)
            transaction = request.transaction
            if asked.address.is_refused:
                below = f"{self._topics.base}/response/requests/"
                raise OperationError("bad_response_topic", f"answers go below {below} only")
            return transaction, await self._operations.call(asked.operation, request.content)
        except OperationError as error:
            return transaction, error.detail
        except PayloadError as error:
            code = _CODES.get(error.code, error.code)
            return transaction, ErrorDetail(code=code, message=str(error))
        except Exception:
            logger.exception("a request for %.64r broke its reader", asked.operation)
            return transaction, INTERNAL

    def _refuse_busy(self, address: ReplyAddress) -> None:
        now = self._clock.monotonic()
        if now - self._refused_since >= 1.0:
            self._refused_since, self._num_refused = now, 0
        self._num_refused += 1
        if self._num_refused <= _MOST_REFUSALS_A_SECOND:
            error = ErrorDetail(code="busy", message="too many requests wait; ask again later")
            self._send(_reply(error, None), address)

    def _send(self, reply: Reply, address: ReplyAddress) -> None:
        """Answer; without a connection nobody waits for it any more."""
        with suppress(BrokerError):
            sent = self._sender.send(publish_reply(reply, address))
            sent.add_done_callback(_forget)


def _reply(outcome: Answer | ErrorDetail, transaction: Transaction) -> Reply:
    if isinstance(outcome, ErrorDetail):
        return Reply(status="error", error=outcome, transaction=transaction)
    data: dict[str, Any] = outcome.model_dump(mode="json")
    return Reply(status="ok", data=data, transaction=transaction)


def _forget(sent: "asyncio.Future[None]") -> None:
    """An answer that is lost is lost: who asked asks again."""
    if not sent.cancelled() and (error := sent.exception()) is not None:
        logger.warning("an answer was not sent: %s", error, extra={"action": "answer_lost"})
