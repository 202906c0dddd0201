"""The picture of a dashboard in the documentation: `make pictures`.

A real Home Assistant with its user interface looks at the service with the demonstration's cameras,
and a browser without a window at both. The card is the one that the page has for copying.
"""

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import httpx
import yaml

from broker.embedded import EmbeddedBroker
from demo.camera import SyntheticCamera, default_cameras, frame_document, story
from tests.homeassistant.core import Core
from tests.homeassistant.environments import NEWEST, ROOT
from tests.homeassistant.listener import Listener
from tests.homeassistant.program import Program
from tests.support.browser import find_browser, photograph

PICTURE = ROOT / "docs" / "home-assistant.png"
_PAGE = ROOT / "docs" / "how-to" / "home-assistant.md"
_BASE = "moondream2mqtt"
_SIZE = (1180, 850)
_NUM_FRAMES = 4  # of each camera's story: then somebody is there
_PATIENCE_S = 60.0

#: Beside the card of each camera.
_SERVICE = {
    "type": "entities",
    "title": "moondream2mqtt",
    "entities": [
        {"entity": "binary_sensor.moondream2mqtt_connectivity", "name": "Connection"},
        {"entity": "binary_sensor.moondream2mqtt_problem", "name": "Problem"},
        {"entity": "sensor.moondream2mqtt_model_state", "name": "Model"},
        {"entity": "sensor.moondream2mqtt_queue_size", "name": "Waiting frames"},
        {"entity": "sensor.moondream2mqtt_captions_per_minute", "name": "Captions per minute"},
        {"entity": "sensor.moondream2mqtt_latency_p50", "name": "Latency, median"},
        {"entity": "switch.moondream2mqtt_processing", "name": "Processing"},
        {"entity": "button.moondream2mqtt_clear_queue", "name": "Clear queue"},
    ],
}


def main() -> None:
    """Make the picture.

    Raises:
        SystemExit: Something that is needed is not there.
    """
    browser = find_browser()
    if not NEWEST.is_installed:
        sys.exit("Home Assistant is needed: make test-homeassistant")
    with tempfile.TemporaryDirectory(prefix="picture-") as folder:
        asyncio.run(_make(Path(folder), browser))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size:,} bytes")


async def _make(folder: Path, browser: str) -> None:
    cameras = default_cameras()[:2]
    async with (
        EmbeddedBroker(folder / "mosquitto") as broker,
        Listener(broker.port, _BASE) as listener,
        Program(folder / "service", _settings(broker.port, cameras)) as service,
    ):
        await service.start()
        await listener.ready()
        for camera in cameras:
            await _send(camera, listener)
        core = Core(NEWEST, folder / "core", broker.port)
        directory = core.directory
        _write_user_interface(directory, _board(cameras))
        async with core:
            for camera in cameras:
                await core.until(f"has_value('image.{camera.camera_id}_image')")
            await core.until("has_value('sensor.moondream2mqtt_latency_p50')", _PATIENCE_S)
            url = f"http://127.0.0.1:{_port(directory)}"
            await _enter(url, directory)
            page = f"{url}/local/enter.html"
            await asyncio.to_thread(photograph, browser, page, folder, _SIZE, PICTURE)


def _settings(port: int, cameras: list[SyntheticCamera]) -> dict[str, Any]:
    settings = {"publish_image": True, "tasks": ["caption", {"detect": "person"}]}
    return {
        "mqtt": {"port": port, "base_topic": _BASE},
        "model": {"name": str(ROOT / "demo" / "model"), "device": "cpu"},
        "stats_interval": 1,
        "cameras": {
            camera.camera_id: {**settings, "location": camera.location} for camera in cameras
        },
    }


async def _send(camera: SyntheticCamera, listener: Listener) -> None:
    """One story, up to a frame with somebody in it."""
    for number, frame in zip(range(_NUM_FRAMES), story(camera, camera.seed), strict=False):
        job_id = f"{camera.camera_id}-{number}"
        document = {**frame_document(camera, frame), "job_id": job_id}
        listener.publish_json(f"{camera.camera_id}/frame", document)
        await listener.end(job_id)


def _board(cameras: list[SyntheticCamera]) -> dict[str, Any]:
    [card] = re.findall(r"```yaml\n(type: .*?)```", _PAGE.read_text(), re.DOTALL)
    cards = [
        yaml.safe_load(
            card.replace("front_door", camera.camera_id).replace("Front door", camera.location)
        )
        for camera in cameras
    ]
    return {"views": [{"title": "Cameras", "cards": [*cards, _SERVICE]}]}


def _write_user_interface(directory: Path, board: dict[str, Any]) -> None:
    """What Home Assistant has to have at its start beyond what the tests need."""
    (directory / "packages").mkdir(parents=True)
    (directory / "www").mkdir()
    dashboard = {"mode": "yaml", "title": "Cameras", "filename": "board.yaml"}
    package = {"frontend": {}, "lovelace": {"dashboards": {"the-board": dashboard}}}
    (directory / "packages" / "picture.yaml").write_text(yaml.safe_dump(package))
    (directory / "board.yaml").write_text(yaml.safe_dump(board))
    done = {"done": ["core_config", "analytics", "integration"]}  # all but its first user
    storage = directory / ".storage"
    storage.mkdir()
    (storage / "onboarding").write_text(
        json.dumps({"version": 4, "minor_version": 1, "key": "onboarding", "data": done})
    )


def _port(directory: Path) -> int:
    text = (directory / "configuration.yaml").read_text()
    [port] = re.findall(r"server_port: (\d+)", text)
    return int(port)


async def _enter(url: str, directory: Path) -> None:
    """Make the first user, and a page that lets a browser in as that one."""
    client_id = f"{url}/"
    async with httpx.AsyncClient(base_url=url) as http:
        user = {
            "client_id": client_id,
            "name": "Demo",
            "username": "demo",
            "password": "demonstration",
            "language": "en",
        }
        made = await http.post("/api/onboarding/users", json=user)
        code = made.raise_for_status().json()["auth_code"]
        grant = {"grant_type": "authorization_code", "code": code, "client_id": client_id}
        answer = await http.post("/auth/token", data=grant)
        tokens = answer.raise_for_status().json()
    tokens |= {"hassUrl": url, "clientId": client_id, "expires": 9_999_999_999_999}
    kept = {
        "hassTokens": json.dumps(tokens),
        "dockedSidebar": json.dumps("always_hidden"),
        "selectedTheme": json.dumps({"dark": False}),
    }
    page = f"""<script>
for (const [name, value] of Object.entries({json.dumps(kept)})) localStorage[name] = value;
location.replace("/the-board/0");
</script>"""
    (directory / "www" / "enter.html").write_text(page)


if __name__ == "__main__":
    main()
