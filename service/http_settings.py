"""Settings of the HTTP gateway: whether, where and for whom."""

import re
from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from schemas.frame import CameraId
from service.setting_types import Host, Name, Secret, Section


def _is_network(text: str) -> str:
    try:
        ip_network(text, strict=False)
    except ValueError:
        raise ValueError("must be an address or a network, e.g. 192.168.1.0/24") from None
    return text


def _is_host_or_wildcard(text: str) -> str:
    if not _HOST.fullmatch(text):
        raise ValueError("must be a host name, *.domain or *, without scheme and port")
    return text


def _is_origin(text: str) -> str:
    if not _ORIGIN.fullmatch(text):
        raise ValueError("must be * or http(s)://host[:port], without a path")
    return text


_HOST = re.compile(r"\*|(\*\.)?[A-Za-z0-9_.-]+")
_ORIGIN = re.compile(r"\*|https?://([A-Za-z0-9_.-]+|\[[0-9a-fA-F:]+\])(:\d{1,5})?/?")
Network = Annotated[str, Field(max_length=64), AfterValidator(_is_network)]
HostPattern = Annotated[Name, AfterValidator(_is_host_or_wildcard)]
Origin = Annotated[Name, AfterValidator(_is_origin)]


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
    allowed_hosts: tuple[HostPattern, ...] = Field(
        default=(),
        description="further names under which it may be called: host, *.domain or *; known are "
        "local addresses, names of one label, and those in .local, .internal and .home.arpa",
    )
    keyless_networks: tuple[Network, ...] = Field(
        default=("127.0.0.0/8", "::1/128"),
        description="who needs no token, unless it comes through a proxy",
    )
    cors_origins: tuple[Origin, ...] = Field(
        default=(),
        description="web pages of others that may call it from a browser: http(s)://host[:port]",
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
