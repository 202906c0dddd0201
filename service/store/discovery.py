"""What is published for Home Assistant's discovery.

The broker keeps discovery for ever, so who publishes it has to know later what to take back: a row
is written in the transaction of the message that brings it, and deleted in that of the one that
takes it back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, insert, select, true

from schemas.outbox import OutboxMessage
from service.store.database import Database, in_groups
from service.store.outbox import Outbox, insert_unnoted
from service.store.rows import Stamp
from service.store.tables import discovery, outbox
from service.store.timekeeper import Timekeeper


@dataclass(frozen=True, slots=True)
class Published:
    """A retained message of discovery."""

    object_id: str  #: of the device
    payload: bytes


class PublishedDiscovery:
    """What is published, by topic.

    Every method raises `StoreError` when the database refuses.

    Args:
        database: Open.
        instance: Who sends the messages.
        base_topic: Of the cameras it speaks for. On a server others have rows of their own; all in
            a file is ours, also what was published below another base topic.
        timekeeper: Measures what a message waits.
        outbox: Takes the messages.
    """

    def __init__(
        self,
        database: Database,
        instance: str,
        base_topic: str,
        timekeeper: Timekeeper,
        outbox: Outbox,
    ) -> None:
        self._database = database
        self._instance = instance
        self._base_topic = base_topic
        self._timekeeper = timekeeper
        self._outbox = outbox

    async def devices(self) -> list[str]:
        """The object ids of the devices that something is published of."""
        return await self._database.read(_devices, self._ours)

    async def of_devices(self, object_ids: Sequence[str]) -> dict[str, Published]:
        """What is published of some devices, by topic.

        What a damaged row holds counts as empty: it is published again, or taken back.
        """
        return await self._database.read(_of_devices, self._ours, object_ids)

    async def change(
        self, kept: Mapping[str, Published | None], messages: Sequence[OutboxMessage]
    ) -> list[OutboxMessage]:
        """Send messages, and keep what is published behind them, in one transaction.

        Args:
            kept: By topic; None: nothing is any more.
            messages: That bring it about, in their order.

        Returns:
            The messages with their ids.
        """
        stamp = self._timekeeper.stamp(self._instance)
        with self._outbox.uncertain():
            written = await self._database.write(
                _change, self._ours, self._base_topic, kept, messages, stamp
            )
        self._outbox.committed(written)
        return written

    async def waiting(self, message_ids: Sequence[int]) -> set[int]:
        """Those of some messages that the outbox still holds."""
        return await self._database.read(_waiting, message_ids)

    @property
    def _ours(self) -> ColumnElement[bool]:
        is_file = self._database.path is not None
        return true() if is_file else discovery.c.base_topic == self._base_topic


def _devices(connection: Connection, ours: ColumnElement[bool]) -> list[str]:
    query = select(discovery.c.object_id).where(ours).distinct().order_by(discovery.c.object_id)
    return [str(object_id) for object_id in connection.scalars(query)]


def _of_devices(
    connection: Connection, ours: ColumnElement[bool], object_ids: Sequence[str]
) -> dict[str, Published]:
    found: dict[str, Published] = {}
    columns = (discovery.c.topic, discovery.c.object_id, discovery.c.payload)
    for group in in_groups(object_ids):
        query = select(*columns).where(ours, discovery.c.object_id.in_(group))
        for topic, object_id, payload in connection.execute(query.order_by(discovery.c.topic)):
            content = payload if isinstance(payload, bytes) else b""  # SQLite keeps any type
            found[str(topic)] = Published(str(object_id), content)
    return found


def _change(
    connection: Connection,
    ours: ColumnElement[bool],
    base_topic: str,
    kept: Mapping[str, Published | None],
    messages: Sequence[OutboxMessage],
    stamp: Stamp,
) -> list[OutboxMessage]:
    for group in in_groups(list(kept)):
        connection.execute(delete(discovery).where(ours, discovery.c.topic.in_(group)))
    rows = [
        {
            "base_topic": base_topic,
            "topic": topic,
            "object_id": published.object_id,
            "payload": published.payload,
        }
        for topic, published in kept.items()
        if published is not None
    ]
    if rows:
        connection.execute(insert(discovery), rows)
    return insert_unnoted(connection, messages, stamp)


def _waiting(connection: Connection, message_ids: Sequence[int]) -> set[int]:
    found: set[int] = set()
    for group in in_groups(message_ids):
        query = select(outbox.c.message_id).where(outbox.c.message_id.in_(group))
        found.update(connection.scalars(query))
    return found
