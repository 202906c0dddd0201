"""A device as the messages that make Home Assistant know it.

Two forms: one message for the whole device (Home Assistant from 2024.11), or one for each
component. The same entities have the same unique ids in both. The messages are to be retained; an
empty one takes back what its topic said.
"""

import json
from collections.abc import Mapping

from service.homeassistant.device import PROGRAM, Component, Device


def device_messages(device: Device, prefix: str, *, gone: Mapping[str, str]) -> dict[str, bytes]:
    """One device as one message, by topic.

    Args:
        device: What it has now.
        prefix: Home Assistant's discovery prefix.
        gone: Platforms of components that were published once and are not wanted any more, by key.
            Home Assistant keeps what a new message only leaves out.
    """
    removed: dict[str, Component] = {
        key: {"p": platform} for key, platform in gone.items() if key not in device.components
    }
    message = {
        "dev": device.about,
        "o": _origin(device),
        "cmps": {**device.components, **removed},
    }
    return {f"{prefix}/device/{device.object_id}/config": _encode(message)}


def component_messages(device: Device, prefix: str) -> dict[str, bytes]:
    """One device as one message for each component, by topic."""
    return {
        f"{prefix}/{component['p']}/{device.object_id}/{key}/config": _encode(
            {
                **{name: value for name, value in component.items() if name != "p"},
                "dev": device.about,
                "o": _origin(device),
            }
        )
        for key, component in device.components.items()
    }


def _origin(device: Device) -> dict[str, object]:
    return {"name": PROGRAM, "sw": device.about["sw"]}


def _encode(message: dict[str, object]) -> bytes:
    return json.dumps(message, ensure_ascii=False, separators=(",", ":")).encode()
