"""Who sends at the first sight of `online` is heard."""

import asyncio
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation
from tests.support.factories import make_image
from tests.support.quick_service import WITHOUT_MODEL


@pytest.mark.parametrize("number", range(3))
async def test_frame_sent_at_the_sight_of_online_is_taken(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path, number: int
) -> None:
    """The broker keeps nothing for a client that it has never seen."""
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": topic_base},
        data_dir=tmp_path,
    )
    stop = asyncio.Event()
    async with Conversation(mosquitto.port, topic_base) as talk, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop=stop, parts=WITHOUT_MODEL))
        assert (await talk.wait_for("bridge/state")).payload == b"online"
        await talk.send("door", make_image(number))
        await talk.wait_for("door/status", status="queued")
        stop.set()
