"""MQTT 5 properties: malformed ones, too many, and response topics that point elsewhere."""

from tests.hostile.case import (
    BASE,
    BROKER,
    CAMERA,
    COMPLETED,
    OTHER,
    PLAIN,
    Case,
    Cases,
    as_json,
    case,
    picture,
    rejected,
)
from tests.hostile.wire import (
    content_type,
    correlation_data,
    message_expiry,
    payload_format,
    response_topic,
    subscription_identifier,
    topic_alias,
    user_property,
)

_OWN = f"{BASE}/response/{CAMERA}"

#: Where a frame of the camera may have its answer.
_ANSWERED = {
    "plain": f"{_OWN}/1",
    "empty level": f"{_OWN}/",
    "empty levels": f"{_OWN}///1",
    "dots": f"{_OWN}/../{OTHER}/1",
    "a dollar": f"{_OWN}/$SYS",
    "blanks": f"{_OWN}/ / ",
    "other letters": f"{_OWN}/käse/雨",
    "thirty-two levels": _OWN + "/x" * 29,
    "256 bytes": f"{_OWN}/".ljust(256, "x"),
}
#: Where it may not; the frame is captioned all the same.
_UNANSWERED = {
    "thirty-three levels": _OWN + "/x" * 30,
    "205 levels": _OWN + "/" * 203,
    "205 levels of nothing before": f"{BASE}/response" + "/" * 205,
    "257 bytes": f"{_OWN}/".ljust(257, "x"),
    "sixty thousand bytes": f"{_OWN}/".ljust(60_000, "x"),
    "another camera's": f"{BASE}/response/{OTHER}/1",
    "a request's": f"{BASE}/response/requests/1",
    "nobody's": f"{BASE}/response/1",
    "a longer name": f"{_OWN}x/1",
    "a shorter name": f"{BASE}/response/{CAMERA[:-1]}/1",
    "capitals": f"{BASE}/RESPONSE/{CAMERA}/1",
    "its own frames": f"{BASE}/{CAMERA}/frame",
    "another camera's frames": f"{BASE}/{OTHER}/frame",
    "another camera's status": f"{BASE}/{OTHER}/status",
    "another camera's caption": f"{BASE}/{OTHER}/caption",
    "another camera's settings": f"{BASE}/{OTHER}/set/prompt",
    "state of the bridge": f"{BASE}/bridge/state",
    "a request to the bridge": f"{BASE}/bridge/request/queue/clear",
    "the bridge's answers": f"{BASE}/bridge/response/1",
    "system": "$SYS/broker/version",
    "shared": f"$share/a/{_OWN}/1",
    "discovery": "homeassistant/switch/door/config",
    "a light": "zigbee2mqtt/light/set",
    "a slash": "/",
    "slash in front": f"/{_OWN}/1",
}
#: What the broker may refuse, and what must go nowhere where it does not.
_BROKERS: dict[str, bytes] = {
    "response topic with a wildcard": response_topic(f"{_OWN}/#"),
    "response topic with a plus": response_topic(f"{BASE}/response/+/1"),
    "empty response topic": response_topic(""),
    "response topic with a zero": response_topic(f"{_OWN}/\0"),
    "response topic with a line end": response_topic(f"{_OWN}/a\nb"),
    "response topic that is no UTF-8": response_topic(b"hostile/response/\xff"),
    "two response topics": response_topic(f"{_OWN}/1") + response_topic(f"{_OWN}/2"),
    "two correlations": correlation_data(b"1") + correlation_data(b"2"),
    "two content types": content_type("a") + content_type("b"),
    "topic alias": topic_alias(1),
    "topic alias zero": topic_alias(0),
    "topic alias too great": topic_alias(65_535),
    "subscription identifier": subscription_identifier(1),
    "two payload formats": payload_format(0) + payload_format(0),
    "two expiries": message_expiry(1) + message_expiry(1),
    "unknown property": b"\x7e\x00",
    "property of CONNECT": b"\x11\x00\x00\x00\x00",
    "half a property": b"\x26\x00\x05ab",
    "cut off": b"\x26",
    "user property with a zero": user_property("location", "a\0b"),
    "user property with a line end": user_property("location", "a\nb"),
    "user property that is no UTF-8": user_property("location", b"\xff\xfe"),
    "user property of a surrogate": user_property("location", b"\xed\xa0\x80"),
    "user property with a name of zeros": user_property(b"\0\0", "x"),
}
#: What Mosquitto passes on, and libraries hang up on; another broker may refuse it.
_UNREADABLE: dict[str, bytes] = {
    "payload format of two": payload_format(2),
    "payload format of 255": payload_format(255),
    "byte order mark in a value": user_property("location", "\ufeffb"),
    "byte order mark in a name": user_property("\ufeff", "b"),
    "byte order mark in a response topic": response_topic(f"{_OWN}/\ufeff"),
    "byte order mark in a content type": content_type("\ufeff"),
}
_SOUND: dict[str, bytes] = {
    "nothing known": user_property("traceparent", "00-4bf9-01") + user_property("", ""),
    "capitals are another name": user_property("PRIORITY", "urgent"),
    "blanks are another name": user_property("priority ", "urgent"),
    "the last of two counts": user_property("priority", "urgent")
    + user_property("priority", "low"),
    "two hundred": b"".join(user_property(f"x{n}", "y" * 50) for n in range(200)),
    "three thousand": b"".join(user_property("x", "y") for n in range(3000)),
    "sixty thousand bytes in one": user_property("x", "y" * 60_000),
    "names of methods": user_property("model_config", "x") + user_property("__class__", "y"),
    "content type of a script": content_type("text/html; <script>"),
    "text, which it is not": payload_format(1),
    "expires in a minute": message_expiry(60),
    "never expires": message_expiry(2**32 - 1),
    "correlation without a topic": correlation_data(b"\0" * 100),
    "JSON only": user_property("tasks", "[]"),
}
_BAD_FIELDS: dict[str, tuple[str, str]] = {
    "priority": ("priority", "urgent"),
    "empty priority": ("priority", ""),
    "camera of another form": ("camera_id", "a/b"),
    "length": ("length", "tiny"),
    "empty prompt": ("prompt", ""),
    "prompt too long": ("prompt", "x" * 2001),
    "location too long": ("location", "x" * 257),
    "headers are no object": ("webhook_headers", "[]"),
    "headers with a line end": ("webhook_headers", '{"X-A": "a\\r\\nX-B: c"}'),
}


