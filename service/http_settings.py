"""Settings of the HTTP gateway: whether, where and for whom."""

from typing import Annotated, Literal

from pydantic import Field

from schemas.frame import CameraId
from service.setting_types import Host, Name, Secret, Section

Network = Annotated[str, Field(max_length=64)]


class HttpSettings(Section):
    """The same frames, requests and results over HTTP, and the live page."""

    enabled: bool = Field(default=False, description="listen")
    host: Host = Field(
        default="127.0.0.1", description="address to listen on; 0.0.0.0: every one of the machine"
    )
    port: int = Field(default=8808, ge=0, le=65535, description="0: any that is free")
    token: Secret | None = Field(
        default=None,
        description="what callers have to send; none: one is made at the first start and kept in "
        "data_dir",
    )
    allowed_hosts: tuple[Name, ...] = Field(
        default=(), description="further names under which it may be called"
    )
    keyless_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="who needs no token, unless it comes through a proxy",
    )
    cors_origins: tuple[Name, ...] = Field(
        default=(), description="web pages of others that may call it from a browser"
    )
    images: Literal["middle", "first", "last", "each"] = Field(
        default="middle", description="which of several pictures of one question is looked at"
    )
    camera: CameraId = Field(
        default="http", description="in whose name pictures without a camera are asked about"
    )
    timeout: float = Field(
        default=120.0, ge=1, le=300, description="seconds a caller waits for an answer at most"
    )
    max_in_flight: int = Field(
        default=32, ge=1, le=1000, description="requests of one caller at once"
    )
