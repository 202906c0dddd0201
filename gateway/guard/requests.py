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
    size = sum(len(name) + len(value) for name, value in incoming.headers)
    if len(incoming.headers) > MAX_HEADERS or size > MAX_HEADER_BYTES:
        raise Problem(
            "header_too_large",
            f"more than {MAX_HEADERS} headers or {MAX_HEADER_BYTES} bytes of them",
        )
    if incoming.method not in _METHODS:
        raise Problem(
            "method_not_allowed", f"methods here are {', '.join(sorted(_METHODS))}, no others"
        )
    if incoming.header("transfer-encoding") and incoming.header("content-length"):
        # Where one request ends and the next begins is then seen differently by a proxy.
        raise Problem("bad_request", "Content-Length and Transfer-Encoding exclude each other")
    if not _is_plain(incoming):
        raise Problem("not_found", "no path here has '..', '//', '\\' or encoded slashes")


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
