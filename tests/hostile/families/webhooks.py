"""Webhooks that a frame asks for: where to, and with which headers."""

from typing import Any

from tests.hostile.case import (
    BASE,
    COMPLETED,
    CONFIGURED,
    PLAIN,
    PORT,
    SECRET,
    Cases,
    as_json,
    case,
    picture,
    rejected,
    shown,
)
from tests.hostile.families.urls import COVERED, REFUSED

URL = f"http://127.0.0.1:{PORT}/hook"

#: Taken, and sent along only where they do not steer the exchange; `server.py` looks.
_HEADERS: dict[str, dict[str, str]] = {
    "a token": {"Authorization": f"Bearer {SECRET}"},
    "empty value": {"X-Empty": ""},
    "every letter of a name": {"!#$%&'*+.^_`|~-azAZ09": "x"},
    "longest": {"x" * 128: "y" * 2048},
    "as many as may be": {f"X-{number}": "y" for number in range(32)},
    "host": {"Host": "example.com", "hOsT": "example.org"},
    "length": {"Content-Length": "0"},
    "chunks": {"Transfer-Encoding": "chunked"},
    "another type": {"Content-Type": "text/html"},
    "a signature": {"webhook-signature": "v1,forged", "Webhook-Id": "forged"},
    "upgrade": {"Connection": "upgrade", "Upgrade": "websocket", "Expect": "100-continue"},
    "agent": {"User-Agent": "forged"},
    "proxy": {"Proxy-Authorization": "Basic x", "Proxy-Connection": "keep-alive"},
}
_BAD_HEADERS: dict[str, Any] = {
    "a list": ["X: y"],
    "a text": "X: y",
    "a number": 5,
    "value is a number": {"X-A": 5},
    "value is null": {"X-A": None},
    "value is a list": {"X-A": ["b"]},
    "empty name": {"": "x"},
    "blank in a name": {"X A": "x"},
    "colon in a name": {"X:": "x"},
    "line end in a name": {"X-A\r\nX-B": "x"},
    "line end in a value": {"X-A": "a\r\nX-B: c"},
    "bare line feed in a value": {"X-A": "a\nb"},
    "zero character": {"X-A": "a\0b"},
    "no ASCII in a name": {"X-Ä": "x"},
    "no ASCII in a value": {"X-A": "ä"},
    "surrogate": {"X-A": "\ud800"},
    "one too many": {f"X-{number}": "y" for number in range(33)},
    "ten thousand": {f"X-{number}": "y" * 100 for number in range(10_000)},
    "name too long": {"x" * 129: "x"},
    "value too long": {"X-A": "y" * 2049},
}


def cases() -> Cases:
    for name, headers in _HEADERS.items():
        payload = as_json(webhook_url=URL, webhook_headers=headers)
        yield case(name, payload, COMPLETED, image=PLAIN)
    for name, bad in _BAD_HEADERS.items():
        payload = as_json(webhook_url=URL, webhook_headers=bad)
        yield case(name, payload, rejected("bad_field"))
    without_url = as_json(webhook_headers={"Authorization": SECRET})
    yield case("headers without a URL", without_url, COMPLETED, image=PLAIN)
    topic = f"{BASE}/{CONFIGURED}/frame"
    yield case("the operator's own", picture(), COMPLETED, topic=topic)
    payload = as_json(webhook_url=URL)
    yield case("a sender's on the operator's camera", payload, COMPLETED, topic=topic)
    for url in REFUSED:
        payload = as_json(webhook_url=url)
        yield case(shown(url), payload, rejected("url_refused"))
    either = COMPLETED | rejected("url_refused")
    for host in COVERED:
        yield case(shown(host), as_json(webhook_url=f"https://{host}/x"), either)
