"""Payloads that no camera should send, from a seed: wrong in wrapping, type, size, depth or place.

None carries a job id, so that whatever is accepted all the same gets one of its own and can be
counted. Images that are wrong inside are in `tests.images_corpus`.
"""

import base64
import json
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tests.factories import make_image

_CAMERAS = ("front", "back", "a" * 64, "Z-_9")
_NO_CAMERAS = ("bridge", "two words", "a" * 65, "käse", ".", "..", "$SYS", "%00", "a.b", "")
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


@dataclass(frozen=True, slots=True)
class Payload:
    """One message."""

    level: str  #: of the topic, where the camera stands
    data: bytes
    options: tuple[tuple[str, str], ...] = ()


def malformed(seed: int, num_payloads: int) -> Iterator[Payload]:
    """The corpus, then mixtures of it until there are enough."""
    rng = random.Random(seed)
    num_left = num_payloads
    for payload in _corpus():
        if num_left:
            yield payload
            num_left -= 1
    kinds = (_json, _mutated_json, _base64, _bytes, _properties, _misplaced)
    for _ in range(num_left):
        yield rng.choice(kinds)(rng)


def _image(rng: random.Random) -> bytes:
    form = rng.choice(("JPEG", "PNG", "WEBP"))
    return _IMAGES.setdefault(form, make_image(7, (32, 24), form))


_IMAGES: dict[str, bytes] = {}


def _corpus() -> Iterator[Payload]:
    image = make_image(7, (32, 24))
    text = base64.b64encode(image).decode()
    for data in (
        b"",
        b" ",
        b"\x00" * 1000,
        b"{",
        b"{}",
        b"[]",
        b"null",
        b"\xef\xbb\xbf{}",
        b'{"frame_data":',
        b'{"a":' * 20_000,
        b"[" * 1_000_000,
        b'{"frame_data":"' + b"A" * 100_000,
        b'{"metadata":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}",
        json.dumps({"frame_data": text, "metadata": {"a": "x" * 9000}}).encode(),
        b'{"motion_intensity":1e999,"frame_data":"%s"}' % text.encode(),
        b'{"max_age":' + b"9" * 5000 + b"}",
        b'{"max_age":NaN}',
        b'{"camera_id":"\\ud800"}',
        b'{"camera_id":"a","camera_id":"b"}',
        b'{"\xff\xfe":1}',
        b"data:image/jpeg;base64,",
        b"data:image/svg+xml;base64," + text.encode(),
        b"data:text/html,<script>",
        text.encode()[:-3] + b"!!!",
        text.encode().replace(b"/", b"_").replace(b"+", b"-"),
        b"/9j/" + b"A" * 10_000,
        b"iVBORw0KGgo" + b"=" * 100,
        b"GIF89a" + b"\x00" * 100,
        b"<html></html>",
        b"motion detected",
    ):
        yield Payload("front", data)


def _json(rng: random.Random) -> Payload:
    """A frame with wrong or surprising fields."""
    content: dict[str, Any] = {"frame_data": base64.b64encode(_image(rng)).decode()}
    for _ in range(rng.randrange(1, 4)):
        content[rng.choice(_FIELDS)] = rng.choice(_VALUES)
    return Payload(rng.choice(_CAMERAS), json.dumps(content).encode())


def _mutated_json(rng: random.Random) -> Payload:
    """A sound frame with damage anywhere."""
    content = {
        "frame_data": base64.b64encode(_image(rng)).decode(),
        "motion_intensity": 0.5,
        "tasks": ["caption", {"query": "What is it?"}],
        "metadata": {"zone": "entrance", "score": 0.9},
    }
    return Payload(rng.choice(_CAMERAS), _damage(rng, json.dumps(content).encode()))


def _base64(rng: random.Random) -> Payload:
    text = base64.b64encode(_image(rng))
    prefix = rng.choice((b"", b"", b"data:image/png;base64,", b"data:image/;base64,", b"data:,"))
    return Payload(rng.choice(_CAMERAS), prefix + _damage(rng, text))


def _bytes(rng: random.Random) -> Payload:
    magic = rng.choice((b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBP", b"{"))
    return Payload(rng.choice(_CAMERAS), magic + rng.randbytes(rng.randrange(2000)))


def _properties(rng: random.Random) -> Payload:
    """A sound image whose options are not."""
    options = []
    for _ in range(rng.randrange(1, 4)):
        # The broker itself cuts off who sends control characters or broken UTF-8 in a property.
        value = str(rng.choice(_VALUES)).encode("ascii", "replace").decode()[:1000]
        options.append((rng.choice(_FIELDS), re.sub(r"[\x00-\x1f]", "?", value)))
    return Payload(rng.choice(_CAMERAS), _image(rng), tuple(options))


def _misplaced(rng: random.Random) -> Payload:
    """A sound image of a camera that cannot be."""
    return Payload(rng.choice(_NO_CAMERAS), _image(rng))


def _damage(rng: random.Random, data: bytes) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.randrange(1, 4)):
        place = rng.randrange(len(damaged))
        match rng.randrange(4):
            case 0:
                damaged[place] = rng.randrange(256)
            case 1:
                del damaged[place : place + rng.randrange(1, 20)]
            case 2:
                damaged[place:place] = rng.randbytes(rng.randrange(1, 20))
            case 3:
                del damaged[place:]
        damaged = damaged or bytearray(b"{")
    return bytes(damaged)
