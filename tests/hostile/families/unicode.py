"""Texts that terminals, logs, databases and topics may choke on; a frame may say them all."""

from tests.hostile.case import BROKER, COMPLETED, PLAIN, Cases, as_json, case, rejected, with_text
from tests.hostile.wire import user_property

#: Would begin a line of its own in a log that does not escape.
FORGED = "\nFORGED LINE"

_TEXTS = {
    "zero character": "a\0b",
    "forged line": FORGED,
    "forged line, other ends": "a\r\nFORGED LINE\x85FORGED LINE\u2028FORGED LINE\u2029FORGED LINE",
    "terminal escapes": "\x1b]0;owned\x07\x1b[2J\x1b[31m",
    "backspaces": "safe\b\b\b\bevil",
    "delete and C1": "\x7f\x80\x9b31m",
    "right to left": "\u202ephoto\u2066.exe\u2069",
    "zero width": "a\u200b\u200c\u200d\u2060\ufeffb",
    "combining": "Z" + "\u0301" * 200,
    "emoji sequence": "👩‍👩‍👧‍👦🏳️‍🌈",
    "beyond the first plane": "\U0001f600\U0010ffff",
    "non-characters": "\ufffe\uffff\U0001ffff",
    "private use": "\ue000\U000f0000",
    "decomposed": "e\u0301 é ﬁ \u017f K",
    "capitals that grow": "ß ŉ ǰ ΐ" * 20,
    "format strings": "%s%s%s%n {0.__class__} ${x} %(levelname)s",
    "SQL": "'; DROP TABLE jobs; --",
    "markup": "<img src=x onerror=alert(1)>",
}
_FIELDS = ("location", "prompt", "metadata")


def cases() -> Cases:
    for name, text in _TEXTS.items():
        everywhere = {"location": text, "prompt": text, "metadata": {text: text}}
        yield case(name, as_json(**everywhere), COMPLETED, image=PLAIN)
        for field in ("job_id", "camera_id", "priority", "length", "no field " + text):
            payload = as_json(**{field: text})
            yield case(f"{name} as {field[:9]}", payload, rejected("bad_field"))
    for field in _FIELDS:
        for name, text in (("high", "\\ud800"), ("low", "\\udc00"), ("swapped", "\\udc00\\ud800")):
            value = f'{{"a":"{text}"}}' if field == "metadata" else f'"{text}"'
            payload = with_text(field, value)
            yield case(f"{name} surrogate in {field}", payload, rejected("bad_field"))
    pair = with_text("location", '"\\ud83d\\ude00"')
    yield case("surrogate pair", pair, COMPLETED, image=PLAIN)
    key = with_text("\\ud800", "1")
    yield case("surrogate as a field", key, rejected("bad_field"))
    # The broker may not take all of them, and libraries do not read all that it takes.
    either = COMPLETED | BROKER | rejected("bad_field")
    for name, text in _TEXTS.items():
        alone = {"properties": user_property("location", text), "is_alone": True}
        yield case(f"{name}, as a property", PLAIN, either, image=PLAIN, **alone)
