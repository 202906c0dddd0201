"""How a connection ended: what is known of it, as an `End` and in words. No I/O and no clock."""

import socket
import ssl
from dataclasses import dataclass

from broker.options import ConnectionOptions
from broker.reconnect import End

_SESSION_TAKEN_OVER = 142
_UNSUPPORTED_PROTOCOL = 132
_REFUSED_CREDENTIALS = frozenset({134, 135})


@dataclass(frozen=True, slots=True)
class Reason:
    """A reason code of the broker's."""

    value: int
    text: str


@dataclass(slots=True)
class Course:
    """What has happened over one connection."""

    connected_at: float | None = None  #: monotonic; None: the broker has not accepted us
    refusal: Reason | None = None  #: in CONNACK
    disconnect: Reason | None = None  #: in a DISCONNECT of the broker's
    was_useful: bool = False  #: something that we had sent was acknowledged
    was_denied: bool = False  #: something that we had sent was refused
    was_reset: bool = False  #: the network cut it
    was_ours: bool = False  #: we ended it, on purpose or because nothing came back

    def end(
        self, problem: str | None, now: float, *, is_busy: bool, is_alone: bool, is_gate_open: bool
    ) -> End:
        """Say how it ended.

        Args:
            problem: Why we have ended it, if we have.
            now: Monotonic.
            is_busy, is_alone: See `End`.
            is_gate_open: Whether there was room to receive.
        """
        self.was_ours = problem is not None
        if self.connected_at is None:
            return End(
                problem or "the broker closed the connection without an answer", is_silent=True
            )
        return End(
            problem or self._explain_loss(is_gate_open=is_gate_open),
            lasted_s=now - self.connected_at,
            is_taken_over=self.disconnect is not None
            and self.disconnect.value == _SESSION_TAKEN_OVER,
            # After a refused message Mosquitto 2.0.11 closes the connection as well.
            is_denied=problem is not None or self.was_denied,
            is_closed=self.disconnect is None and not self.was_reset,
            is_busy=is_busy,
            is_alone=is_alone,
            is_useful=self.was_useful,
        )

    def _explain_loss(self, *, is_gate_open: bool) -> str:
        if self.disconnect is not None:
            return f"the broker closed the connection: {self.disconnect.text}"
        if not is_gate_open:
            # The broker's answers to our pings are behind messages there is no room for.
            return "nothing more can be received, because too much waits to be committed"
        return "the connection was lost"


def refused(reason: Reason, options: ConnectionOptions) -> End:
    """The end of a connection that the broker has not accepted."""
    return End(
        _explain_refusal(reason, options), is_unsupported=reason.value == _UNSUPPORTED_PROTOCOL
    )


def _explain_refusal(reason: Reason, options: ConnectionOptions) -> str:
    if reason.value in _REFUSED_CREDENTIALS:
        account = f"mqtt.username {options.username!r}" if options.username else "no mqtt.username"
        return f"refused ({reason.text}) with {account}: check mqtt.username and mqtt.password"
    return f"refused ({reason.text})"


def not_reached(error: OSError | ValueError, options: ConnectionOptions) -> End:
    """The end of an attempt that found no broker."""
    return End(_explain_failure(error, options))


def _explain_failure(error: OSError | ValueError, options: ConnectionOptions) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({error.verify_message}): check mqtt.tls.ca_file"
    if isinstance(error, ssl.SSLError):
        why = getattr(error, "reason", None) or error  # Python's own have no reason
        return f"TLS failed ({why}): check mqtt.tls and mqtt.port"
    if isinstance(error, socket.gaierror):
        return f"mqtt.host: {options.host!r} cannot be resolved"
    if isinstance(error, TimeoutError):
        return "no answer: check mqtt.host and mqtt.port"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: check mqtt.host and mqtt.port"
    return str(error)
