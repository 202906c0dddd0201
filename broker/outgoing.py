"""What goes out over one connection: what may leave next, what is on its way, what goes alone.

A broker hangs up on a message it will not take, often without a word, and whatever was on its way
comes back. Hence the rule not to miss: a message that two connections have ended with is put into
quarantine and leaves alone, so that a third end proves something; see docs/decisions/0016. No I/O
and no clock.
"""

from collections import deque

from broker.errors import BrokerError, ConnectionLostError, PublishError
from broker.handover import Publish

# So many connections have to end with a message on its way: one is an accident, and nearly always
# has others on its way too.
_QUARANTINED_AFTER = 2

# After so many it is given up even where nothing else speaks against it: some brokers do not
# survive a message, and some never acknowledge one.
_GIVEN_UP_AFTER = 5

# What is in quarantine leaves over a connection that has held so long. Another client with our id
# throws us out when it is back, mostly 0, 1 or 2 s after we came: at another moment than this, or
# it would speak against the message.
_HELD_S = 1.5

# Brokers announce 20 (Mosquitto) to 65,535. Fewer cost round trips; more gain nothing on a LAN, and
# a lost connection sends all of them again.
_MAX_IN_FLIGHT = 50


class Outgoing:
    """The messages of one connection, until they are acknowledged.

    Args:
        quiet_s: Seconds after the broker has accepted us in which nothing leaves; see
            `reconnect.Quiet`.
    """

    def __init__(self, quiet_s: float) -> None:
        self._quiet_s = quiet_s
        self._accepted_at = 0.0
        self._max_in_flight = _MAX_IN_FLIGHT
        self._waiting: deque[Publish] = deque()
        self._in_flight: dict[int, tuple[Publish, float]] = {}  # by packet id, oldest first
        self._quarantined: Publish | None = None

    @property
    def quarantined(self) -> Publish | None:
        """The message that is on its way alone, because it may be what ends connections."""
        return self._quarantined

    @property
    def is_busy(self) -> bool:
        """Whether something is on its way that somebody waits for: not the birth message."""
        return any(publish.done is not None for publish, _ in self._in_flight.values())

    @property
    def oldest_sent_at(self) -> float | None:
        """When the oldest message on its way left."""
        return next((sent_at for _, sent_at in self._in_flight.values()), None)

    def accepted(self, now: float, receive_maximum: int | None) -> None:
        """Begin: the broker has accepted us, and takes so many unacknowledged messages."""
        self._accepted_at = now
        self._max_in_flight = min(_MAX_IN_FLIGHT, receive_maximum or _MAX_IN_FLIGHT)

    def add(self, publish: Publish) -> None:
        """Let a message wait for its turn."""
        self._waiting.append(publish)

    def take(self, now: float) -> Publish | None:
        """The next message, if it may leave now; then it is the caller's to send."""
        if not self._waiting or self._quarantined is not None:
            return None
        is_alone = _is_quarantined(self._waiting[0])
        if now - self._accepted_at < (_HELD_S if is_alone else self._quiet_s):
            return None
        if len(self._in_flight) >= (1 if is_alone else self._max_in_flight):
            return None
        return self._waiting.popleft()

    def sent(self, mid: int, publish: Publish, now: float) -> None:
        """Note that a message has left and is to be acknowledged."""
        self._in_flight[mid] = (publish, now)
        if _is_quarantined(publish):
            self._quarantined = publish

    def answered(self, mid: int) -> Publish | None:
        """Note an acknowledgement or a refusal; return its message, None when it needed none."""
        publish, _ = self._in_flight.pop(mid, (None, 0.0))
        if publish is self._quarantined:
            self._quarantined = None
        return publish

    def end(self) -> tuple[list[Publish], list[Publish]]:
        """The messages that were on their way, and those that never left."""
        return [publish for publish, _ in self._in_flight.values()], list(self._waiting)


def lost(publish: Publish, reason: str) -> BrokerError:
    """What to tell who waits for a message that was on its way when the connection ended."""
    if publish.num_lost + 1 >= _GIVEN_UP_AFTER:
        return unsendable(publish)
    return ConnectionLostError(reason)


def unsendable(publish: Publish) -> PublishError:
    """What to tell who waits for a message in quarantine that the broker has hung up on."""
    problem = (
        f"the connection ended {publish.num_lost + 1} times while it was on its way, the last time "
        "with nothing else on it"
    )
    return PublishError("unsendable", problem)


def _is_quarantined(publish: Publish) -> bool:
    return publish.num_lost >= _QUARANTINED_AFTER
