"""What a camera answered: a picture, or a sentence that says what it was instead.

Cameras and gateways say 200 to nearly everything: a camera that is off is an empty answer, a wrong
password is JSON, a session that has ended is a web page. So the bytes decide, never the status
alone. Pure.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.errors import ImageError
from engine.images import ImageLimits, inspect
from service.errors import FrameError
from service.http.urls import origin

_MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF")
#: What else cameras send as a picture, by its first bytes and where they stand.
_OTHER_PICTURES = (
    (0, b"GIF8", "a GIF"),
    (0, b"BM", "a BMP"),
    (0, b"II*\0", "a TIFF"),
    (0, b"MM\0*", "a TIFF"),
    (4, b"ftypavif", "an AVIF picture"),
    (4, b"ftyphei", "a HEIC picture"),
    (4, b"ftyp", "a video"),
    (0, b"\x00\x00\x00\x01", "raw video"),
    (0, b"RIFF", "a RIFF file that is no WebP"),
)
_MARKUP = re.compile(rb"\s*<(!doctype|html|head|body|\?xml|svg|[a-z]+[ >:])", re.IGNORECASE)
#: "Please log in first" and "login failed" of Reolink's API. Ten of them lock the account.
_REOLINK_REFUSED = frozenset({-6, -7})
_LONGEST_DETAIL = 80  # characters of what a camera says of its error
_MOST_JSON_BYTES = 65536
_REFUSED = frozenset({401, 403})


class AccessRefusedError(FrameError):
    """The camera does not take our account: asking again may lock it."""

    def __init__(self, message: str) -> None:
        super().__init__("fetch_failed", message)


def picture_of(
    status: int, headers: Mapping[str, str], body: bytes, url: str, limits: ImageLimits
) -> bytes:
    """The picture in an answer.

    Args:
        headers: Names without regard to case.
        url: It was asked of; only its origin is shown.
        limits: What an image may be.

    Raises:
        AccessRefusedError: The account is refused.
        FrameError: `fetch_failed`; the message says what came instead.
    """
    where = origin(url)
    if status in _REFUSED:
        scheme = re.match(r"\w{1,16}", headers.get("www-authenticate", ""))
        wanted = f"; it asks for {scheme[0].lower()}" if scheme else ""
        raise AccessRefusedError(f"{where} answered {status}: the account is refused{wanted}")
    if 300 <= status < 400:
        raise _failed(f"{where} answered {status}{_redirect(headers.get('location'), where)}")
    if status != 200:
        raise _failed(f"{where} answered {status}")
    if headers.get("x-frigate-offline", "").casefold() == "true":
        raise _failed(f"{where} says that the camera is offline")
    if not body:
        raise _failed(f"{where} answered without a picture: the camera is off or not reached")
    if not body.startswith(_MAGIC) or (body[:4] == b"RIFF" and body[8:12] != b"WEBP"):
        raise _no_picture(where, headers, body)
    try:
        inspect(body, limits)
    except ImageError as error:
        raise _failed(f"{where}: {error}") from error
    return body


def _failed(message: str) -> FrameError:
    return FrameError("fetch_failed", message)


def _redirect(location: str | None, where: str) -> str:
    """Where a redirect leads, as far as it may be shown; it can hold a token."""
    if not location:
        return ""
    is_elsewhere = "://" in location and origin(location) != where
    target = origin(location) if is_elsewhere else "another path there"
    return f", a redirect to {target}: redirects are not followed, set url to the address itself"


def _no_picture(where: str, headers: Mapping[str, str], body: bytes) -> FrameError:
    if _MARKUP.match(body[:512].removeprefix(b"\xef\xbb\xbf")):
        return _failed(f"{where} answered with a web page or XML, perhaps a login")
    if body.lstrip()[:1] in {b"{", b"["}:
        return _of_json(where, body)
    for place, magic, name in _OTHER_PICTURES:
        if body[place : place + len(magic)] == magic:
            return _failed(f"{where} sent {name}; JPEG, PNG and WebP are read")
    kind = re.match(r"[\w.+/-]{1,64}", headers.get("content-type", ""))
    said = f" ({kind[0]})" if kind else ""
    return _failed(f"{where} sent {len(body)} bytes{said} that are no JPEG, PNG or WebP")


def _of_json(where: str, body: bytes) -> FrameError:
    error = _error_in(body)
    code, detail = error.get("rspCode"), error.get("detail")
    if isinstance(code, bool) or not isinstance(code, int):
        return _failed(f"{where} answered with JSON in place of a picture")
    shown = ""
    if isinstance(detail, str):
        shown = ", " + re.sub(r"[^\x20-\x7e]", "?", detail[:_LONGEST_DETAIL])
    message = f"{where} answered with the error {code}{shown}"
    return AccessRefusedError(message) if code in _REOLINK_REFUSED else _failed(message)


def _error_in(body: bytes) -> dict[str, Any]:
    """The `error` of Reolink's answers; empty where there is none."""
    try:
        content = json.loads(body[:_MOST_JSON_BYTES].decode(errors="replace"), strict=False)
    except (ValueError, RecursionError):
        return {}
    first = content[0] if isinstance(content, list) and content else content
    error = first.get("error") if isinstance(first, dict) else None
    return error if isinstance(error, dict) else {}
