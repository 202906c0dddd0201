"""Topics: cameras that cannot be, topics of our own, and near misses of them."""

from tests.hostile.case import (
    BASE,
    BROKER,
    CAMERA,
    COMPLETED,
    SILENT,
    UNIQUE,
    Cases,
    case,
    picture,
    shown,
    unrouted,
)

#: Names of cameras beside the usual ones.
_SOUND = (
    CAMERA.rjust(64, "a"),
    f"-{CAMERA}-",
    f"__{CAMERA}",
    f"BRIDGE{CAMERA}",
    f"bridge-{CAMERA}",
    f"null{CAMERA}",
    "0",
    "-",
    "BRIDGE",
    "status",
    "response",
)
#: Levels where a camera should stand.
_NO_CAMERAS = (
    "bridge",
    "",
    " ",
    "two words",
    "front ",
    "a" * 65,
    "a" * 60_000,
    "käse",
    "front\u0301",
    "\uff11\uff12",
    "a.b",
    ".",
    "..",
    "$SYS",
    "%2e%2e",
    "%00",
    "a\\b",
    "a:b",
    "'; DROP TABLE jobs; --",
    "<script>",
    "{camera}",
    "<camera>",
    "%s%n",
    "\u202etnorf",
    "\u200b",
    "\ufeff",
    "\U0001f4a9",
    "\ue000",
)
#: What no subscription of ours matches. Some are what we publish ourselves, here forged.
_OTHERS = (
    f"{BASE}/frame",
    f"{BASE}/{CAMERA}",
    f"{BASE}/{CAMERA}/frames",
    f"{BASE}/{CAMERA}/Frame",
    f"{BASE}/{CAMERA}/frame/",
    f"{BASE}/{CAMERA}/frame/1",
    f"{BASE}/a/{CAMERA}/frame",
    f"{BASE}//{CAMERA}/frame",
    f"/{BASE}/{CAMERA}/frame",
    f"{BASE.upper()}/{CAMERA}/frame",
    f"{BASE}{CAMERA}/frame",
    f"x/{BASE}/{CAMERA}/frame",
    f"{CAMERA}/frame",
    "frame",
    "/",
    " ",
    f"{BASE}/{CAMERA}/status",
    f"{BASE}/{CAMERA}/caption",
    f"{BASE}/bridge/dead_letter",
    f"{BASE}/bridge/state",
    f"{BASE}/response/{CAMERA}/1",
    f"homeassistant/sensor/{CAMERA}/config",
)
#: What the broker itself must not take, or may not.
_BROKERS = (
    "",
    "#",
    f"$share/group/{BASE}/{CAMERA}/frame",
    f"{BASE}/#",
    f"{BASE}/+/frame",
    f"{BASE}/{CAMERA}+/frame",
    f"{BASE}/{CAMERA}\0/frame",
    f"{BASE}/{CAMERA}\n/frame",
    f"{BASE}/{CAMERA}\x7f/frame",
    f"{BASE}/{CAMERA}\x9b/frame",
    f"{BASE}/{CAMERA}\ufffe/frame",
    f"{BASE}/{CAMERA}\ufdd0/frame",
    f"{BASE}/{CAMERA}" + "/x" * 300,
)
_BROKEN_UTF8 = (
    b"hostile/\xff\xfe/frame",
    b"hostile/\xc0\xaf/frame",
    b"hostile/\xed\xa0\x80/frame",
    b"hostile/\xf4\x90\x80\x80/frame",
)


def cases() -> Cases:
    for camera in _SOUND:
        yield case(shown(camera), picture(), COMPLETED, topic=f"{BASE}/{camera}/frame")
    for level in _NO_CAMERAS:
        topic = f"{BASE}/{level}/frame"
        yield case(shown(topic), picture(), unrouted("bad_topic"), topic=topic)
    for topic in _OTHERS:
        yield case(shown(topic), picture(), SILENT, topic=topic)
    refused = BROKER | SILENT | unrouted("bad_topic")
    for topic in _BROKERS:
        yield case(shown(topic), picture(), refused, topic=topic, is_alone=True)
    for raw in _BROKEN_UTF8:
        topic = raw.decode("utf-8", "surrogateescape")
        yield case(shown(raw), picture(), refused, topic=topic, is_alone=True)
    forged = f'{{"job_id":"{UNIQUE}","camera_id":"{CAMERA}","status":"completed"}}'.encode()
    topic = f"{BASE}/{CAMERA}/status"
    yield case("a forged status", forged, SILENT, topic=topic, retain=True)
