"""Which topics the broker keeps a message of ours on.

A broker keeps what is retained for ever, and answers no question about it. So who publishes it has
to know later what to take back: a topic is noted in the transaction of the message that brings it,
and forgotten in that of the empty one that takes it back. Nothing else is ever cleared.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from schemas.outbox import Channel, OutboxMessage
from service.store.database import Database, in_groups
from service.store.tables import retained


@dataclass(frozen=True, slots=True)
class RetainedTopic:
    """A topic with a message of ours."""

    topic: str
    is_shared: bool  #: another instance has published there, too, and may still


class RetainedTopics:
    """Those of this instance; all in a file are.

    Every method raises `StoreError` when the database refuses.

    Args:
        database: Open.
        instance: Ours.
    """

    def __init__(self, database: Database, instance: str) -> None:
        self._database = database
        self._instance = instance

    async def note(self, topics: Collection[str]) -> None:
        """Know of topics that are published without the outbox; before they are."""
        await self._database.write(_note, self._instance, topics)

    async def all(self) -> list[RetainedTopic]:
        """All that are noted, by name."""
        return await self._database.read(_all, self._instance)

    async def forget(self, topics: Collection[str]) -> None:
        """Know no more of topics, which are left as they are: they are another's, too."""
        await self._database.write(_forget, self._instance, topics)


def note_messages(connection: Connection, instance: str, messages: Sequence[OutboxMessage]) -> None:
    """Keep up with what is written to the outbox: the last message of a topic counts."""
    last = {
        each.destination: bool(each.payload)
        for each in messages
        if each.channel is Channel.MQTT and each.options.get("retain")
    }
    if brought := [topic for topic, has_content in last.items() if has_content]:
        _note(connection, instance, brought)
    if cleared := [topic for topic, has_content in last.items() if not has_content]:
        _forget(connection, instance, cleared)


def _note(connection: Connection, instance: str, topics: Collection[str]) -> None:
    for group in in_groups(sorted(topics)):
        ours = (retained.c.instance == instance, retained.c.topic.in_(group))
        known = set(connection.scalars(select(retained.c.topic).where(*ours)))
        new = sorted(set(group) - known)
        if new:
            rows = [{"instance": instance, "topic": topic} for topic in new]
            connection.execute(insert(retained), rows)


def _forget(connection: Connection, instance: str, topics: Collection[str]) -> None:
    for group in in_groups(sorted(topics)):
        ours = (retained.c.instance == instance, retained.c.topic.in_(group))
        connection.execute(delete(retained).where(*ours))


def _all(connection: Connection, instance: str) -> list[RetainedTopic]:
    others = set(
        connection.scalars(select(retained.c.topic).where(retained.c.instance != instance))
    )
    ours = select(retained.c.topic).where(retained.c.instance == instance)
    topics = connection.scalars(ours.order_by(retained.c.topic))
    return [RetainedTopic(topic, topic in others) for topic in topics]
