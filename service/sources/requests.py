"""Requests over MQTT: read, call, answer once.

They share the connection with frames, so they are only put down when they are read, and done by a
task of their own. Work for them is bounded: a few at once, a fifth of the time; what comes beyond
that is answered with `busy`, and beyond `_MOST_REFUSALS_A_SECOND` not at all. Who waits for a
caption takes none of the few places: how many may wait is bounded in `service.delivery.ends`.
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
from broker.requests import (
    Asked,
    ReplyAddress,
    operation_of,
    publish_reply,
    read_request,
    reply_address,
)
from broker.topics import Topics
from schemas.job import ErrorDetail
from schemas.requests.envelope import Answer, Reply, Transaction
from schemas.requests.operation import MAX_REQUEST_BYTES, Operation
from service.boundary import INTERNAL, contained
from service.clock import Clock
from service.operations.operations import OperationError, Operations

logger = logging.getLogger(__name__)

_MOST_WAITING = 200
_MOST_WAITING_BYTES = 128 << 20  # two of the largest batches
_MOST_AT_ONCE = 16
# Requests get a fifth of the time: after each comes a pause of four times what they take of late,
# within these bounds. So 100 a second of the quick ones, 20 of those that take or wait for long.
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.01, 0.05

_PAUSES_PER_WORK = 4.0
_WEIGHT = 0.2  # of the newest in what they take of late
_MOST_REFUSALS_A_SECOND = 20  # each is a message with its PUBACK

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
        self._pause_s = _SHORTEST_PAUSE_S
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
                is_patient = self._operations.is_patient(asked.operation)
                if not is_patient:
                    await self._slots.acquire()
                name = f"request {asked.operation[:64]}"
                tasks.create_task(self._answer(asked, has_slot=not is_patient), name=name)
                del asked  # its payload may be a picture
                await asyncio.sleep(self._pause_s)

    async def _answer(self, asked: _Asked, *, has_slot: bool) -> None:
        began = self._clock.monotonic()
        address, call = asked.address, self._call(asked)
        del asked
        try:
            with contained("a request cannot be answered"):
                transaction, outcome = await call
                self._send(_reply(outcome, transaction), address)
        finally:
            if has_slot:
                self._slots.release()
                self._learn(self._clock.monotonic() - began)

    def _learn(self, took_s: float) -> None:
        """Set the pause after requests that take so long."""
        wanted = min(max(_PAUSES_PER_WORK * took_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        self._pause_s += _WEIGHT * (wanted - self._pause_s)

    async def _call(self, asked: _Asked) -> tuple[Transaction, Answer | ErrorDetail]:
        transaction: Transaction = None
        name = asked.operation
        try:
            request = await _read(asked.payload, self._operations.find(name))
            transaction = request.transaction
            if asked.address.is_refused:
                below = self._topics.reply("")
                raise OperationError("bad_response_topic", f"answers go below {below} only")
            del asked
            return transaction, await self._operations.call(name, request.content)
        except OperationError as error:
            return transaction, error.detail
        except PayloadError as error:
            code = _CODES.get(error.code, error.code)
            return transaction, ErrorDetail(code=code, message=str(error))
        except Exception:
            logger.exception("a request for %.64r broke its reader", name)
            return transaction, INTERNAL

    def _refuse_busy(self, address: ReplyAddress) -> None:
        now = self._clock.monotonic()
        if now - self._refused_since >= 1.0:
            self._refused_since, self._num_refused = now, 0
        self._num_refused += 1
        if self._num_refused <= _MOST_REFUSALS_A_SECOND:
            error = OperationError("busy", "too many requests wait; ask again later")
            self._send(_reply(error.detail, None), address)

    def _send(self, reply: Reply, address: ReplyAddress) -> None:
        """Answer; without a connection nobody waits for it any more."""
        with suppress(BrokerError):
            sent = self._sender.send(publish_reply(reply, address))
            sent.add_done_callback(_forget)


async def _read(payload: bytes, operation: Operation[Any, Any]) -> Asked:
    """Read a request; a large one elsewhere, so that frames go on meanwhile."""
    if len(payload) <= MAX_REQUEST_BYTES:
        return read_request(payload, operation)
    return await asyncio.to_thread(read_request, payload, operation)


def _reply(outcome: Answer | ErrorDetail, transaction: Transaction) -> Reply:
    if isinstance(outcome, ErrorDetail):
        return Reply(status="error", error=outcome, transaction=transaction)
    data: dict[str, Any] = outcome.model_dump(mode="json")
    return Reply(status="ok", data=data, transaction=transaction)


def _forget(sent: "asyncio.Future[None]") -> None:
    """An answer that is lost is lost: who asked asks again."""
    if not sent.cancelled() and (error := sent.exception()) is not None:
        logger.warning("an answer was not sent: %s", error, extra={"action": "answer_lost"})
