"""What a broker keeps of cameras that are gone, over several runs of the service."""

from pathlib import Path
from typing import Any

import aiomqtt
import pytest

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image
from tests.support.quick_service import serving

pytestmark = pytest.mark.timeout(180)


class Runs:
    """One service after the other on the same data."""

    def __init__(self, port: int, base: str, folder: Path) -> None:
        self.port = port
        self.base = base
        self.folder = folder
        self.num_frames = 0

    def settings(self, base: str | None = None, **fields: Any) -> Settings:
        return Settings(
            mqtt={"port": self.port, "base_topic": base or self.base},
            data_dir=self.folder / "data",
            **fields,
        )

    async def run(self, settings: Settings, *cameras: str) -> None:
        """Serve until each of these cameras has a caption."""
        base = settings.mqtt.base_topic
        async with Conversation(self.port, base) as talk, serving(settings, self.folder):
            await talk.until_online()
            for camera_id in cameras:
                self.num_frames += 1  # each another picture
                job_id = f"job-{self.num_frames}"
                await talk.send(camera_id, json_frame(make_image(self.num_frames), job_id=job_id))
                await talk.wait_for(f"{camera_id}/caption", job_id=job_id)

    async def retained(self, *topics: str) -> set[str]:
        """The topics on which the broker has something, below these and the base."""
        found: set[str] = set()
        async with aiomqtt.Client("127.0.0.1", self.port) as client:
            for each in topics or (f"{self.base}/#",):
                await client.subscribe(each, qos=1)
            await client.publish(f"{self.base}-end", b"", qos=1)
            await client.subscribe(f"{self.base}-end")
            await client.publish(f"{self.base}-end", b"", qos=1)
            async for message in client.messages:
                if str(message.topic) == f"{self.base}-end":
                    return found
                found.add(str(message.topic))
        raise AssertionError


@pytest.fixture
def runs(own_mosquitto: EmbeddedBroker, tmp_path: Path) -> Runs:
    return Runs(own_mosquitto.port, "home", tmp_path)


async def test_camera_that_leaves_the_file_unseen_leaves_nothing(runs: Runs) -> None:
    await runs.run(runs.settings(cameras={"front": {}, "shed": {}}), "front")
    assert "home/shed/settings" in await runs.retained()
    await runs.run(runs.settings(cameras={"front": {}}), "front")
    kept = await runs.retained("#")
    assert not [topic for topic in kept if "shed" in topic]
    assert {"home/front/settings", "home/front/caption"} <= kept


async def test_base_topic_that_changes_is_cleared_of_ours_and_nothing_else(runs: Runs) -> None:
    await runs.run(runs.settings(cameras={"front": {}}), "front", "stray")
    async with aiomqtt.Client("127.0.0.1", runs.port) as client:
        for theirs in ("home/light/state", "home/front/image"):
            await client.publish(theirs, b"theirs", qos=1, retain=True)
    await runs.run(runs.settings("house", cameras={"front": {}}), "front")
    assert await runs.retained() == {"home/light/state", "home/front/image"}
    kept = await runs.retained("house/#", "homeassistant/#")
    assert {"house/front/caption", "house/bridge/info"} <= kept
    assert not [topic for topic in kept if topic.startswith("homeassistant") and "_home_" in topic]
