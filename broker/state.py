"""What is known of a connection, for those who report or wait for it."""

from dataclasses import dataclass

from broker.options import Protocol


@dataclass(frozen=True, slots=True)
class ConnectionState:
    """What is known now."""

    is_connected: bool = False
    is_subscribed: bool = False  #: the broker has answered to the subscriptions, if any
    protocol: Protocol | None = None
    session_present: bool = False  #: the broker still had our session
    generation: int = 0  #: number of connections so far
    server_version: str | None = None  #: Mosquitto says it, others seldom
    max_packet_size: int | None = None  #: bytes, announced by the broker on MQTT 5
    reason: str = "not connected yet"  #: why it is not connected
    refused_subscriptions: tuple[str, ...] = ()


@dataclass(slots=True)
class Counters:
    """Since the start of the process; written by the network thread only."""

    reconnects: int = 0
    lost_sessions: int = 0  #: reconnects at which the broker had forgotten our session
    stale_acks: int = 0  #: not sent, because their connection was gone
    broker_dropped: int = 0  #: messages dropped by the broker, all clients together (Mosquitto)
