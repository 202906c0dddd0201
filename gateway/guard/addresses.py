"""Addresses of callers, and networks of them."""

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LONGEST = 80  # characters; an IPv6 address has at most 45, and may name its interface


def address_of(text: str) -> Address | None:
    """An address as a socket or a URL says it; None where it is none.

    An IPv4 address that came over an IPv6 socket (`::ffff:192.0.2.1`) is an IPv4 address.
    """
    return _read(text) if len(text) <= _LONGEST else None


@lru_cache(maxsize=1024)  # each request says three, nearly always the same
def _read(text: str) -> Address | None:
    try:
        address = ip_address(text.strip("[]"))
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def networks_of(texts: Iterable[str]) -> tuple[Network, ...]:
    """Networks, of which the settings have seen that they are some."""
    return tuple(ip_network(text, strict=False) for text in texts)


def is_in(address: Address | None, networks: Iterable[Network]) -> bool:
    """Whether one of the networks has the address."""
    return address is not None and any(address in network for network in networks)


def household(address: Address | None) -> str:
    """What stands for one caller where callers are counted: who has an IPv6 /64 has all of it."""
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, 64), strict=False))
    return str(address)
