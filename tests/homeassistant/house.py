"""A house: a broker, the service with the demonstration model, cameras, and a Home Assistant."""

import asyncio
import hashlib
import io
import shutil
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from broker.embedded import BrokerProgram, EmbeddedBroker
from demo.camera import default_cameras, frame_document, story
from tests.homeassistant.core import Core, Entity, State
from tests.homeassistant.environments import ROOT, Version
from tests.homeassistant.listener import Listener
from tests.homeassistant.program import Program
from tests.support.http_receivers import Receiver, answers

BASE = "moondream2mqtt"
CAMERA = "front_door"  #: stands in the file, with everything that gives it entities
GUEST = "garage"  #: known by its frames only
MODEL = ROOT / "demo" / "model"


#: What versions complain about without a fault of anybody else's. Once a device is gone, 2024.12
#: empties its topic a second time, and misses the device. 2024.3 has no word for a time that is not
#: known, when the caption topic of a camera is cleared.
_ABOUT_ITSELF = ("No device components to cleanup for", "Invalid state message '' from")
_BLANK = {"unknown", "unavailable", "no state"}
_NONE = State("no state", {})


@dataclass(slots=True)
class House:
    """Everything runs and is seen by Home Assistant; who stops something starts it again."""

    folder: Path
    broker: EmbeddedBroker
    listener: Listener
    service: Program
    core: Core
    other_model: Path  #: one that can be loaded in place of the first
    expected: list[str] = field(default_factory=list)  #: parts of complaints that a test provokes
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

    async def blank(self) -> dict[str, str]:
        """States that say nothing, by entity id; a button's is the time of its last press."""
        states = await self.core.states()
        shown = [each for each in (await self.core.entities()).values() if not each.disabled]
        there = {each.entity_id: states.get(each.entity_id, _NONE).state for each in shown}
        return {
            entity_id: state
            for entity_id, state in there.items()
            if state in _BLANK and not entity_id.startswith("button.")
        }

    async def discovered(self, camera_id: str = CAMERA) -> None:
        """Wait until the bridge and a camera are known, and Home Assistant has done with them."""
        await self.appears(f"{BASE}_bridge_version")
        await self.appears(f"{BASE}_{camera_id}_caption")

        async def is_listening() -> bool:
            return not {"unavailable", "no state"} & set((await self.blank()).values())

        await self.eventually(is_listening, True)

    async def settles(self) -> None:
        """Caption a frame, and wait until every entity has a state that says something."""
        await self.discovered()
        await self.caption()
        await self.eventually(self.blank, {})

    async def appears(self, unique_id: str) -> None:
        """Wait until there is an entity."""

        async def is_there() -> bool:
            return unique_id in await self.core.entities()

        await self.eventually(is_there, True)

    async def is_gone(self, identifier: str) -> None:
        """Wait until nothing is left of a device."""

        async def left() -> list[str]:
            devices = [device["identifiers"] for device in await self.core.devices()]
            entities = await self.core.entities()
            return [
                *(each for identifiers in devices for each in identifiers if each == identifier),
                *(unique_id for unique_id in entities if unique_id.startswith(f"{identifier}_")),
            ]

        await self.eventually(left, [])

    async def heal(self) -> None:
        """Start what a failed test has left stopped: the next one needs everything."""
        self.expected = []
        if not self.service.is_running:
            await self.service.start()
            await self.listener.ready()
        if not self.core.is_running:
            await self.core.start()

    async def complaints(self) -> list[str]:
        """What Home Assistant has complained about since this was asked last, if unexpected."""
        if self.core.is_running:
            await self.core.take_log()
        heard, self.core.complaints = self.core.complaints, []
        expected = [*_ABOUT_ITSELF, *self.expected]
        return [each for each in heard if not any(part in each for part in expected)]

    async def shown_picture(self, sha256: str) -> dict[str, Any]:
        """Wait until Home Assistant shows this very picture."""
        entity_id = (await self.entity("image")).entity_id

        async def shown() -> str | None:
            picture = await self.core.picture(entity_id)
            return picture["sha256"] if picture else None

        await self.eventually(shown, sha256)
        return await self.core.picture(entity_id) or {}

    async def eventually(
        self, look: Callable[[], Awaitable[Any]], wanted: Any, seconds: float = 30.0
    ) -> None:
        """Wait until it looks as wanted.

        Raises:
            AssertionError: It does not, after so many seconds.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        seen = await look()
        while seen != wanted and loop.time() < deadline:
            await asyncio.sleep(0.2)
            seen = await look()
        if seen != wanted:
            raise AssertionError(f"after {seconds:g} s it is {seen}, not {wanted}")

    @asynccontextmanager
    async def without_broker(self) -> AsyncIterator[None]:
        """The broker is down as long as the context lasts, and Home Assistant has seen it."""
        self.expected = ["homeassistant.components.mqtt.client"]  # it says that it lost it
        await self.broker.stop()
        try:
            await self.until("connectivity", "unavailable", "bridge", seconds=60)
            yield
        finally:
            await self.broker.start()

    def forget_retained(self) -> None:
        """What happens to a broker whose disk is lost, while it is down."""
        (self.folder / "mosquitto" / "mosquitto.db").unlink()

    @asynccontextmanager
    async def paused(self) -> AsyncIterator[None]:
        """Frames wait as long as the context lasts."""
        self.listener.publish("bridge/request/queue/processing", "OFF")
        await self.listener.stats(processing=False)
        try:
            yield
        finally:
            self.listener.publish("bridge/request/queue/processing", "ON")
            await self.listener.stats(processing=True)

    def frame(self) -> dict[str, Any]:
        """The next frame of a story."""
        return next(self._frames)

    def send(self, camera_id: str = CAMERA, **fields: Any) -> str:
        """Publish the next frame of a story, with these fields replaced, and return its job id."""
        job_id = str(uuid.uuid4())
        document = {**self.frame(), "camera_id": camera_id, **fields, "job_id": job_id}
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
        house = House(folder, broker, listener, service, core, other_model)
        await house.discovered()
        yield house


def picture_hash(listener: Listener, camera_id: str) -> str:
    """SHA-256 of the picture that is retained for a camera."""
    return hashlib.sha256(listener.newest[f"{BASE}/{camera_id}/image"]).hexdigest()


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
