"""Messages that must go out: written with the transition that causes them, gone once delivered.

Sent at least once: a crash between the delivery and `sent` sends the message again, under the same
job id. What cannot be read is left out and noted; see `unreadable`. Whoever sends subscribes to a
channel and is told of each commit from here; nobody else tells senders anything.

Every question is answered from one index by seeking, never by passing over what waits for somebody
else: a hundred thousand messages for a dead receiver cost the others nothing. Payloads are read
last, and only as many as the caller can hold.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, groupby, islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, delete, func, insert, or_, select, update

from schemas.outbox import Channel, OutboxMessage
from service.boundary import contained
from service.errors import StoreError
from service.store.database import Database, in_groups
from service.store.retained import note_messages
from service.store.rows import (
    LONGEST_DUE,
    MICROSECONDS,
    Stamp,
    destination_key,
    message_row,
    to_message,
)
from service.store.tables import outbox
from service.store.timekeeper import Timekeeper
from service.store.unreadable import UnreadableRow, UnreadableRows, readable

_BEFORE_ALL_KEYS, _LAST_KEY = -(2**63), 2**63 - 1
_WINDOW = 64  # entries of the index in one query: a statement costs more than reading them

#: Takes messages right after their commit, in their order. None at all: there may be some that
#: nobody was told of, look for yourself.
OnCommit = Callable[[Sequence[OutboxMessage]], None]

_ENTRY = (outbox.c.destination_key, outbox.c.due, outbox.c.message_id, outbox.c.num_bytes)
_Entry = Row[*tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Batch:
    """The next messages for one URL, in their order."""

    key: int  #: of the URL, see `rows.destination_key`
    messages: Sequence[OutboxMessage]


@dataclass(frozen=True, slots=True)
class Size:
    """Of messages that wait."""

    num_messages: int
    num_bytes: int


# Rows of one INSERT: each number of them is a statement of its own that connections keep prepared,
# 17 KB for 16 rows and 290 KB for 300. More at once is hardly faster.
_INSERT = {"insertmanyvalues_page_size": 16}


class Outbox:
    """What is still to be sent.

    Args:
        database: Open.
        instance: Whose messages; other instances on the same database send their own.
        timekeeper: Measures what a message waits.
        unreadable: Takes what cannot be read.

    Attributes:
        written: Messages and bytes since the store was opened.
    """

    def __init__(
        self,
        database: Database,
        instance: str,
        timekeeper: Timekeeper,
        unreadable: UnreadableRows,
    ) -> None:
        self._database = database
        self._instance = instance
        self._timekeeper = timekeeper
        self._unreadable = unreadable
        self.written = Size(0, 0)
        self._subscribers: dict[Channel, list[OnCommit]] = {}

    def subscribe(self, channel: Channel, on_commit: OnCommit) -> None:
        """Be told of what is committed for a channel from now on; said again, it changes nothing.

        What has been committed before is in the store.
        """
        subscribers = self._subscribers.setdefault(channel, [])
        if on_commit not in subscribers:
            subscribers.append(on_commit)

    def committed(self, messages: Sequence[OutboxMessage], *, is_all: bool = True) -> None:
        """Tell of messages that have just been committed.

        Args:
            messages: With their ids.
            is_all: False: there may be more than these.
        """
        self._count_written(messages)
        for channel, subscribers in self._subscribers.items():
            chosen = [message for message in messages if message.channel is channel]
            for on_commit in subscribers:
                with contained(f"the sender of {channel.value} cannot be told of messages"):
                    if chosen:
                        on_commit(chosen)
                    if not is_all:
                        on_commit(())

    @contextmanager
    def uncertain(self) -> Iterator[None]:
        """Commit something; where the answer may have been lost the senders look for it."""
        try:
            yield
        except StoreError:
            self.committed((), is_all=False)
            raise

    async def for_broker(self, limit: int) -> list[OutboxMessage]:
        """The oldest messages for the broker, in the order they were written."""
        met: list[UnreadableRow] = []
        found = await self._database.read(_for_broker, met, self._of(Channel.MQTT), limit)
        self._unreadable.note(met)
        return found

    async def receivers(self, after: str | None, limit: int) -> list[str]:
        """Receivers of webhooks with messages, by name: the first, or those behind `after`."""
        return await self._database.read(_receivers, self._of(Channel.WEBHOOK), after, limit)

    async def batches(
        self,
        receiver: str,
        after: int | None,
        skip: Collection[int],
        num_urls: int,
        limit: Size,
        channel: Channel = Channel.WEBHOOK,
    ) -> list[Batch]:
        """The next messages for some URLs of a receiver, the URLs in turn.

        Args:
            receiver: Scheme, host and port.
            after: Destination key of the URL that had its turn last.
            skip: Destination keys of the URLs that have no turn, a few.
            num_urls: Most batches; fewer come only when no others have messages that are due.
            limit: Most for one URL; one message comes in any case.
            channel: The receiver's; for Frigate, an object is what a URL is for a webhook.
        """
        now = self._timekeeper.running()
        chosen = self._of(channel) & (outbox.c.receiver == receiver)
        last = _BEFORE_ALL_KEYS if after is None else after
        met: list[UnreadableRow] = []

        def read(connection: Connection) -> list[Batch]:
            lines = _around(connection, chosen, last, now)
            in_turn = islice(
                (line for line in lines if line[0].destination_key not in skip), num_urls
            )
            heads = [_head(connection, chosen, line, limit, now) for line in in_turn]
            return _load(connection, met, heads, now)

        found = await self._database.read(read)
        self._unreadable.note(met)
        return found

    async def oldest(
        self, channel: Channel, receiver: str | None, limit: int
    ) -> list[tuple[int, int]]:
        """The longest waiting messages, of all receivers if none is named: ids and bytes."""
        chosen = self._of(channel)
        if receiver is not None:
            chosen &= outbox.c.receiver == receiver
        return await self._database.read(_oldest, chosen, limit)

    async def get(self, message_ids: Sequence[int]) -> list[OutboxMessage]:
        """Those of them that still wait, in the order they were written."""
        now = self._timekeeper.running()
        met: list[UnreadableRow] = []
        found = await self._database.read(_messages, met, message_ids, now)
        self._unreadable.note(met)
        return found

    async def sent(self, message_ids: Collection[int]) -> None:
        """Forget messages that have arrived, or are given up."""
        if message_ids:
            await self._database.write(_delete, list(message_ids))

    async def settled(self, message: OutboxMessage) -> None:
        """Forget a message and those before it for the same destination: it says more than they."""
        chosen = self._of(message.channel) & (outbox.c.receiver == message.receiver)
        chosen &= outbox.c.destination_key == destination_key(message)
        await self._database.write(_delete_up_to, chosen, message.row_id)

    async def keep_attempts(self, attempts: Mapping[int, int]) -> None:
        """Keep how often messages, by id, were tried in vain; they stay due."""
        if attempts:
            await self._database.write(_keep_attempts, attempts)

    async def failed(self, message_id: int, aside_s: float = 0.0) -> None:
        """Count a failed attempt.

        Args:
            message_id: Which.
            aside_s: Let others for the same URL pass for so long; 0: it stays first.
        """
        due = self._timekeeper.running() + round(aside_s * MICROSECONDS) if aside_s else 0
        await self._database.write(_count_failure, message_id, due)

    async def size(self, channel: Channel) -> Size:
        """What waits for a channel in all."""
        return await self._database.read(_size, self._of(channel))

    async def pending_count(self, channel: Channel) -> int:
        """How many messages are still to be sent."""
        return (await self.size(channel)).num_messages

    async def larger_than(self, limit: Size) -> dict[str, Size]:
        """The receivers of webhooks for which more waits than a limit, in messages or in bytes."""
        return await self._database.read(_larger_than, self._of(Channel.WEBHOOK), limit)

    def _count_written(self, messages: Sequence[OutboxMessage]) -> None:
        num_bytes = sum(len(message.payload) for message in messages)
        self.written = Size(
            self.written.num_messages + len(messages), self.written.num_bytes + num_bytes
        )

    def _of(self, channel: Channel) -> ColumnElement[bool]:
        return (outbox.c.channel == channel.value) & (outbox.c.instance == self._instance)


def meet_unsendable(connection: Connection, met: list[UnreadableRow], instance: str) -> None:
    """Note the messages that nobody asks for: no channel, or no time, is theirs."""
    suspects = or_(
        outbox.c.channel.not_in([channel.value for channel in Channel]),
        ~outbox.c.due.between(0, LONGEST_DUE),
    )
    rows = connection.execute(select(outbox).where(suspects, outbox.c.instance == instance))
    list(readable(outbox, rows, to_message, met))


def insert_messages(
    connection: Connection, messages: Sequence[OutboxMessage], stamp: Stamp
) -> list[OutboxMessage]:
    """Write messages in the caller's transaction and return them with their ids.

    What of them the broker will retain is noted, so that it can be taken back.
    """
    note_messages(connection, stamp.instance, messages)
    return insert_unnoted(connection, messages, stamp)


def insert_unnoted(
    connection: Connection, messages: Sequence[OutboxMessage], stamp: Stamp
) -> list[OutboxMessage]:
    """The same for a caller that keeps what is retained itself."""
    if not messages:
        return []
    ids = connection.scalars(
        insert(outbox).returning(outbox.c.message_id, sort_by_parameter_order=True),
        [message_row(message, stamp) for message in messages],
        execution_options=_INSERT,
    )
    return [
        message.model_copy(update={"message_id": message_id})
        for message, message_id in zip(messages, ids, strict=True)
    ]


def _for_broker(
    connection: Connection, met: list[UnreadableRow], chosen: ColumnElement[bool], limit: int
) -> list[OutboxMessage]:
    # Receiver and key are the same in all of them; named, they let the index give the order.
    query = (
        select(outbox)
        .where(chosen, outbox.c.receiver == "", outbox.c.destination_key == 0)
        .order_by(outbox.c.due, outbox.c.message_id)
        .limit(limit)
    )
    return list(readable(outbox, connection.execute(query), to_message, met))


def _receivers(
    connection: Connection, chosen: ColumnElement[bool], after: str | None, limit: int
) -> list[str]:
    """The next names, one seek each."""
    names: list[str] = []
    column = outbox.c.receiver
    query = select(column).where(chosen).order_by(column).limit(1)
    while len(names) < limit:
        behind = query if after is None else query.where(column > after)
        if (name := connection.scalar(behind)) is None:
            break
        names.append(after := name)
    return names


def _around(
    connection: Connection, chosen: ColumnElement[bool], after: int, now: int
) -> Iterator[list[_Entry]]:
    """What is due, by destination key: once around the keys, from the one behind `after`.

    Of a URL with many messages only the first ones come.
    """
    for low, high in ((after, _LAST_KEY), (_BEFORE_ALL_KEYS, after)):
        while low < high:
            query = (
                select(*_ENTRY)
                .where(chosen, outbox.c.destination_key > low, outbox.c.destination_key <= high)
                .where(outbox.c.due <= now)
                .order_by(outbox.c.destination_key, outbox.c.due, outbox.c.message_id)
                .limit(_WINDOW)
            )
            entries = connection.execute(query).all()
            for _, line in groupby(entries, key=lambda entry: entry.destination_key):
                yield list(line)
            if len(entries) < _WINDOW:
                break
            low = entries[-1].destination_key


def _head(
    connection: Connection,
    chosen: ColumnElement[bool],
    line: Sequence[_Entry],
    limit: Size,
    now: int,
) -> list[_Entry]:
    """The next messages for a URL; one that stepped aside and is due again comes first.

    Only one: when a receiver refuses many, the others must still have their turn.
    """
    in_turn = [entry for entry in line if entry.due == 0][: limit.num_messages]
    aside = [entry for entry in line if entry.due > 0][:1]
    if not aside and len(line) > limit.num_messages:  # it may be behind those that were read
        of_url = outbox.c.destination_key == line[0].destination_key
        query = select(*_ENTRY).where(chosen, of_url, outbox.c.due > 0, outbox.c.due <= now)
        aside = list(connection.execute(query.order_by(outbox.c.due).limit(1)))
    head = [*aside, *in_turn][: limit.num_messages]
    num_fitting = sum(
        total <= limit.num_bytes for total in accumulate(_bytes_of(entry) for entry in head)
    )
    return head[: max(1, num_fitting)]


def _load(
    connection: Connection,
    met: list[UnreadableRow],
    heads: Sequence[Sequence[_Entry]],
    now: int,
) -> list[Batch]:
    """Read the payloads, of all at once; who was deleted meanwhile is left out."""
    ids = [entry.message_id for head in heads for entry in head]
    messages = {message.row_id: message for message in _messages(connection, met, ids, now)}
    found = (
        (
            head[0].destination_key,
            [messages[e.message_id] for e in head if e.message_id in messages],
        )
        for head in heads
    )
    return [Batch(key, batch) for key, batch in found if batch]


def _oldest(
    connection: Connection, chosen: ColumnElement[bool], limit: int
) -> list[tuple[int, int]]:
    query = select(outbox.c.message_id, outbox.c.num_bytes).where(chosen)
    rows = connection.execute(query.order_by(outbox.c.message_id).limit(limit))
    return [(row.message_id, _bytes_of(row)) for row in rows]


def _bytes_of(row: _Entry) -> int:
    return row.num_bytes if isinstance(row.num_bytes, int) else 0  # SQLite keeps any type


def _messages(
    connection: Connection, met: list[UnreadableRow], message_ids: Sequence[int], now: int
) -> list[OutboxMessage]:
    def read(row: Row[*tuple[Any, ...]]) -> OutboxMessage:
        waited_s = max(0, now - row.written) / MICROSECONDS
        return to_message(row).model_copy(update={"waited_s": waited_s})

    found: list[OutboxMessage] = []
    for group in in_groups(message_ids):
        query = select(outbox).where(outbox.c.message_id.in_(group)).order_by(outbox.c.message_id)
        found += readable(outbox, connection.execute(query), read, met)
    return found


def _size(connection: Connection, chosen: ColumnElement[bool]) -> Size:
    query = select(func.count(), func.coalesce(func.sum(outbox.c.num_bytes), 0)).where(chosen)
    num_messages, num_bytes = connection.execute(query).one()
    return Size(num_messages, int(num_bytes))


def _larger_than(
    connection: Connection, chosen: ColumnElement[bool], limit: Size
) -> dict[str, Size]:
    num_messages, num_bytes = func.count(), func.sum(outbox.c.num_bytes)
    query = (
        select(outbox.c.receiver, num_messages, num_bytes)
        .where(chosen)
        .group_by(outbox.c.receiver)
        .having((num_messages > limit.num_messages) | (num_bytes > limit.num_bytes))
    )
    return {
        receiver: Size(number, int(size)) for receiver, number, size in connection.execute(query)
    }


def _delete(connection: Connection, message_ids: Sequence[int]) -> None:
    for group in in_groups(message_ids):
        connection.execute(delete(outbox).where(outbox.c.message_id.in_(group)))


def _delete_up_to(connection: Connection, chosen: ColumnElement[bool], message_id: int) -> None:
    connection.execute(delete(outbox).where(chosen, outbox.c.message_id <= message_id))


def _keep_attempts(connection: Connection, attempts: Mapping[int, int]) -> None:
    for message_id, number in attempts.items():
        mine = outbox.c.message_id == message_id
        connection.execute(update(outbox).where(mine).values(attempts=number))


def _count_failure(connection: Connection, message_id: int, due: int) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.message_id == message_id)
        .values(attempts=outbox.c.attempts + 1, due=due)
    )
