"""Everything Home Assistant is told, as a file to read: `tests/data/homeassistant.json`.

    python -m tests.unit.service.homeassistant.snapshot

writes it anew. What changes there changes in every installation: an id that differs is an entity
that people lose, with its history.
"""

import json
from typing import Any

from service.homeassistant.messages import component_messages, device_messages
from tests.support.discovery import ROOT, all_devices

FILE = ROOT / "tests" / "data" / "homeassistant.json"

_PREFIX = "homeassistant"


def snapshot() -> str:
    """Whole devices in English, names in German, topics and one message of single components."""
    english, german = all_devices(language="en"), all_devices(language="de")
    by_device: dict[str, Any] = {}
    by_component: dict[str, bytes] = {}
    for device in english:
        messages = device_messages(device, _PREFIX, gone={"count_cat": "sensor"})
        by_device |= {topic: json.loads(payload) for topic, payload in messages.items()}
        by_component |= component_messages(device, _PREFIX)
    [example] = (topic for topic in by_component if "front_door/prompt" in topic)
    content = {
        "device": by_device,
        "components": {"topics": list(by_component), example: json.loads(by_component[example])},
        "de": {
            str(device.about["name"]): {
                key: component["name"] for key, component in device.components.items()
            }
            for device in german
        },
    }
    return json.dumps(content, ensure_ascii=False, indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(snapshot(), encoding="utf-8")
