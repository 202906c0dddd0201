"""Requests that no route can mean: strange methods and paths, too many headers."""

import re

from gateway.guard.incoming import Incoming
from gateway.problems import Problem

_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})
#: Beyond them somebody wants to fill memory; browsers send about 20.
MAX_HEADERS = 100
MAX_HEADER_BYTES = 16 << 10  # names and values, without what stands between
MAX_PATH_BYTES = 2048
# No id and no name of ours has them; behind proxies they are how one path is taken for another.
_ENCODED = re.compile(rb"%(2f|5c|00|2e)", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# But OpenAI's client asks for the model `owner/name` so; nothing lies behind it.
_MODEL = re.compile(rb"(/v1)?/models/[a-z0-9._~-]+%2f[a-z0-9._~-]+", re.IGNORECASE)


def check_request(incoming: Incoming) -> None:
    """See that the request can mean something here.

    Raises:
        Problem: It cannot.
    """
    num_headers = sum(map(len, incoming.headers.values()))
    if num_headers > MAX_HEADERS or incoming.header_bytes > MAX_HEADER_BYTES:
        raise Problem(
            "header_too_large",
            f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them",
        )
    if incoming.method not in _METHODS:
        raise Problem(
            "method_not_allowed", f"methods here are {', '.join(sorted(_METHODS))}, no others"
        )
    _check_framing(incoming)
    if not _is_plain(incoming):
        raise Problem("not_found", "no path here has '..', '//', '\\' or encoded slashes")


def _check_framing(incoming: Incoming) -> None:
    """See that whoever passes a request on cannot have understood another one (RFC 9112).

    Raises:
        Problem: For whom it is, or where it ends, could be seen differently.
    """
    num_hosts = len(incoming.all("host"))
    if num_hosts > 1 or (num_hosts == 0 and incoming.version == "1.1"):
        raise Problem("bad_request", "exactly one Host header is required")
    codings = incoming.all("transfer-encoding")
    if codings and incoming.header("content-length"):
        raise Problem("bad_request", "Content-Length and Transfer-Encoding exclude each other")
    if codings and [each.lower() for each in codings] != ["chunked"]:
        raise Problem("not_implemented", "Transfer-Encoding: only chunked is understood")


def _is_plain(incoming: Incoming) -> bool:
    path = incoming.path
    if not path.startswith("/") or len(incoming.raw_path) > MAX_PATH_BYTES:
        return False
    is_model = _MODEL.fullmatch(incoming.raw_path)  # its path is looked at all the same
    if (
        (_ENCODED.search(incoming.raw_path) and not is_model)
        or _CONTROL.search(path)
        or "\\" in path
    ):
        return False
    return "//" not in path and not {".", ".."} & set(path.split("/"))
