"""Drains the MQTT rows of the outbox: a row is done at PUBACK.

Rows come two ways: handed over right after their commit, which is fast, or read from the store
after a start, a reconnect or an overflow, which forgets nothing. A row is in flight once. One that
the broker will never take is given up with a dead letter, so that it holds up nobody.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial

from broker.connection import Connection
from broker.errors import BrokerError, ConnectionLostError, NotConnectedError
from broker.publisher import from_outbox
from schemas.job import ErrorDetail
from schemas.outbox import Channel, OutboxMessage
from service.clock import Clock
from service.delivery.dead_letters import DeadLetters, of_publication
from service.delivery.documents import LONGEST_TOPIC
from service.errors import UNEXPECTED, StoreError
from service.store.outbox import Outbox
from service.store.retry import until_stored

logger = logging.getLogger(__name__)

_MOST_WAITING = 1000  # handed over and not yet sent; beyond it the store is read instead
_MOST_IN_FLIGHT = 50  # unacknowledged; more does not make a broker faster
_PAGE = 200
_MOST_ANSWERED = 1024  # a second of what a broker takes
# Gathers PUBACKs into one transaction: at 40 jobs a second 8 a second, with 0.02 s they were 28, of
# 145 in all. Longer, and a crash sends more of it twice.
_SENT_DELAY_S = 0.1
_RETRY_DELAY_S = 1.0


class MqttSender:
    """Publishes committed messages until the broker has them.

    Args:
        outbox: The rows.
        connection: Sends.
        is_connected: Set while the broker is there.
        letters: Take what is given up.
        clock: For due times and timestamps.
    """

    def __init__(
        self,
        outbox: Outbox,
        connection: Connection,
        is_connected: asyncio.Event,
        *,
        letters: DeadLetters,
        clock: Clock,
    ) -> None:
        self._outbox = outbox
        self._connection = connection
        self._is_connected = is_connected
        self._letters = letters
        self._clock = clock
        self._waiting: deque[OutboxMessage] = deque()
        self._just_deleted: set[int] | None = None  # while the store is being read
        self._in_hand: set[int] = set()  # waiting, in flight, or sent and not yet deleted
        self._sent: list[int] = []
        self._num_lost: dict[int, int] = {}  # connections that ended with it, while not sent
        self._just_lost: set[int] = set()  # the store has not been told
        self._watched: dict[int, asyncio.Future[bool]] = {}
        self._answered: dict[int, bool] = {}  # the last ones, for who watches a moment too late
        self._given_up: asyncio.Queue[tuple[OutboxMessage, str]] = asyncio.Queue()  # and why
        self._is_behind = True  # rows of an earlier life may be in the store
        self._has_missed = False  # so may rows that came while it was read
        self._wake = asyncio.Event()
        self._some_ended = asyncio.Event()
        self._in_flight = 0

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        """Take rows that have just been committed; none: look for rows that nobody was told of."""
        if not messages or self._is_behind or len(self._waiting) + len(messages) > _MOST_WAITING:
            self._fall_behind()  # order: what is in the store goes first
        else:
            self._take(messages)
        self._wake.set()

    def watch(self, message_id: int) -> asyncio.Future[bool]:
        """Whether the broker takes a row that has just been committed; False: it is given up.

        Not answered for one that is removed unsent, as when the outbox is full.
        """
        answer = asyncio.get_running_loop().create_future()
        if message_id in self._answered:  # it was read before its writer heard of the commit
            answer.set_result(self._answered[message_id])
            return answer
        self._watched[message_id] = answer
        answer.add_done_callback(lambda _: self._watched.pop(message_id, None))
        return answer

    async def run(self) -> None:
        """Send for ever."""
        self._outbox.subscribe(Channel.MQTT, self.notify)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep_books(), name="outbox-sent")
            tasks.create_task(self._write_dead_letters(), name="outbox-dead-letters")
            while True:
                await self._is_connected.wait()
                self._wake.clear()
                if not self._waiting and self._is_behind:
                    await self._read_store()
                while self._waiting and self._in_flight < _MOST_IN_FLIGHT:
                    self._send(self._waiting.popleft())
                if self._waiting or not self._is_behind:
                    await self._wake.wait()

    async def flush(self) -> None:
        """Wait until everything committed so far has been sent."""
        while self._in_hand or self._is_behind:  # noqa: ASYNC110 - once, when the service stops
            await asyncio.sleep(0.01)

    def _take(self, messages: Sequence[OutboxMessage]) -> None:
        for message in messages:
            if message.row_id not in self._in_hand:
                self._in_hand.add(message.row_id)
                self._waiting.append(message)

    async def _read_store(self) -> None:
        deleted: set[int] = set()
        self._just_deleted = deleted
        try:
            limit = _PAGE + len(self._in_hand)
            self._has_missed = False
            rows = await self._outbox.for_broker(limit)
        except StoreError as error:
            logger.warning("outbox cannot be read: %s", error, extra={"action": "outbox_unread"})
            await asyncio.sleep(_RETRY_DELAY_S)
            return
        finally:
            self._just_deleted = None
        # What was read may be older than a deletion that ended meanwhile.
        self._take([row for row in rows if row.row_id not in deleted])
        self._is_behind = self._has_missed or len(rows) == limit

    def _fall_behind(self) -> None:
        """Read the store before anything else is sent, again if it is being read."""
        self._is_behind = self._has_missed = True

    def _send(self, message: OutboxMessage) -> None:
        """Hand a message to the connection; `_settle` hears how it went."""
        try:
            publish = from_outbox(message)
            publish.num_lost = self._num_lost.get(message.row_id, publish.num_lost)
            sent = self._connection.send(publish)
        except NotConnectedError:
            self._return(message)
        except Exception as error:  # noqa: BLE001 - whatever a row holds ends that row alone
            self._give_up(message, error)
        else:
            self._in_flight += 1
            sent.add_done_callback(partial(self._settle, message, publish.num_lost))

    def _settle(self, message: OutboxMessage, num_lost: int, sent: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        error = None if sent.cancelled() else sent.exception()
        if isinstance(error, ConnectionLostError):
            self._num_lost[message.row_id] = num_lost + 1
            self._just_lost.add(message.row_id)
            self._some_ended.set()
        if sent.cancelled() or isinstance(error, NotConnectedError):
            self._return(message)
        elif isinstance(error, Exception):
            self._give_up(message, error)
        else:
            self._answer(message, is_taken=True)
            self._mark_sent(message)
        self._wake.set()

    def _give_up(self, message: OutboxMessage, error: Exception) -> None:
        """Set aside what the broker would not take at the next try either."""
        is_foreseen = isinstance(error, BrokerError)
        reason = str(error) if is_foreseen else UNEXPECTED
        logger.error(
            "%s: the broker does not take %d bytes on %s: %s",
            message.job_key or "-",
            len(message.payload),
            message.destination[:LONGEST_TOPIC],
            reason,
            exc_info=None if is_foreseen else error,
            extra={"action": "publish_given_up"},
        )
        self._answer(message, is_taken=False)
        self._given_up.put_nowait((message, reason))

    def _answer(self, message: OutboxMessage, *, is_taken: bool) -> None:
        self._answered[message.row_id] = is_taken
        if len(self._answered) > _MOST_ANSWERED:
            del self._answered[next(iter(self._answered))]
        answer = self._watched.get(message.row_id)
        if answer is not None and not answer.done():
            answer.set_result(is_taken)

    def _return(self, message: OutboxMessage) -> None:
        """Read it from the store again, and those behind it too, so that their order stays."""
        self._in_hand.discard(message.row_id)
        self._in_hand.difference_update(message.row_id for message in self._waiting)
        self._waiting.clear()
        self._fall_behind()
        self._wake.set()

    def _mark_sent(self, message: OutboxMessage) -> None:
        self._num_lost.pop(message.row_id, None)
        self._sent.append(message.row_id)
        self._some_ended.set()

    async def _write_dead_letters(self) -> None:
        """Write each letter, then let its row go: a crash between only writes it twice."""
        while True:
            message, reason = await self._given_up.get()
            error = ErrorDetail(code="unsendable", message=reason)
            attempts = self._num_lost.get(message.row_id, message.attempts) + 1
            try:
                letter = of_publication(message, error, attempts, self._clock.now())
                await until_stored(
                    partial(self._letters.write, letter), "a dead letter cannot be stored"
                )
            except Exception:  # the row goes all the same: it would come back for ever
                logger.exception("no dead letter for what was to go to %s", message.destination)
            self._mark_sent(message)

    async def _keep_books(self) -> None:
        """Tell the store what has been sent, and what was on its way when a connection ended."""
        while True:
            await self._some_ended.wait()
            await asyncio.sleep(_SENT_DELAY_S)
            self._some_ended.clear()
            done, self._sent = self._sent, []
            lost, self._just_lost = self._just_lost, set()
            try:
                await self._outbox.sent(done)
                await self._outbox.keep_attempts(
                    {row_id: self._num_lost[row_id] for row_id in lost & self._num_lost.keys()}
                )
            except StoreError as error:
                logger.warning(
                    "outbox cannot be cleared: %s", error, extra={"action": "outbox_uncleared"}
                )
                self._sent += done
                self._just_lost |= lost
                await asyncio.sleep(_RETRY_DELAY_S)
                self._some_ended.set()
            else:
                if self._just_deleted is not None:
                    self._just_deleted.update(done)
                self._in_hand.difference_update(done)
