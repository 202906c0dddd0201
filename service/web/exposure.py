"""Settings with which the gateway is open to more than its operator may mean."""

from collections.abc import Iterator
from ipaddress import ip_address, ip_network

from service.http_settings import HttpSettings

_WEAK_CHARACTERS = 16


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address that is listened on."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def doubts(http: HttpSettings) -> Iterator[tuple[str, str]]:
    """Paths of settings, and what is doubtful of them."""
    networks = [ip_network(each, strict=False) for each in http.keyless_networks]
    for network in networks:
        if network.prefixlen == 0:
            yield "http.keyless_networks", f"{network}: whoever reaches {http.host} needs no token"
        elif network.is_global:
            yield "http.keyless_networks", f"{network} is of the Internet: they need no token"
    if http.token is not None and len(http.token.get_secret_value()) < _WEAK_CHARACTERS:
        text = f"has less than {_WEAK_CHARACTERS} characters: leave it out, and a long one is made"
        yield "http.token", text
    if "*" in http.cors_origins:
        yield "http.cors_origins", "*: any web page that a user looks at may call it"
    if "*" in http.allowed_hosts and networks:
        text = "*: a web page can give its own name to this service, for who needs no token"
        yield "http.allowed_hosts", text
