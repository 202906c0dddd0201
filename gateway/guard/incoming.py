"""What a request says before its body: read once, looked at by every check."""

from collections.abc import Mapping, Sequence
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
    headers: Mapping[str, Sequence[str]]  #: every value, by its name in lower case
    header_bytes: int  #: names and values, without what stands between
    peer: Address | None  #: of the connection
    own: Address | None  #: where it came in
    scheme: str
    version: str  #: of HTTP

    @classmethod
    def of(cls, scope: Scope) -> "Incoming":
        """Of a scope of kind `http`."""
        path = scope["path"]
        client, server = scope.get("client"), scope.get("server")
        headers: dict[str, list[str]] = {}
        num_bytes = 0
        for name, value in scope["headers"]:
            num_bytes += len(name) + len(value)
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        return cls(
            scope["method"],
            path,
            scope.get("raw_path") or path.encode(),
            headers,
            num_bytes,
            address_of(client[0]) if client else None,
            address_of(server[0]) if server else None,
            scope.get("scheme", "http"),
            scope.get("http_version", "1.1"),
        )

    def all(self, name: str) -> Sequence[str]:
        """Every value of a header."""
        return self.headers.get(name, ())

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        values = self.headers.get(name)
        return values[0] if values else None

    @property
    def is_proxied(self) -> bool:
        """Whether somebody passes it on, so that the connection's address says nothing."""
        return any(name in _OF_PROXIES or name.startswith("x-forwarded-") for name in self.headers)

    @property
    def is_https(self) -> bool:
        """Whether the browser speaks https, perhaps with a proxy in front."""
        return self.scheme == "https" or self.header("x-forwarded-proto") == "https"

    @property
    def wants_page(self) -> bool:
        """Whether a browser asks for something to show."""
        return self.method == "GET" and "text/html" in (self.header("accept") or "")
