"""URLs of images: where a sender would like the service to go, and what waits there."""

import json

from tests.hostile.case import COMPLETED, PORT, SECRET, Cases, case, failed, rejected, shown

#: A name that may be asked for by its pattern; RFC 2606 promises that nobody ever has it.
WILDCARD = "*.hostile.invalid"
#: What `server.py` answers with, by path, and what becomes of the frame.
_ANSWERS: dict[str, frozenset[str]] = {
    "/good.jpg": COMPLETED,
    "/good.jpg?token=" + SECRET: COMPLETED,
    "/redirect": failed("fetch_failed"),
    "/missing": failed("fetch_failed"),
    "/broken": failed("fetch_failed"),
    "/compressed": failed("fetch_failed"),
    "/empty": failed("not_an_image"),
    "/page": failed("not_an_image"),
    "/bomb": failed("too_many_pixels", "side_too_long"),
    "/endless": failed("too_many_bytes", "fetch_failed"),
    "/endless-head": failed("fetch_failed"),
    "/slow-head": failed("fetch_failed"),
    "/silence": failed("fetch_failed"),
    "/no-http": failed("fetch_failed"),
}

#: The allowed host in other letters. What is compared is what is connected to.
_DISGUISES = ("127。0。0。1", "①②⑦.⓪.⓪.①", "\uff11\uff12\uff17.0.0.1", "127.0.0.1.")

#: No URL, no host that is allowed, or an address dressed up as something else.
REFUSED = (
    "1.jpg",
    "//127.0.0.1/1.jpg",
    "http:",
    "http://",
    "http:///1.jpg",
    "http://:80/1.jpg",
    "http://?",
    "http:/127.0.0.1/1.jpg",
    "ftp://127.0.0.1/1.jpg",
    "file:///etc/passwd",
    "gopher://127.0.0.1:1883/_",
    "data:image/jpeg;base64,/9j/",
    "javascript:alert(1)",
    "HTTP+UNIX://%2Frun%2Fdocker.sock/1.jpg",
    "jar:http://127.0.0.1!/1.jpg",
    "http://127.0.0.1/1.jpg",
    "http://127.0.0.1:1883/1.jpg",
    "http://localhost/1.jpg",
    f"http://localhost:{PORT}/good.jpg",
    "http://0.0.0.0/1.jpg",
    "http://[::1]/1.jpg",
    "http://[::]/1.jpg",
    f"http://[::ffff:127.0.0.1]:{PORT}/good.jpg",
    "http://[fe80::1%25eth0]/1.jpg",
    "http://[::1/1.jpg",
    "http://10.0.0.1/1.jpg",
    "http://192.168.1.1/1.jpg",
    "http://169.254.169.254/latest/meta-data/",
    "http://metadata.google.internal/",
    f"http://2130706433:{PORT}/good.jpg",
    f"http://0x7f000001:{PORT}/good.jpg",
    f"http://0177.0.0.1:{PORT}/good.jpg",
    f"http://127.1:{PORT}/good.jpg",
    f"http://127.0.0.1.:{PORT}0/good.jpg",
    f"http://127.0.0.1:{PORT}@example.com/1.jpg",
    f"http://example.com@127.0.0.1:{PORT}/good.jpg",
    f"http://user:{SECRET}@127.0.0.1:{PORT}/good.jpg",
    f"http://:{SECRET}@127.0.0.1:{PORT}/good.jpg",
    f"http://example.com#@127.0.0.1:{PORT}/good.jpg",
    f"http://example.com\\@127.0.0.1:{PORT}/good.jpg",
    f"http://127.0.0.1:{PORT}\\.example.com/1.jpg",
    f"http://127.0.0.1:{PORT}.example.com/1.jpg",
    f"http://127.0.0.1%00.example.com:{PORT}/1.jpg",
    "http://127.0.0.1:0/1.jpg",
    "http://127.0.0.1:65536/1.jpg",
    "http://127.0.0.1:-1/1.jpg",
    "http://127.0.0.1:80a/1.jpg",
    "http://127.0.0.1:99999999999999999999/1.jpg",
    "http://evilhostile.invalid/1.jpg",
    "http://hostile.invalid/1.jpg",
    "http://a.hostile.invalid.example.com/1.jpg",
    "http://a b.hostile.invalid/1.jpg",
    "http://a\n.hostile.invalid/1.jpg",
    f"http://127.0.0.1:{PORT}/\r\nX-Injected: 1",
    f"http://127.0.0.1:{PORT}/\0",
    f"http://127.0.0.1:{PORT}/ good.jpg",
    f"http://127.0.0.1:{PORT}/\x7f",
    "http://ʰost.ﬁ/1.jpg",
    "http://münchen.example/1.jpg",
    "http://\U0001f4a9.example/1.jpg",
)

#: Names that the pattern covers, or that a parser may stumble over on the way to it.
COVERED = (
    "a.hostile.invalid",
    "A.HOSTILE.INVALID",
    "a.hostile.invalid.",
    "a.hostile.invalid..",
    "..hostile.invalid",
    "a..hostile.invalid",
    "-.hostile.invalid",
    "_._.hostile.invalid",
    "a" * 63 + ".hostile.invalid",
    "a" * 64 + ".hostile.invalid",
    ".".join(["a" * 60] * 5) + ".hostile.invalid",
    ".".join(["a"] * 400) + ".hostile.invalid",
    "xn--.hostile.invalid",
    "XN--.hostile.invalid",
    "xn--a.hostile.invalid",
    "xn--0.hostile.invalid",
    "xn---.hostile.invalid",
    "xn--99999999999.hostile.invalid",
    "xn--mnchen-3ya.hostile.invalid",
    "xn--" + "a" * 59 + ".hostile.invalid",
    "xn--" + "9" * 200 + ".hostile.invalid",
    "xn--xn--.hostile.invalid",
    "a.xn--.hostile.invalid",
    "münchen.hostile.invalid",
    "\u00df.hostile.invalid",
    "\u200d.hostile.invalid",
    "a\u0301.hostile.invalid",
    "\U0001f4a9.hostile.invalid",
    "%61.hostile.invalid",
    "1.2.3.4.hostile.invalid",
)


def cases() -> Cases:
    for path, expect in _ANSWERS.items():
        url = f"http://127.0.0.1:{PORT}{path}"
        yield case(path.replace(SECRET, "secret"), _frame(url), expect)
    either = COMPLETED | rejected("url_refused") | failed("fetch_failed")
    for host in _DISGUISES:
        url = f"http://{host}:{PORT}/good.jpg"
        yield case(shown(host), _frame(url), either)
    for url in REFUSED:
        yield case(shown(url), _frame(url), rejected("url_refused"))
    anything = rejected("url_refused", "bad_field") | failed("url_refused", "fetch_failed")
    for host in COVERED:
        yield case(shown(host), _frame(f"http://{host}/1.jpg"), anything)
    for name, url in (("empty", ""), ("2,049 characters", "http://a/".ljust(2049, "a"))):
        yield case(name, _frame(url), rejected("bad_field"))


def _frame(url: str) -> bytes:
    return json.dumps({"frame_url": url}).encode()
