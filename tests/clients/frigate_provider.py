"""Frigate's own class for a GenAI provider, asked once.

Run in the environment of `make test-clients`: `python frigate_provider.py SOURCE < job`. The job is
JSON: `{"config": {…}, "ask": "object|review|summary|context|models", "images": [base64 …]}`; what
Frigate makes of the answer is printed as JSON.
"""

import base64
import importlib
import importlib.util
import json
import logging
import sys
import types
from pathlib import Path
from typing import Any

SOURCE = Path(sys.argv[1])
sys.path[:0] = [str(Path(__file__).parents[1] / "frigate"), str(SOURCE)]

import stand_ins  # noqa: E402

stand_ins.install()
if importlib.util.find_spec("frigate.version") is None:  # its build makes this file
    version = types.ModuleType("frigate.version")
    version.VERSION = "0.0.0-test"  # type: ignore[attr-defined]
    sys.modules["frigate.version"] = version

from frigate import genai  # noqa: E402
from frigate.config import CameraConfig, GenAIConfig  # noqa: E402
from frigate.models import Event  # noqa: E402

REVIEW = {
    "id": "1",
    "camera": "front_door",
    "start": "Monday, 09:00 AM",
    "duration": 12,
    "zones": ["porch"],
    "unified_objects": ["person", "dog"],
}
EVENTS = [
    {
        "title": "Person at the door",
        "scene": "A person walks to the door and waits.",
        "confidence": 0.9,
        "potential_threat_level": 0,
        "camera": "front_door",
        "time": "09:00 AM",
        "context": [{"title": "Van in the drive", "camera": "driveway"}],
    },
    {
        "title": "Stranger's car",
        "scene": "A car stops.",
        "confidence": 0.5,
        "potential_threat_level": 1,
        "camera": "driveway",
        "time": "11:30 PM",
    },
]


def camera_config() -> Any:
    """A camera that has objects described, with Frigate's own prompt."""
    inputs = [{"path": "rtsp://127.0.0.1:1/video", "roles": ["detect"]}]
    wants: dict[str, Any] = {"enabled": True}
    own = (
        {"genai": wants} if "genai" in CameraConfig.model_fields else {"objects": {"genai": wants}}
    )
    return CameraConfig(
        name="front_door",
        ffmpeg={"inputs": inputs},
        detect={"height": 720, "width": 1280, "fps": 5},
        **own,
    )


def ask(client: Any, what: str, images: list[bytes]) -> Any:
    if what == "object":
        event = Event(id="1", label="dog", camera="front_door", data={})
        describe = getattr(client, "generate_object_description", None)
        describe = describe or client.generate_description
        return describe(camera_config(), images, event)
    if what == "review":
        found = client.generate_review_description(
            REVIEW, images, ["a dog without a lead"], None, False, "Dogs are usual here."
        )
        return None if found is None else found.model_dump()
    if what == "summary":
        return client.generate_review_summary(0.0, 86400.0, EVENTS, None, False)
    if what == "context":
        return client.get_context_size()
    return client.list_models()


def main() -> None:
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    logging.getLogger("frigate.genai").setLevel(logging.DEBUG)  # says what of a review is not valid
    job = json.load(sys.stdin)
    config = GenAIConfig(**job["config"])
    folder = SOURCE / "frigate" / "genai" / "plugins"
    plugins = "frigate.genai.plugins" if folder.exists() else "frigate.genai"
    importlib.import_module(f"{plugins}.{config.provider.value}")  # others want more packages
    client = genai.PROVIDERS[config.provider](config)
    images = [base64.b64decode(each) for each in job["images"]]
    sys.stdout.write(json.dumps({"said": ask(client, job["ask"], images)}))


main()
