"""What a hostile sender sends, and what must become of it: plain data.

Outcomes are words, as they are seen from outside:

    completed       it was captioned
    rejected CODE   refused on the camera's status topic, and with a dead letter
    unrouted CODE   refused with a dead letter only: the topic names no camera
    failed CODE     accepted, and ended so; in the same way dropped, expired, duplicate, cancelled
    repeat          the camera's job with this id was there already and is the only one
    silent          nothing, because it is none of ours: another topic, a replay
    broker          the broker refused it, or cut its sender off

Placeholders stand for what is known only when a case is sent. They are as long as what replaces
them, so that no length written around them changes.
"""

import base64
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from tests.hostile.wire import Protocol
from tests.support.factories import make_image

BASE = "hostile"
CAMERA = "CAMERA-A"  #: the camera of the case
OTHER = "CAMERA-B"  #: another one
UNIQUE = "UNIQUE-TOKEN"  #: never the same twice
PORT = "PORT0"  #: of the HTTP server on this machine
CONFIGURED = "configured"  #: a camera whose webhook the operator has set, secrets and all
FRAME = f"{BASE}/{CAMERA}/frame"
#: Stands wherever a secret can stand; must not come out anywhere. It is base64 of 27 bytes.
SECRET = "HostileTestSecretDoNotShowItAnywhere"  # noqa: S105 - that is what it is for

COMPLETED = frozenset({"completed"})
SILENT = frozenset({"silent"})
BROKER = frozenset({"broker"})
REPEAT = frozenset({"repeat"})

#: What a message can be refused with by who reads it, its image not looked at.
READING_CODES = frozenset(
    {
        "empty_payload",
        "payload_too_large",
        "bad_json",
        "bad_field",
        "bad_base64",
        "not_an_image",
        "camera_mismatch",
    }
)
#: What an image can be refused with.
IMAGE_CODES = frozenset(
    {
        "image_truncated",
        "image_corrupt",
        "image_animated",
        "image_too_small",
        "not_an_image",
        "side_too_long",
        "too_many_bytes",
        "too_many_pixels",
        "too_many_scans",
    }
)


def rejected(*codes: str) -> frozenset[str]:
    return frozenset(f"rejected {code}" for code in codes)


def unrouted(*codes: str) -> frozenset[str]:
    return frozenset(f"unrouted {code}" for code in codes)


def failed(*codes: str) -> frozenset[str]:
    return frozenset(f"failed {code}" for code in codes)


@dataclass(frozen=True, slots=True)
class Shot:
    """One message."""

    payload: bytes = field(repr=False)
    expect: frozenset[str]  #: any of these outcomes
    topic: str = FRAME
    properties: bytes = b""  #: encoded; with any, the case is for MQTT 5 alone
    qos: int | None = None  #: None: whichever is tried
    retain: bool = False
    dup: bool = False
    image: bytes | None = field(default=None, repr=False)  #: what must be found in it
    size: tuple[int, int] | None = None  #: of the picture once decoded, where it is known
    answer_on: str | None = None  #: where the final document must come as well
    packet: bytes | None = field(default=None, repr=False)  #: sent in place of a PUBLISH
    is_will: bool = False  #: published by the broker, because its sender is lost
    is_early: bool = False  #: published before the service starts
    is_alone: bool = False  #: over a connection of its own, which the broker may cut


@dataclass(frozen=True, slots=True)
class Case:
    """Messages that belong together; at most one for each camera is answered."""

    name: str
    shots: tuple[Shot, ...]
    protocols: tuple[Protocol, ...] = ("3.1.1", "5")


PLAIN = make_image(7, (32, 24))
BASE64 = base64.b64encode(PLAIN)

Cases = Iterator[Case]


def case(name: str, payload: bytes, expect: frozenset[str], **fields: Any) -> Case:
    """A case of one message."""
    return of_shots(name, replace(Shot(payload, expect), **fields))


def of_shots(name: str, *shots: Shot) -> Case:
    has_properties = any(shot.properties for shot in shots)
    return Case(name, shots, ("5",) if has_properties else ("3.1.1", "5"))


def shown(value: object) -> str:
    """The value in the name of a case."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:40]}… of {len(text)}"


def as_json(**fields: Any) -> bytes:
    """A JSON frame of `PLAIN`, with these fields besides."""
    return json.dumps({"frame_data": BASE64.decode(), **fields}).encode()


def with_text(field: str, text: str) -> bytes:
    """The same, with a field whose value is this very text."""
    return b'{"frame_data":"' + BASE64 + f'","{field}":{text}}}'.encode("utf-8", "surrogatepass")


def picture(seed: int = 7, size: tuple[int, int] = (32, 24)) -> bytes:
    """A sound JPEG with a placeholder in it, so that it is never the same twice."""
    comment = UNIQUE.encode()
    jpeg = make_image(seed, size)
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2) + comment + jpeg[2:]


def damage(rng: random.Random, data: bytes) -> bytes:
    """The bytes with one to three things wrong anywhere; never empty."""
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
