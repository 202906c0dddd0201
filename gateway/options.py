"""What the gateway is told when it is made."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Where it listens, and within which limits; see `service.http_settings`."""

    host: str
    port: int  #: 0: any that is free
    max_image_bytes: int  #: of one picture
    max_in_flight: int  #: requests of one caller at once
    images: str  #: which of several pictures is meant: middle, first, last or each
    timeout_s: float  #: how long a synchronous answer is waited for
    version: str  #: of the package
    model_name: str  #: as the answers of emulated interfaces name it
    model_revision: str
    token: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    keyless_networks: tuple[str, ...] = ("127.0.0.0/8", "::1/128")
    cors_origins: tuple[str, ...] = ()
    supervisor: str | None = "172.30.32.2"  #: Home Assistant's, whose users need no token
    camera_id: str = "http"  #: in whose name a picture without a camera is asked about
