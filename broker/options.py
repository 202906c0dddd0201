"""Where and how to connect, what to subscribe to: plain arguments, not the service's settings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

Protocol = Literal["5", "3.1.1"]


@dataclass(frozen=True, slots=True)
class TlsOptions:
    """How to encrypt."""

    ca_file: Path | None = None  #: None: the system's authorities
    cert_file: Path | None = None
    key_file: Path | None = None
    insecure: bool = False  #: accept any host name in the certificate


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """One connection."""

    host: str
    client_id: str  #: stable, or the session and the frames in it are lost
    port: int = 1883
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    protocol: Literal["auto", "5", "3.1.1"] = "auto"
    transport: Literal["tcp", "websockets"] = "tcp"
    websocket_path: str = "/mqtt"
    keepalive: int = 30  #: seconds
    session_expiry: int = 86400  #: seconds
    keeps_session: bool = True  #: False: nothing is left on the broker, and nothing found there
    receive_maximum: int = 16  #: messages the broker may send before an acknowledgement
    max_inflight_bytes: int = 16 << 20  #: received and not released; above it nothing is read
    tls: TlsOptions | None = None
    #: Retained: `birth` from `Connection.announce` on, also when connecting again, and `will` when
    #: we are gone.
    state_topic: str | None = None
    birth: bytes = b"online"
    will: bytes = b"offline"


@dataclass(frozen=True, slots=True)
class Subscription:
    """One topic filter, at QoS 1 unless the sender sends at 0."""

    topic_filter: str
    qos: Literal[0, 1] = 1
    #: On MQTT 5 retained messages come when the subscription is new, not after each reconnect; on
    #: 3.1.1 they come whether wanted or not, and `Message.retain` tells them.
    accept_retained: bool = False
    #: Not to get it is no trouble: not everybody whose broker has rules wants what it is for.
    is_optional: bool = False
