"""Drains the MQTT rows of the outbox: a row is done at PUBACK.

Rows come two ways: handed over right after their commit, which is fast, or read from the store
after a start, a reconnect or an overflow, which forgets nothing. A row is in flight once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from functools import partial

from broker.connection import Connection
from broker.errors import NotConnectedError, PublishError
from broker.publisher import from_outbox
from schemas.outbox import OutboxMessage
from service.errors import StoreError
from service.store.outbox import Outbox

logger = logging.getLogger(__name__)

_MOST_WAITING = 1000  # handed over and not yet sent; beyond it the store is read instead
_MOST_IN_FLIGHT = 50  # unacknowledged; more does not make a broker faster
_PAGE = 200
_SENT_DELAY_S = 0.02  # gathers PUBACKs into one transaction; a crash in it only sends twice
_RETRY_DELAY_S = 1.0


class MqttSender:
    """Publishes committed messages until the broker has them.

    Args:
        outbox: The rows.
        connection: Sends.
        is_connected: Set while the broker is there.
    """

    def __init__(self, outbox: Outbox, connection: Connection, is_connected: asyncio.Event) -> None:
        self._outbox = outbox
        self._connection = connection
        self._is_connected = is_connected
        self._waiting: deque[OutboxMessage] = deque()
        self._just_deleted: set[int] | None = None  # while the store is being read
        self._in_hand: set[int] = set()  # waiting, in flight, or sent and not yet deleted
        self._sent: list[int] = []
        self._is_behind = True  # rows of an earlier life may be in the store
        self._has_missed = False  # so may rows that came while it was read
        self._wake = asyncio.Event()
        self._some_sent = asyncio.Event()
        self._in_flight = 0

    def notify(self, messages: Sequence[OutboxMessage]) -> None:
        """Take rows that have just been committed; none: look for rows that nobody was told of."""
        if not messages or self._is_behind or len(self._waiting) + len(messages) > _MOST_WAITING:
            self._fall_behind()  # order: what is in the store goes first
        else:
            self._take(messages)
        self._wake.set()

    async def run(self) -> None:
        """Send for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._delete_sent(), name="outbox-sent")
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
            sent = self._connection.send(from_outbox(message))
        except NotConnectedError:
            self._return(message)
        except PublishError as error:
            self._refuse(message, error)
        else:
            self._in_flight += 1
            sent.add_done_callback(partial(self._settle, message))

    def _settle(self, message: OutboxMessage, sent: asyncio.Future[None]) -> None:
        self._in_flight -= 1
        error = None if sent.cancelled() else sent.exception()
        if sent.cancelled() or isinstance(error, NotConnectedError):
            self._return(message)
        elif isinstance(error, PublishError):
            self._refuse(message, error)
        else:
            self._mark_sent(message)
        self._wake.set()

    def _refuse(self, message: OutboxMessage, error: PublishError) -> None:
        """Give up what the broker would refuse for ever."""
        logger.error(
            "%s: the broker refuses %d bytes on %s: %s",
            message.job_id or "-",
            len(message.payload),
            message.destination,
            error,
            extra={"action": "publish_refused"},
        )
        self._mark_sent(message)

    def _return(self, message: OutboxMessage) -> None:
        """Read it from the store again, and those behind it too, so that their order stays."""
        self._in_hand.discard(message.row_id)
        self._in_hand.difference_update(message.row_id for message in self._waiting)
        self._waiting.clear()
        self._fall_behind()
        self._wake.set()

    def _mark_sent(self, message: OutboxMessage) -> None:
        self._sent.append(message.row_id)
        self._some_sent.set()

    async def _delete_sent(self) -> None:
        while True:
            await self._some_sent.wait()
            await asyncio.sleep(_SENT_DELAY_S)
            self._some_sent.clear()
            done, self._sent = self._sent, []
            try:
                await self._outbox.sent(done)
            except StoreError as error:
                logger.warning(
                    "outbox cannot be cleared: %s", error, extra={"action": "outbox_uncleared"}
                )
                self._sent += done
                await asyncio.sleep(_RETRY_DELAY_S)
                self._some_sent.set()
            else:
                if self._just_deleted is not None:
                    self._just_deleted.update(done)
                self._in_hand.difference_update(done)
