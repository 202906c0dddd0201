"""Connections that leave a promise out: the negative controls of the tests that hold the others.

Each loses messages where `Connection` does not, or those tests would prove nothing.
"""

from typing import Any

from broker.connection import Connection
from broker.handover import Ack
from broker.link import Link
from broker.message import Message


class _UnguardedLink(Link):
    """Sends late acknowledgements on whatever connection there is."""

    def _acknowledge(self, ack: Ack) -> None:
        self._client.acknowledge(ack.mid)


class UnguardedConnection(Connection):
    """Without the generation guard."""

    _make_link = _UnguardedLink

    def acknowledge(self, message: Message) -> bool:
        super().acknowledge(message)
        return True


class _HastyLink(Link):
    """Acknowledges on arrival."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._client._paho.manual_ack_set(False)


class HastyConnection(Connection):
    """Acknowledges before anything is committed."""

    _make_link = _HastyLink

    def acknowledge(self, message: Message) -> bool:
        return True
