"""A device as Home Assistant discovers it: what it is, and its entities.

Ids are what Home Assistant remembers an entity by: they depend on the base topic, the camera and
the entity's key, never on a name, a language or an order. Keys of components are Home Assistant's
short forms, because a device with all its entities is one message.
"""

import hashlib
import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field

from broker.topics import Topics

PROGRAM = "moondream2mqtt"
BRIDGE = "bridge"

#: Short keys; "p" is the platform.
Component = dict[str, object]

_GERMAN = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss"})
_MOST_SLUG_CHARACTERS = 40
_HASH_DIGITS = 6


@dataclass(frozen=True, slots=True)
class Device:
    """One device."""

    object_id: str  #: of the discovery topic, and beginning of the unique ids
    about: dict[str, object]  #: "dev": ids, name, mf, mdl, sw, via_device
    components: dict[str, Component]  #: by key


@dataclass(slots=True)
class Components:
    """The components of a device, one after the other.

    Args:
        object_id: Of the device.
        entity_prefix: Beginning of the proposed entity ids.
        availability: Topic that says whether the service runs.
    """

    object_id: str
    entity_prefix: str
    availability: str
    by_key: dict[str, Component] = field(default_factory=dict)

    def add(self, key: str, platform: str, name: str, **details: object) -> None:
        """Add an entity that is unavailable while the service is."""
        self.add_always_available(key, platform, name, avty_t=self.availability, **details)

    def add_always_available(self, key: str, platform: str, name: str, **details: object) -> None:
        """Add an entity that is there as long as the broker is."""
        self.by_key[key] = {
            "p": platform,
            "name": name,
            "uniq_id": f"{self.object_id}_{key}",
            # What it is called in automations, whatever the language of its name.
            "def_ent_id": f"{platform}.{slug(f'{self.entity_prefix}_{key}')}",
            **details,
        }


def object_id(topics: Topics, name: str) -> str:
    """Id of the device `name` below a base topic; no two base topics give the same."""
    base = topics.base
    if base == PROGRAM:
        return f"{base}_{name}"
    return f"{re.sub(r'[^A-Za-z0-9_]', '_', base)}_{short_hash(base)}_{name}"


def slug(text: str) -> str:
    """Lower case letters, digits and single `_` inside; empty where there are none."""
    lower = text.lower().translate(_GERMAN)
    ascii_only = unicodedata.normalize("NFKD", lower).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "_", ascii_only).strip("_")


def unique_slugs(texts: list[str], is_ambiguous: Callable[[str], bool]) -> dict[str, str]:
    """A slug for each different text, whatever their order.

    A slug gets a hash as well where it says too little, belongs to another text, or is ambiguous.
    A text that is a slug comes first: what is added later does not take it away.

    Args:
        texts: May hold one twice.
        is_ambiguous: Whether a slug can be taken for something else.
    """
    found: dict[str, str] = {}
    for text in sorted(set(texts), key=lambda text: (text != slug(text), text)):
        short = slug(text)[:_MOST_SLUG_CHARACTERS].strip("_")
        if not short or short != slug(text) or short in found.values() or is_ambiguous(short):
            short = f"{short}_{short_hash(text)}".strip("_")
        found[text] = short
    return {text: found[text] for text in texts}


def short_hash(text: str) -> str:
    """Six hexadecimal digits that tell texts apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:_HASH_DIGITS]
