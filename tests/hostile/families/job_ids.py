"""Job ids: malformed, used twice, and those of another camera."""

from dataclasses import replace
from typing import Any

from tests.hostile.case import (
    BASE,
    COMPLETED,
    OTHER,
    PLAIN,
    REPEAT,
    UNIQUE,
    Cases,
    Shot,
    as_json,
    case,
    of_shots,
    picture,
    rejected,
    shown,
)
from tests.hostile.wire import user_property

_REFUSED: tuple[Any, ...] = (
    "",
    "a b",
    "a/b",
    "a.b",
    "../../etc/passwd",
    "a\n",
    "a\0",
    "käse",
    "\uff11\uff12\uff13",
    "a" * 65,
    "#",
    "'; DROP TABLE jobs; --",
    5,
    True,
    [],
    {},
)


def cases() -> Cases:
    for value in _REFUSED:
        yield case(shown(value), as_json(job_id=value), rejected("bad_field"))
    for value in (UNIQUE, UNIQUE.ljust(64, "_"), "-" + UNIQUE, "_" + UNIQUE):
        yield case(f"sound: {shown(value)}", as_json(job_id=value), COMPLETED, image=PLAIN)
    for value in ("", "a b", "a" * 65):
        properties = user_property("job_id", value)
        name = f"{shown(value)}, as a property"
        yield case(name, picture(), rejected("bad_field"), properties=properties)
    yield from _used_twice()


def _used_twice() -> Cases:
    """An id is a key within its camera, and nothing to any other."""
    small = as_json(job_id=UNIQUE, location="another", priority="critical")
    own = Shot(as_json(job_id=UNIQUE), COMPLETED, image=PLAIN)
    others = replace(own, topic=f"{BASE}/{OTHER}/frame")
    again = replace(own, expect=REPEAT)
    yield of_shots("the same frame twice", own, again)
    yield of_shots("an id twice with another picture", own, replace(again, payload=small))
    yield of_shots("another camera's id", others, own)
    yield of_shots("another camera's id with another picture", others, replace(own, payload=small))
    yield of_shots("another camera's id, three times", others, own, again, again)
    named = user_property("job_id", UNIQUE)
    binary = Shot(picture(), COMPLETED, properties=named, image=picture())
    theirs = replace(binary, topic=f"{BASE}/{OTHER}/frame")
    yield of_shots("another camera's id, as a property", theirs, binary)
