"""When to connect again, with which protocol, and when never again: rules without I/O or clock."""

import random
from dataclasses import dataclass

from broker.options import ConnectionOptions, Protocol

_BACKOFF_FIRST_S = 1.0
_BACKOFF_LAST_S = 60.0

#: A connection that lived shorter has proved nothing.
SHORT_LIFE_S = 10.0

# Mosquitto before 2.0.13 does not say that a session was taken over, it only closes the
# connection. Two clients with one id throw each other out, again and again; a broker that restarts
# is away for a moment, and a network that fails resets connections, and both start the count anew.
# Fewer in a row would end the service for a hiccup, more would only take milliseconds longer.
_TAKEOVER_DROPS = 5

# The first outlasts a client that comes back after a second; one that comes back later than the
# last leaves connections that are hardly short. Shorter would miss more, longer holds up results.
_QUIET_FIRST_S = 1.5
_QUIET_LAST_S = 8.0


@dataclass(frozen=True, slots=True)
class End:
    """How a connection, or the attempt at one, ended."""

    reason: str  #: for people
    lasted_s: float | None = None  #: since the broker accepted it; None: it never did
    is_taken_over: bool = False  #: the broker says so
    is_unsupported: bool = False  #: the broker does not know this version of the protocol
    is_silent: bool = False  #: CONNECT was not answered
    is_denied: bool = False  #: after something we may not do, or could not
    is_closed: bool = False  #: by the other side in good order and without a word
    is_busy: bool = False  #: something that we had sent was not acknowledged yet
    is_alone: bool = False  #: that was one message, sent alone: see `Outgoing.quarantined`
    is_useful: bool = False  #: something that we had sent was acknowledged

    @property
    def is_short(self) -> bool:
        """Whether it was accepted and ended soon after."""
        return self.lasted_s is not None and self.lasted_s < SHORT_LIFE_S

    @property
    def is_suspicious(self) -> bool:
        """Whether another client with our id could have done it."""
        return self.is_short and self.is_closed and not self.is_denied


class Backoff:
    """Seconds to wait before the next attempt."""

    def __init__(self) -> None:
        self._num_failures = 0

    def after(self, end: End) -> float:
        """At once after a connection was lost, ever later while none is to be had.

        With jitter, so that the clients of a broker that comes back do not come all at once.
        """
        if end.lasted_s is not None and (end.is_useful or not end.is_denied):
            self._num_failures = 0
            # At once also where another client may have our id: a broker that is only restarting
            # shows it by not answering now. `TakeoverDetector` ends this after a few times.
            # And after a message in quarantine: that the broker is still there is the proof.
            if not end.is_short or end.is_suspicious or end.is_alone:
                return 0.0
        delay = min(_BACKOFF_LAST_S, _BACKOFF_FIRST_S * 2.0 ** min(self._num_failures, 10))
        self._num_failures += 1
        return delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, hides nothing


class ProtocolChoice:
    """MQTT 5 where the broker speaks it, else 3.1.1; one of them when the operator says so."""

    def __init__(self, options: ConnectionOptions) -> None:
        self._wanted = options.protocol
        self._is_refused = False
        self._num_silent = 0

    @property
    def current(self) -> Protocol:
        """What to try next."""
        if self._wanted != "auto":
            return self._wanted
        # Some old brokers hang up or say nothing instead of refusing, but so does one that is
        # starting: after two of these both are tried in turns until one is answered.
        is_old = self._num_silent >= 2 and self._num_silent % 2 == 0
        return "3.1.1" if self._is_refused or is_old else "5"

    def learn(self, end: End) -> bool:
        """Take in how an attempt with `current` ended; tell whether MQTT 5 was refused just now."""
        is_refused_now = end.is_unsupported and self._wanted == "auto" and self.current == "5"
        if is_refused_now:
            self._is_refused = True
        elif end.is_silent:
            self._num_silent += 1
        elif end.lasted_s is not None:
            # A 3.1.1 that only silence has led to gets one try of MQTT 5 at each reconnect.
            self._num_silent = 0 if self.current == "5" else 1
        return is_refused_now


class Quiet:
    """Seconds in which the next connection sends nothing, to see whether it ends all the same.

    Where connections end soon and something was on its way, that may have ended them. If so, a
    quiet one holds, and what was on its way goes into quarantine; if not, another client has our
    id. Longer each time, because such a client need not be back at once.
    """

    def __init__(self) -> None:
        self._seconds = 0.0

    def after(self, end: End) -> float:
        """Seconds for the connection after this end."""
        if not end.is_short or end.is_denied or end.is_alone:
            self._seconds = 0.0
        elif end.is_busy:
            self._seconds = min(max(_QUIET_FIRST_S, 2 * self._seconds), _QUIET_LAST_S)
        elif not end.is_suspicious:
            self._seconds = 0.0  # the network fails by itself, and something must leave between
        return self._seconds


class TakeoverDetector:
    """Tells a client that shares our id from a broker or a network that fails."""

    def __init__(self) -> None:
        self._num_drops = 0

    def evidence(self, end: End) -> str | None:
        """What speaks for another client with our id, once it is enough; else None."""
        if end.is_taken_over:
            return "the broker says that it took over the session"
        if end.is_suspicious and end.is_busy:
            return None  # as likely it was what we sent; `Quiet` makes the next end speak
        self._num_drops = self._num_drops + 1 if end.is_suspicious else 0
        if self._num_drops < _TAKEOVER_DROPS:
            return None
        return (
            f"the broker closed the connection {self._num_drops} times in a row within "
            f"{SHORT_LIFE_S:.0f} s of accepting it"
        )
