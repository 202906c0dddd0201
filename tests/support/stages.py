"""The stages of a frame's way, put together for tests that work with some of them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pydantic import BaseModel

from broker.topics import Topics
from service.cameras import Cameras
from service.clock import Clock
from service.intake.intake import Intake
from service.settings import Settings
from service.sources.frames import FrameTopics
from service.sources.mqtt import Inbox, MqttFrames
from service.sources.names import Names
from service.sources.routes import Routes
from service.store.store import Store


class Nobody:
    """Hears what is published without promise, and forgets it."""

    def announce(self, document: BaseModel, *, camera_id: str | None = None) -> bool:
        return True

    def keep(self, document: BaseModel, *, camera_id: str) -> None:
        pass

    def forget(self, camera_id: str) -> None:
        pass


class AnyCamera(Cameras):
    """Knows every camera that is asked for; for tests that begin behind intake."""

    def get(self, camera_id: str) -> Any:
        return super().get(camera_id) or self.admit(camera_id, self._clock.monotonic())


def any_camera(
    store: Store, clock: Clock, topics: Topics, settings: Settings | None = None
) -> Cameras:
    """Cameras as they are by default, or as a file has them."""
    return AnyCamera(settings or Settings(), topics, store, Nobody(), clock)


@asynccontextmanager
async def receiving(
    inbox: Inbox, intake: Intake, settings: Settings, topics: Topics
) -> AsyncIterator[asyncio.Task[None]]:
    """Let intake take what comes into an inbox on our own topics.

    Yields:
        The task of intake.
    """
    frames = FrameTopics(
        topics,
        Routes(topics, settings.sources, Names(lambda _: None)),
        settings.mqtt.response_topics,
        settings.frames.max_bytes,
    )
    running = asyncio.create_task(intake.run(), name="intake")
    reading = asyncio.create_task(MqttFrames(inbox, [frames], intake).run(), name="frames")
    try:
        yield running
    finally:
        reading.cancel()
        running.cancel()
        await asyncio.wait([reading, running])
