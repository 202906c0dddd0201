"""Pages of others in the browser of somebody who may: what they can make that browser send.

A browser says whose page a request comes from. Reading needs no check, because the answer is not
shown to that page; everything else is refused unless the page is ours or listed.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from gateway.guard.incoming import Incoming
from gateway.problems import Problem

_READING = frozenset({"GET", "HEAD"})
_CORS_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE"
_CORS_HEADERS = (
    b"authorization, content-type, idempotency-key, last-event-id, x-api-key, x-moondream-auth, "
    b"x-priority"
)
_EXPOSED = b"retry-after, x-vram-used, x-vram-total"

Headers = list[tuple[bytes, bytes]]


class Origins:
    """The web pages that may call.

    Args:
        allowed: Those of others, `http.cors_origins`: `https://host[:port]`, or `*` for all.
    """

    def __init__(self, allowed: Iterable[str]) -> None:
        self._allowed = frozenset(each.lower().rstrip("/") for each in allowed)

    def check(self, incoming: Incoming, *, is_ingress: bool) -> None:
        """See that a page that makes the browser do something is ours or listed.

        Args:
            incoming: The request.
            is_ingress: Behind Home Assistant the page's host is not the one that we are called by.

        Raises:
            Problem: It is a stranger's.
        """
        origin = incoming.header("origin")
        if incoming.method in _READING or self._is_listed(origin):
            return
        is_cross = incoming.header("sec-fetch-site") == "cross-site"
        if is_cross or not (is_ingress or origin is None or _is_own(origin, incoming)):
            raise Problem(
                "forbidden",
                "this comes from a web page of another host; list its origin in http.cors_origins, "
                "or let the proxy pass the Host header on",
            )

    def preflight(self, incoming: Incoming) -> Headers | None:
        """The answer to a browser that asks whether a listed page may send; None: it is none."""
        asked = incoming.method == "OPTIONS" and incoming.header("access-control-request-method")
        if not asked or not self._is_listed(incoming.header("origin")):
            return None
        return [
            *self.headers(incoming),
            (b"access-control-allow-methods", _CORS_METHODS),
            (b"access-control-allow-headers", _CORS_HEADERS),
            (b"access-control-max-age", b"600"),
        ]

    def headers(self, incoming: Incoming) -> Headers:
        """What lets a listed page read the answer, and keeps others from showing it."""
        if not self._allowed:
            return [(b"cross-origin-resource-policy", b"same-origin")]
        headers = [(b"cross-origin-resource-policy", b"cross-origin"), (b"vary", b"Origin")]
        origin = incoming.header("origin")
        if origin is not None and self._is_listed(origin):
            headers += [
                (b"access-control-allow-origin", origin.encode("latin-1")),
                (b"access-control-expose-headers", _EXPOSED),
            ]
        return headers

    def _is_listed(self, origin: str | None) -> bool:
        if origin is None or origin == "null":  # of a file, or of a frame without rights
            return False
        return "*" in self._allowed or origin.lower() in self._allowed


def _is_own(origin: str, incoming: Incoming) -> bool:
    """Whether host and port are those of the request; the scheme is the proxy's to say."""
    host = incoming.header("host")
    try:
        netloc = urlsplit(origin.lower()).netloc
    except ValueError:
        return False
    return host is not None and netloc == host.strip().lower()
