"""Devices as Home Assistant discovers them, and Home Assistant's own judgement of them."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from broker.topics import Topics
from schemas.camera import CameraSettings
from service.homeassistant.bridge import BridgeFacts, bridge_device
from service.homeassistant.camera import camera_device
from service.homeassistant.device import Device
from service.homeassistant.words import Language, Words

ROOT = Path(__file__).resolve().parents[2]
SCHEMA_PYTHON = ROOT / ".venv-homeassistant-schema" / "bin" / "python"

BASE = "moondream2mqtt"
VERSION = "1.2.3"

#: Quotes, umlauts, braces of templates, line ends; some of them have the same slug.
ODD_LABELS = (
    "person",
    "Person",
    "caption",
    "count of cars",
    "Müllcontainer",
    "rotes Auto",
    'Tom\'s "old" \\ truck {{ x }} {% y %} {# z #}',
    "two\nlines",
    "人",
    "🚗",
    "x" * 300,
)

EVERYTHING = CameraSettings.model_validate(
    {
        "location": 'Haustür "vorn"',
        "prompt": "Wer ist da?",
        "publish_image": True,
        "snapshot_url": "http://camera.local/snapshot.jpg",
        "tasks": ["caption", {"query": "Is it raining?"}]
        + [{"detect": label} for label in ODD_LABELS],
    }
)
NOTHING = CameraSettings()

FACTS = BridgeFacts(
    version=VERSION,
    gpus=("NVIDIA RTX 4000", "NVIDIA L4"),
    models=("vikhyatk/moondream2", '/models/it\'s "mine"'),
    check_updates=True,
)
BARE_FACTS = BridgeFacts(version=VERSION, gpus=(), models=(), check_updates=False)


def make_camera(
    camera_id: str = "front_door",
    settings: CameraSettings = NOTHING,
    *,
    base: str = BASE,
    language: Language = "en",
    is_in_file: bool = True,
) -> Device:
    """A camera's device."""
    return camera_device(
        Topics(base), Words(language), camera_id, settings, version=VERSION, is_in_file=is_in_file
    )


def make_bridge(
    facts: BridgeFacts = BARE_FACTS, *, base: str = BASE, language: Language = "en"
) -> Device:
    """The service's device."""
    return bridge_device(Topics(base), Words(language), facts)


def all_devices(base: str = BASE, language: Language = "en") -> list[Device]:
    """The bridge, a camera with everything there is, and one with nothing but a name."""
    return [
        make_bridge(FACTS, base=base, language=language),
        make_camera("front_door", EVERYTHING, base=base, language=language, is_in_file=False),
        make_camera("Yard-2_", base=base, language=language),
    ]


@dataclass(frozen=True, slots=True)
class Rendering:
    """A template, and what Home Assistant makes of it."""

    template: str
    payload: str
    #: What its entity has from before; None for a command's template, which has no entity.
    attributes: Mapping[str, object] | None = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rendered:
    """What came out, and what was logged meanwhile."""

    text: str
    logged: tuple[str, ...]


class HomeAssistantSchemas:
    """A process that asks Home Assistant's own code; it ends with its context.

    One for many questions: its start takes two seconds.
    """

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [SCHEMA_PYTHON, "-m", "tests.homeassistant.schema_check"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        with self._process:  # closes its input, and waits
            pass

    def problems(self, *retained: Mapping[str, bytes]) -> list[str]:
        """What is wrong with the discovery messages of a broker, by topic; or of several."""
        decoded = [{topic: each[topic].decode() for topic in each} for each in retained]
        found: list[str] = self._ask(retained=decoded)["problems"]
        return found

    def render(self, *renderings: Rendering) -> list[Rendered]:
        """What templates make of payloads, one after the other."""
        wanted = [(each.template, each.payload, each.attributes) for each in renderings]
        found = self._ask(renderings=wanted)["renderings"]
        return [Rendered(each["text"], tuple(each["logged"])) for each in found]

    def _ask(self, **question: object) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"retained": [], "renderings": []} | question), file=self._process.stdin)
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process ended; its words are on standard error"
        answer: dict[str, Any] = json.loads(line)
        return answer
