"""A message as it came over MQTT: plain data, so that nobody else needs the MQTT library."""

from dataclasses import dataclass, field
from datetime import datetime

#: Counted for a message on top of its payload, so that a flood of tiny ones is bounded as well.
MESSAGE_OVERHEAD_BYTES = 1024


@dataclass(frozen=True, slots=True)
class Properties5:
    """The MQTT 5 properties of a message that we use; all empty on MQTT 3.1.1."""

    user: tuple[tuple[str, str], ...] = ()
    response_topic: str | None = None
    correlation_data: bytes | None = None
    message_expiry: int | None = None  #: seconds that were left when it arrived
    content_type: str | None = None
    is_readable: bool = True  #: False: there were some, and the others of these are empty


NO_PROPERTIES = Properties5()
UNREADABLE = Properties5(is_readable=False)


@dataclass(slots=True)
class Message:
    """One message that has arrived and, at QoS 1, still waits for its acknowledgement.

    Not changed after it was made; not `frozen` only because that makes creating one four times
    slower, and one is created for every frame.
    """

    topic: str
    payload: bytes
    qos: int
    retain: bool  #: a replay of an old message, sent because we subscribed
    dup: bool
    generation: int  #: number of the connection it came over; `mid` means nothing on another
    mid: int
    arrived_at: datetime
    arrived_monotonic: float
    properties: Properties5 = field(default=NO_PROPERTIES)

    @property
    def num_bytes(self) -> int:
        """What it counts against the bound of bytes in flight."""
        return len(self.payload) + MESSAGE_OVERHEAD_BYTES
