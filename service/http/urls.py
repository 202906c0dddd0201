"""Which addresses may be reached: the guard between a URL and a socket.

A URL in a frame was written by whoever may publish to the broker, and a name can resolve to
anything, differently each time. So the rule is applied where the connection is made: the guard
looks the name up itself, refuses the whole answer when one address of it is forbidden, and connects
to the address it has checked. No second lookup exists that could answer otherwise.
"""

import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

import httpcore
import httpx

from service.errors import ConfigurationError, UrlRefusedError
from service.http.exchange import BoundedStream
from service.http.resolver import SystemResolver

MAX_URL_CHARACTERS = 2048
_MAX_HOST_CHARACTERS = 253  # of a name in the DNS

# Names, with the underscores of container networks, and addresses; no escapes, no zones.
_HOST = re.compile(rb"[A-Za-z0-9_-][A-Za-z0-9._-]*|[0-9A-Fa-f:][0-9A-Fa-f:.]*")

Address = IPv4Address | IPv6Address
AddressRule = Callable[[Address], bool]
#: Host name and port to addresses as text; raises OSError when there is no answer.
Resolver = Callable[[str, int], Awaitable[Sequence[str]]]

# Loopback, RFC 1918, addresses shared behind a carrier (also Tailscale's), RFC 4193.
_PRIVATE = tuple(
    ip_network(each)
    for each in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "::1/128",
        "fc00::/7",
    )
)
# Services that hand credentials to whoever can reach them; the others are link-local.
_METADATA = frozenset(map(ip_address, ("100.100.100.200", "fd00:ec2::254", "fd20:ce::254")))
# Own tables: `is_global` is true for NAT64, 6to4, fec0::1 and multicast on Pythons in use.
_SPECIAL_V4 = tuple(
    ip_network(each)
    for each in (
        "0.0.0.0/8",
        "169.254.0.0/16",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")))


def is_public(address: Address) -> bool:
    """Whether it is an ordinary address of the Internet."""
    plain = _unmapped(address)
    if isinstance(plain, IPv6Address):
        return plain in _GLOBAL_V6 and not any(plain in network for network in _SPECIAL_V6)
    return not any(plain in network for network in (*_PRIVATE, *_SPECIAL_V4))


def is_public_or_private(address: Address) -> bool:
    """Whether it is public, or one of a house's own; never link-local, multicast, unspecified."""
    plain = _unmapped(address)
    if plain in _METADATA:
        return False
    return is_public(plain) or any(plain in network for network in _PRIVATE)


def _unmapped(address: Address) -> Address:
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def parse_url(text: str) -> httpx.URL:
    """Read a URL with the parser that later sends it: two parsers may disagree on the host.

    Raises:
        UrlRefusedError: It is not an http or https URL with a host.
    """
    if len(text) > MAX_URL_CHARACTERS:
        raise UrlRefusedError(f"a URL has at most {MAX_URL_CHARACTERS} characters")
    if any(character <= " " or character in "\\\x7f" for character in text):
        raise UrlRefusedError("a URL has no blanks, control characters or backslashes")
    try:
        url = httpx.URL(text)
        _ = url.host  # read by httpx later, and only then found to be no name: `xn--.example.com`
    except (httpx.InvalidURL, ValueError) as error:
        raise UrlRefusedError("this is not a URL") from error
    if url.scheme not in {"http", "https"}:
        raise UrlRefusedError("a URL must begin with http:// or https://")
    if len(url.raw_host) > _MAX_HOST_CHARACTERS or not _HOST.fullmatch(url.raw_host):
        raise UrlRefusedError("a URL must name a host by name or address")
    if url.port is not None and not 1 <= url.port <= 65535:
        raise UrlRefusedError("a port is from 1 to 65535")
    return url


def origin(url: str) -> str:
    """The part of a URL that may be logged: user, path and query can hold secrets."""
    try:
        return _origin_of(parse_url(url))
    except UrlRefusedError:
        return "(unreadable URL)"


def _origin_of(url: httpx.URL) -> str:
    host = _host_of(url)
    port = "" if url.port is None else f":{url.port}"
    return f"{url.scheme}://{f'[{host}]' if ':' in host else host}{port}"


def _host_of(url: httpx.URL) -> str:
    return url.raw_host.decode("ascii").lower().rstrip(".")


@dataclass(frozen=True, slots=True)
class _Entry:
    host: str  #: with `is_pattern` the end of a name, from its dot; empty: any name
    port: int | None
    is_pattern: bool

    def matches(self, host: str, port: int | None) -> bool:
        if self.port is not None and port != self.port:
            return False
        return host.endswith(self.host) if self.is_pattern else host == self.host


class AllowedHosts:
    """The hosts that URLs in frames may name.

    Args:
        entries: `host`, `host:port`, `*.domain` or `*`. A host that is listed by its name may have
            a private address; one that only a pattern covers may not.
        setting: Where the entries come from, for messages.

    Raises:
        ConfigurationError: An entry is none of these.
    """

    def __init__(self, entries: Iterable[str], setting: str) -> None:
        self._setting = setting
        self._entries = tuple(self._read(entry) for entry in entries)

    def _read(self, text: str) -> _Entry:
        shown = text.rpartition("@")[2]  # before it may stand a password
        if text == "*":
            return _Entry("", None, is_pattern=True)
        name = text.removeprefix("*.")
        is_bare_ipv6 = name.count(":") > 1 and not name.startswith("[")
        try:
            url = parse_url(f"http://[{name}]" if is_bare_ipv6 else f"http://{name}")
        except UrlRefusedError as error:
            raise ConfigurationError(f"{self._setting}: {shown!r}: {error}") from error
        host = _host_of(url)
        if url.path != "/" or url.query or url.fragment or url.userinfo or "*" in host:
            raise ConfigurationError(
                f"{self._setting}: {shown!r} must be a host, host:port, *.domain or *"
            )
        is_pattern = name != text
        # httpx leaves out a scheme's own port; here `host:80` must not mean any port.
        port = 80 if url.port is None and name.endswith(":80") and not is_bare_ipv6 else url.port
        return _Entry(f".{host}" if is_pattern else host, port, is_pattern)

    def rule(self, url: httpx.URL) -> AddressRule:
        """Say which addresses the host of `url` may have.

        Raises:
            UrlRefusedError: No entry covers the URL.
        """
        if url.userinfo:
            raise UrlRefusedError(f"{_origin_of(url)}: a URL in a frame has no user or password")
        port = url.port or (443 if url.scheme == "https" else 80)
        found = [entry for entry in self._entries if entry.matches(_host_of(url), port)]
        if not found:
            raise UrlRefusedError(f"{_origin_of(url)} is not in {self._setting}")
        return is_public if all(entry.is_pattern for entry in found) else is_public_or_private


class UrlPolicy:
    """Answers intake before a frame is accepted; the addresses are checked when connecting.

    Args:
        webhooks: Hosts a `webhook_url` may name.
        fetch: Hosts a `frame_url` may name.
    """

    def __init__(self, webhooks: AllowedHosts, fetch: AllowedHosts) -> None:
        self._webhooks = webhooks
        self._fetch = fetch

    def check_webhook(self, url: str) -> None:
        """Raise UrlRefusedError unless a frame may have its result sent there."""
        self._webhooks.rule(parse_url(url))

    def check_fetch(self, url: str) -> None:
        """Raise UrlRefusedError unless a frame may have its image fetched there."""
        self._fetch.rule(parse_url(url))


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to checked addresses only, and bounds what an answer may cost.

    Args:
        resolve: Looks names up.
        is_allowed: The rule each address must pass.
        inner: Makes the connections.
    """

    def __init__(
        self, resolve: Resolver, is_allowed: AddressRule, inner: httpcore.AsyncNetworkBackend
    ) -> None:
        self._resolve = resolve
        self._is_allowed = is_allowed
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first address of `host` that answers.

        Raises:
            UrlRefusedError: One of its addresses is forbidden; nothing was contacted.
            httpcore.ConnectError: It has no address, or none answers.
        """
        failure: httpcore.ConnectError | httpcore.ConnectTimeout | None = None
        for address in await self._checked_addresses(host, port):
            try:
                stream = await self._inner.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return BoundedStream(stream)
        raise failure or httpcore.ConnectError("the host has no address")

    async def _checked_addresses(self, host: str, port: int) -> list[str]:
        try:
            found = await self._resolve(host, port)
        except OSError as error:
            # httpx translates httpcore's errors only.
            raise httpcore.ConnectError(f"the host name lookup failed: {error}") from error
        addresses = list(dict.fromkeys(found))
        for address in addresses:
            if not self._passes(address):
                raise UrlRefusedError(f"{host} resolves to an address that is not allowed")
        return addresses

    def _passes(self, address: str) -> bool:
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        # A zone names an interface; only link-local addresses have one.
        return "%" not in address and self._is_allowed(parsed)


class GuardedTransport(httpx.AsyncHTTPTransport):
    """httpx's transport with a guarded backend; it has no argument for one."""

    def __init__(self, backend: GuardedBackend, ssl_context: ssl.SSLContext) -> None:
        super().__init__(verify=ssl_context, trust_env=False)
        if not isinstance(getattr(self, "_pool", None), httpcore.AsyncConnectionPool):
            raise RuntimeError("this httpx keeps its connections elsewhere: the guard cannot work")
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl_context, max_connections=1, network_backend=backend
        )


class GuardedHttp:
    """Makes HTTP clients that reach allowed addresses only.

    One client serves one exchange: a kept connection would pass the guard unchecked, and requests
    cancelled while they wait for a pool can leave it useless for ever.

    Args:
        resolve: Looks names up.
        backend: Makes the connections.
        ssl_context: Checks certificates, against the name in the URL.
    """

    def __init__(
        self,
        resolve: Resolver | None = None,
        backend: httpcore.AsyncNetworkBackend | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self._resolve = resolve or SystemResolver()
        self._backend = backend or httpcore.AnyIOBackend()
        # Shared: making one costs 16 ms.
        self._ssl_context = ssl_context or httpx.create_ssl_context()

    def client(self, is_allowed: AddressRule, timeout_s: float) -> httpx.AsyncClient:
        """Return a client for one exchange.

        Args:
            is_allowed: The rule for the addresses it connects to.
            timeout_s: Limit of each step of the exchange. A limit on the whole is the caller's: a
                byte now and then satisfies every step for ever.
        """
        backend = GuardedBackend(self._resolve, is_allowed, self._backend)
        return httpx.AsyncClient(
            transport=GuardedTransport(backend, self._ssl_context),
            # A first address that swallows packets must leave time for the second.
            timeout=httpx.Timeout(timeout_s, connect=timeout_s / 3),
            follow_redirects=False,
            trust_env=False,
        )
