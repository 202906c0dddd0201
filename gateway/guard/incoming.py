"""What a request says before its body: read once, looked at by every check."""

from collections.abc import Iterator
from dataclasses import dataclass

from gateway.guard.addresses import Address, address_of
from gateway.guard.asgi import Scope

#: Set by proxies; a request with one of them comes from somebody else than its connection.
_OF_PROXIES = frozenset({"forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip"})


@dataclass(frozen=True, slots=True)
class Incoming:
    """A request's line and headers."""

    method: str
    path: str  #: decoded
    raw_path: bytes  #: as it was sent, without the query
    headers: tuple[tuple[str, str], ...]  #: names in lower case
    peer: Address | None  #: of the connection
    own: Address | None  #: where it came in
    scheme: str

    @classmethod
    def of(cls, scope: Scope) -> "Incoming":
        """Of a scope of kind `http`."""
        path = scope["path"]
        client, server = scope.get("client"), scope.get("server")
        return cls(
            scope["method"],
            path,
            scope.get("raw_path") or path.encode(),
            tuple(
                (name.decode("latin-1").lower(), value.decode("latin-1"))
                for name, value in scope["headers"]
            ),
            address_of(client[0]) if client else None,
            address_of(server[0]) if server else None,
            scope.get("scheme", "http"),
        )

    def all(self, name: str) -> Iterator[str]:
        """Every value of a header."""
        return (value for each, value in self.headers if each == name)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next(self.all(name), None)

    @property
    def is_proxied(self) -> bool:
        """Whether somebody passes it on, so that the connection's address says nothing."""
        return any(
            name in _OF_PROXIES or name.startswith("x-forwarded-") for name, _ in self.headers
        )

    @property
    def is_https(self) -> bool:
        """Whether the browser speaks https, perhaps with a proxy in front."""
        return self.scheme == "https" or self.header("x-forwarded-proto") == "https"

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks for something to show."""
        return self.method == "GET" and "text/html" in (self.header("accept") or "")
