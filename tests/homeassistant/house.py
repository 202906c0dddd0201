"""A house: a broker, the service with the demonstration model, cameras, and a Home Assistant."""

import io
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.embedded import BrokerProgram, EmbeddedBroker
from demo.camera import default_cameras, frame_document, story
from tests.homeassistant.core import Core, Entity
from tests.homeassistant.environments import ROOT, Version
from tests.homeassistant.listener import Listener
from tests.homeassistant.program import Program
from tests.support.http_receivers import Receiver, answers

BASE = "moondream2mqtt"
CAMERA = "front_door"  #: stands in the file, with everything that gives it entities
GUEST = "garage"  #: known by its frames only
MODEL = ROOT / "demo" / "model"


@dataclass(slots=True)
class House:
    """Everything runs and is seen by Home Assistant; who stops something starts it again."""

    broker: EmbeddedBroker
    listener: Listener
    service: Program
    core: Core
    other_model: Path  #: one that can be loaded in place of the first
    _frames: Iterator[dict[str, Any]] = field(default_factory=lambda: _frames())

    async def entity(self, key: str, device: str = CAMERA) -> Entity:
        """What the registry knows of an entity of ours, by the key of its component."""
        entities = await self.core.entities()
        return entities[f"{BASE}_{device}_{key}"]

    async def state(self, key: str, device: str = CAMERA) -> str:
        """The state of an entity of ours."""
        states = await self.core.states()
        return states[(await self.entity(key, device)).entity_id].state

    async def until(self, key: str, state: str, device: str = CAMERA, seconds: float = 20) -> None:
        """Wait until an entity has a state.

        Raises:
            CoreError: It has not, after so many seconds.
        """
        entity_id = (await self.entity(key, device)).entity_id
        await self.core.until(f"states({entity_id!r}) == {state!r}", seconds)

    def send(self, camera_id: str = CAMERA, **fields: Any) -> str:
        """Publish the next frame of a story and return its job id."""
        job_id = str(uuid.uuid4())
        document = {**next(self._frames), "camera_id": camera_id, "job_id": job_id, **fields}
        self.listener.publish_json(f"{camera_id}/frame", document)
        return job_id

    async def caption(self, camera_id: str = CAMERA, **fields: Any) -> dict[str, Any]:
        """Send a frame, and wait for its result.

        Raises:
            AssertionError: It ended without a caption.
        """
        job_id = self.send(camera_id, **fields)
        end = await self.listener.end(job_id)
        assert end["status"] == "completed", end
        return await self.listener.result(camera_id, job_id)

    async def fate(self, **fields: Any) -> str:
        """Send a frame, and return its error code, else its final status."""
        end = await self.listener.end(self.send(**fields))
        error = end["error"]
        return str(error["code"] if error else end["status"])


@asynccontextmanager
async def a_house(folder: Path, program: BrokerProgram, version: Version) -> AsyncIterator[House]:
    """Everything, from the broker up to Home Assistant."""
    other_model = folder / "models" / "other"
    shutil.copytree(MODEL, other_model)
    async with AsyncExitStack() as stack:
        broker = EmbeddedBroker(folder / "mosquitto", program=program)
        await stack.enter_async_context(broker)
        camera = Receiver(answers(200, "Content-Type: image/jpeg\r\n", _snapshot()))
        await stack.enter_async_context(camera)
        listener = await stack.enter_async_context(Listener(broker.port, BASE))
        settings = _settings(broker.port, f"{camera.url}.jpg", version, other_model.parent)
        service = await stack.enter_async_context(Program(folder / "service", settings))
        await service.start()
        await listener.ready()
        core = await stack.enter_async_context(Core(version, folder / "core", broker.port))
        yield House(broker, listener, service, core, other_model)


def _settings(port: int, snapshot_url: str, version: Version, models: Path) -> dict[str, Any]:
    return {
        "mqtt": {"port": port, "base_topic": BASE, "client_id": "the-service"},
        "model": {"name": str(MODEL), "device": "cpu", "threads": 1, "folders": [str(models)]},
        "dedupe": {"window": 0, "similarity": 0},
        "stats_interval": 1,
        "homeassistant": {"discovery": version.discovery},
        "cameras": {
            CAMERA: {
                "location": "Front door",
                "publish_image": True,
                "tasks": ["caption", {"detect": "person"}, {"detect": "red car"}],
                "snapshot_url": snapshot_url,
            }
        },
    }


def _frames() -> Iterator[dict[str, Any]]:
    """Stories in front of the first camera of the demonstration, one after the other."""
    camera = default_cameras()[0]
    seed = camera.seed
    while True:
        for frame in story(camera, seed):
            document = frame_document(camera, frame)
            del document["location"]
            yield {**document, "motion_intensity": 0.5}
        seed += 1


def _snapshot() -> bytes:
    camera = default_cameras()[0]
    file = io.BytesIO()
    next(story(camera, 7)).image.save(file, "JPEG")
    return file.getvalue()
