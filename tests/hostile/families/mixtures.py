"""Chance mixtures of everything, from a seed: other ones whenever the seed is another."""

import base64
import json
import random
import re
from collections.abc import Iterator
from typing import Any

from tests.hostile.case import (
    BASE,
    COMPLETED,
    IMAGE_CODES,
    READING_CODES,
    Case,
    Cases,
    case,
    damage,
    failed,
    picture,
    rejected,
    unrouted,
)
from tests.hostile.wire import user_property
from tests.support.factories import make_image

_NUM_CASES = 120
_SEED = 1

_FIELDS = (
    "camera_id",
    "frame_data",
    "frame_url",
    "motion_intensity",
    "priority",
    "timestamp",
    "location",
    "metadata",
    "prompt",
    "length",
    "tasks",
    "webhook_url",
    "webhook_headers",
    "max_age",
    "max_attempts",
    "no_such_field",
)
_VALUES: tuple[Any, ...] = (
    None,
    True,
    "",
    "x" * 3000,
    "\x00",
    "\ud800",
    -1,
    0,
    1.5,
    1e308,
    10**400,
    [],
    [[]],
    {},
    {"a": {"b": []}},
    "2024-01-01",
    "NaN",
    "../../etc/passwd",
    "http://127.0.0.1/",
    "critical\r\nX: y",
)
_NO_CAMERAS = ("bridge", "two words", "a" * 65, "käse", ".", "..", "$SYS", "%00", "a.b", "")
_MAGIC = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP", b"{")
_IMAGES = [make_image(7, (32, 24), form) for form in ("JPEG", "PNG", "WEBP")]

#: Any answer will do that has a known code.
_ANY = (
    COMPLETED
    | rejected(*READING_CODES, *IMAGE_CODES, "url_refused")
    | failed(*IMAGE_CODES, "fetch_failed", "url_refused")
)


def cases() -> Cases:
    return mixtures(_SEED, _NUM_CASES)


def mixtures(seed: int, num_cases: int) -> Iterator[Case]:
    rng = random.Random(seed)
    for number in range(num_cases):
        make = rng.choice((_json, _damaged_json, _base64, _bytes, _properties, _misplaced))
        yield make(rng, f"{make.__name__.strip('_')} {number} of seed {seed}")


def _json(rng: random.Random, name: str) -> Case:
    """A frame with wrong or surprising fields."""
    content: dict[str, Any] = {"frame_data": base64.b64encode(rng.choice(_IMAGES)).decode()}
    for _ in range(rng.randrange(1, 4)):
        content[rng.choice(_FIELDS)] = rng.choice(_VALUES)
    return case(name, json.dumps(content).encode(), _ANY)


def _damaged_json(rng: random.Random, name: str) -> Case:
    content = {
        "frame_data": base64.b64encode(rng.choice(_IMAGES)).decode(),
        "motion_intensity": 0.5,
        "tasks": ["caption", {"query": "What is it?"}],
        "metadata": {"zone": "entrance", "score": 0.9},
    }
    return case(name, damage(rng, json.dumps(content).encode()), _ANY)


def _base64(rng: random.Random, name: str) -> Case:
    text = base64.b64encode(rng.choice(_IMAGES))
    prefix = rng.choice((b"", b"", b"data:image/png;base64,", b"data:image/;base64,", b"data:,"))
    return case(name, prefix + damage(rng, text), _ANY)


def _bytes(rng: random.Random, name: str) -> Case:
    return case(name, rng.choice(_MAGIC) + rng.randbytes(rng.randrange(2000)), _ANY)


def _properties(rng: random.Random, name: str) -> Case:
    """A sound image whose options are not."""
    options = b""
    for _ in range(rng.randrange(1, 4)):
        # The broker itself cuts off who sends control characters or broken UTF-8 in a property.
        value = str(rng.choice(_VALUES)).encode("ascii", "replace").decode()[:1000]
        options += user_property(rng.choice(_FIELDS), re.sub(r"[\x00-\x1f]", "?", value))
    return case(name, rng.choice(_IMAGES), _ANY, properties=options)


def _misplaced(rng: random.Random, name: str) -> Case:
    """A sound image of a camera that cannot be."""
    topic = f"{BASE}/{rng.choice(_NO_CAMERAS)}/frame"
    return case(name, picture(), unrouted("bad_topic"), topic=topic)
