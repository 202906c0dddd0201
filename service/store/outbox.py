"""Messages that must go out: written with the transition that causes them, gone once delivered.

Sent at least once: a crash between the delivery and `sent` sends the message again, under the same
job id. What cannot be read is left out and noted; see `unreadable`.
"""

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, or_, select, update

from schemas.outbox import Channel, OutboxMessage
from service.store.database import Database, in_groups
from service.store.rows import message_row, to_message, to_microseconds, to_moment
from service.store.tables import outbox
from service.store.unreadable import UnreadableRow, UnreadableRows, readable

# The span that Python's calendar knows, in microseconds since 1970.
_FIRST = to_microseconds(datetime.min.replace(tzinfo=UTC))
_LAST = to_microseconds(datetime.max.replace(tzinfo=UTC))


class Outbox:
    """What is still to be sent.

    Args:
        database: Open.
        instance: Whose messages; other instances on the same database send their own.
        unreadable: Takes what cannot be read.
    """

    def __init__(self, database: Database, instance: str, unreadable: UnreadableRows) -> None:
        self._database = database
        self._instance = instance
        self._unreadable = unreadable

    async def due(
        self,
        channel: Channel,
        now: datetime,
        limit: int,
        *,
        exclude_destinations: Collection[str] = (),
        exclude_ids: Collection[int] = (),
    ) -> list[OutboxMessage]:
        """The oldest messages whose time has come, in the order they were written.

        Args:
            channel: How they leave.
            now: The time.
            limit: Most messages returned.
            exclude_destinations: Receivers that are busy or down, so that others are not held up.
            exclude_ids: Messages that are under way already.
        """
        query = (
            select(outbox)
            .where(self._of(channel), outbox.c.next_attempt_at <= to_microseconds(now))
            .order_by(outbox.c.message_id)
            .limit(limit)
        )
        if exclude_destinations:
            query = query.where(outbox.c.destination.not_in(exclude_destinations))
        if exclude_ids:
            query = query.where(outbox.c.message_id.not_in(exclude_ids))
        met: list[UnreadableRow] = []
        messages = await self._database.read(_messages, met, query)
        self._unreadable.note(met)
        return messages

    async def sent(self, message_ids: Collection[int]) -> None:
        """Forget messages that have arrived."""
        if message_ids:
            await self._database.write(_delete, list(message_ids))

    async def remove(self, message_id: int) -> None:
        """Forget a message that is given up."""
        await self._database.write(_delete, [message_id])

    async def defer(self, message_id: int, next_attempt_at: datetime) -> None:
        """Count a failed attempt and try again later."""
        await self._database.write(_defer, message_id, to_microseconds(next_attempt_at))

    async def pending_count(self, channel: Channel) -> int:
        """How many messages are still to be sent, due or not."""
        query = select(func.count()).select_from(outbox).where(self._of(channel))
        return await self._database.read(_number, query) or 0

    async def oldest(self, channel: Channel) -> datetime | None:
        """When the oldest message that is still to be sent was written."""
        return await self._earliest(channel, outbox.c.created_at)

    async def next_attempt_at(self, channel: Channel) -> datetime | None:
        """When the next message falls due; in the past when one is due now."""
        return await self._earliest(channel, outbox.c.next_attempt_at)

    async def _earliest(self, channel: Channel, time: ColumnElement[int]) -> datetime | None:
        query = select(time).where(self._of(channel)).order_by(time).limit(1)
        earliest = await self._database.read(_number, query)
        return None if earliest is None else to_moment(earliest)

    def _of(self, channel: Channel) -> ColumnElement[bool]:
        return (outbox.c.channel == channel.value) & (outbox.c.instance == self._instance)


def _messages(
    connection: Connection, met: list[UnreadableRow], query: Select[*tuple[Any, ...]]
) -> list[OutboxMessage]:
    return list(readable(outbox, connection.execute(query), to_message, met))


def meet_unsendable(connection: Connection, met: list[UnreadableRow], instance: str) -> None:
    """Note the messages that `Outbox.due` never reads: no channel, or no time, is theirs."""
    suspects = select(outbox.c.message_id).where(
        or_(
            outbox.c.channel.not_in([channel.value for channel in Channel]),
            ~outbox.c.next_attempt_at.between(_FIRST, _LAST),
        )
    )
    query = select(outbox).where(outbox.c.message_id.in_(suspects), outbox.c.instance == instance)
    _messages(connection, met, query)


def _number(connection: Connection, query: Select[int]) -> int | None:
    return connection.scalar(query)


def insert_messages(
    connection: Connection, messages: Sequence[OutboxMessage], instance: str
) -> list[OutboxMessage]:
    """Write messages in the caller's transaction and return them with their ids."""
    if not messages:
        return []
    ids = connection.scalars(
        insert(outbox).returning(outbox.c.message_id, sort_by_parameter_order=True),
        [message_row(message, instance) for message in messages],
    )
    return [
        message.model_copy(update={"message_id": message_id})
        for message, message_id in zip(messages, ids, strict=True)
    ]


def _delete(connection: Connection, message_ids: Sequence[int]) -> None:
    for group in in_groups(message_ids):
        connection.execute(delete(outbox).where(outbox.c.message_id.in_(group)))


def _defer(connection: Connection, message_id: int, next_attempt_at: int) -> None:
    connection.execute(
        update(outbox)
        .where(outbox.c.message_id == message_id)
        .values(attempts=outbox.c.attempts + 1, next_attempt_at=next_attempt_at)
    )
