"""Under which names the gateway may be called.

A page of a stranger can give its own name our address (DNS rebinding), and the browser then takes
us for that page's server. It cannot give us a name that is ours, so the name is looked at.
"""

import re
import socket
from collections.abc import Iterable
from functools import lru_cache

from gateway.guard.addresses import Address, address_of
from gateway.guard.incoming import Incoming
from gateway.problems import Problem

# Never in the public DNS: RFC 6761, RFC 6762, ICANN's resolution of 2024 for internal, RFC 8375.
_PRIVATE = (".localhost", ".local", ".internal", ".home.arpa")
_PORT = re.compile(r":\d{0,5}$")
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,253}[a-z0-9_])?")


class Hosts:
    """The names that are ours.

    Args:
        allowed: Further ones, `http.allowed_hosts`: a name, `*.domain`, or `*` for all.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        names = [_plain(each) for each in allowed]
        self._is_open = "*" in names
        self._domains = tuple(each[1:] for each in names if each.startswith("*."))
        self._names = {socket.gethostname().lower(), *names}
        self._is_ours = lru_cache(maxsize=256)(self._look_at)  # it is nearly always the same

    def check(self, incoming: Incoming) -> None:
        """See that the request calls us by a name of ours; HTTP/1.0 may call without one.

        Raises:
            Problem: The name is a stranger's.
        """
        if not all(self._is_ours(each, incoming.own) for each in incoming.all("host")):
            raise Problem(
                "misdirected",
                "the name in the Host header is not known here; if this service is meant, list the "
                "name in http.allowed_hosts",
            )

    def _look_at(self, said: str, own: Address | None) -> bool:
        host = _plain(said)
        address = address_of(host)
        if address is not None:  # an address cannot be given to somebody else
            return not address.is_global or address == own or self._is_listed(host)
        if not _NAME.fullmatch(host):
            return False
        # Names of one label are the network's own (a container's, a machine's), never a domain's.
        return "." not in host or host.endswith(_PRIVATE) or self._is_listed(host)

    def _is_listed(self, host: str) -> bool:
        return self._is_open or host in self._names or host.endswith(self._domains)


def _plain(host: str) -> str:
    return _PORT.sub("", host.strip().lower()).removesuffix(".")
