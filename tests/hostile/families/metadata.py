"""Metadata, which comes back to everyone who listens: large, deep, odd, never ours."""

import json
from typing import Any

from tests.hostile.case import (
    COMPLETED,
    PLAIN,
    Cases,
    as_json,
    case,
    rejected,
    with_text,
)
from tests.hostile.wire import user_property

_LIMIT = 8 * 1024

_ACCEPTED: dict[str, Any] = {
    "as large as may be": {"a": "x" * (_LIMIT - len('{"a": ""}'))},
    "as large as may be, in other letters": {"a": "é" * ((_LIMIT - len('{"a": ""}')) // 2)},
    "empty key": {"": ""},
    "names of our own fields": {"job_id": "x", "camera_id": "y", "status": "completed"},
    "names of methods": {"__class__": 1, "__proto__": {"a": 1}, "constructor": None},
    "every type": {"a": None, "b": True, "c": 1, "d": 1.5, "e": "", "f": [], "g": {}},
    "great numbers": {"a": 10**300, "b": -(10**300), "c": 1e308, "d": 5e-324, "e": -0.0},
    "more than 64 bits": {"a": 2**63, "b": 2**64, "c": -(2**63) - 1},
    "markup": {"a": "<script>alert(1)</script>", "b": "{{ 7 * 7 }}", "c": "${jndi:ldap://x}"},
    "SQL": {"a": "'; DROP TABLE jobs; --"},
    "many keys": {str(number): 0 for number in range(800)},
    "lists in lists": {"a": [[[[[[[[[[[[[]]]]]]]]]]]]]},
    "zero characters": {"a": "\0", "\0": "a", "b": "a\0b"},
}

_REFUSED: dict[str, Any] = {
    "one byte too large": {"a": "x" * (_LIMIT - len('{"a": ""}') + 1)},
    "too large in other letters": {"a": "é" * (_LIMIT // 2)},
    "large": {"a": "x" * 100_000},
    "lone surrogate": {"a": "\ud800"},
    "lone surrogate as a key": {"\udfff": 1},
}


def cases() -> Cases:
    for name, metadata in _ACCEPTED.items():
        yield case(name, as_json(metadata=metadata), COMPLETED, image=PLAIN)
    for name, metadata in _REFUSED.items():
        yield case(name, as_json(metadata=metadata), rejected("bad_field"))
    yield case("last of two keys", with_text("metadata", '{"a":1,"a":2}'), COMPLETED, image=PLAIN)
    for name, text, code in (
        ("no JSON", "zone=1", "bad_json"),
        ("a list", "[1]", "bad_field"),
        ("deep", "[" * 20 + "]" * 20, "bad_json"),
        ("too large", json.dumps({"a": "x" * 9000}), "bad_field"),
        ("very large", json.dumps({"a": "x" * 65_000}), "bad_field"),
        ("a surrogate", '{"a":"\\ud800"}', "bad_field"),
        ("empty", "", "bad_json"),
    ):
        properties = user_property("metadata", text)
        yield case(f"{name}, as a property", PLAIN, rejected(code), properties=properties)