def cases() -> Cases:
    for name, topic in _ANSWERED.items():
        yield _response(f"answer: {name}", topic, topic)
    for name, topic in _UNANSWERED.items():
        yield _response(f"no answer: {name}", topic, None)
    yield from _correlated()
    for name, encoded in _BROKERS.items():
        either = BROKER | COMPLETED
        yield case(name, picture(), either, properties=encoded, is_alone=True)
    for name, encoded in _UNREADABLE.items():
        unread = BROKER | rejected("bad_field")
        yield case(name, picture(), unread, properties=encoded, is_alone=True)
    for name, encoded in _SOUND.items():
        is_json = name == "JSON only"
        payload = as_json() if is_json else PLAIN
        yield case(name, payload, COMPLETED, properties=encoded, image=PLAIN)
    for name, (field, text) in _BAD_FIELDS.items():
        properties = user_property(field, text)
        yield case(name, PLAIN, rejected("bad_field"), properties=properties)
    other = user_property("camera_id", OTHER)
    yield case("another camera", PLAIN, rejected("camera_mismatch"), properties=other)
    refused = user_property("webhook_url", "http://127.0.0.1/") + response_topic(f"{_OWN}/1")
    yield case("a refused frame's answer", PLAIN, rejected("url_refused"), properties=refused)


def _response(name: str, topic: str, answer_on: str | None) -> Case:
    properties = response_topic(topic) + correlation_data(b"1")
    return case(
        name, picture(), COMPLETED, properties=properties, image=picture(), answer_on=answer_on
    )


def _correlated() -> Cases:
    topic = f"{_OWN}/2"
    for name, data in (
        ("empty", b""),
        ("zeros", b"\0" * 16),
        ("no UTF-8", b"\xff\xfe\x80"),
        ("large", b"x" * 60_000),
    ):
        yield case(
            f"correlation: {name}",
            picture(),
            COMPLETED,
            properties=response_topic(topic) + correlation_data(data),
            answer_on=topic,
        )
