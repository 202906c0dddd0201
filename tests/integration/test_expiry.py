"""Frames expire on time while no model works: a real service whose model cannot be loaded."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from broker.embedded import EmbeddedBroker
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation, json_frame
from tests.support.factories import make_image
from tests.support.http_receivers import Receiver, says_nothing
from tests.support.quick_service import WITHOUT_MODEL

MAX_AGE_S = 2.0
LATE_S = 4.0  # what is promised is a second; a loaded machine is no failure


@pytest_asyncio.fixture
async def talk(
    mosquitto: EmbeddedBroker, tmp_path: Path, topic_base: str
) -> AsyncIterator[Conversation]:
    settings = Settings.model_validate(
        {
            "mqtt": {"port": mosquitto.port, "base_topic": topic_base},
            "data_dir": tmp_path / "data",
            "fetch": {"allow_hosts": ["127.0.0.1"]},
            "stats_interval": 0.5,
        }
    )
    stop = asyncio.Event()
    async with (
        Conversation(mosquitto.port, topic_base) as conversation,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(serve(settings, stop=stop, parts=WITHOUT_MODEL))
        await conversation.wait_for("bridge/health", status="unhealthy")
        yield conversation
        stop.set()


async def test_waiting_frame_expires_without_a_model(talk: Conversation) -> None:
    began = asyncio.get_running_loop().time()
    await talk.send("door", json_frame(make_image(1), job_id="old-1", max_age=MAX_AGE_S))
    status = (await talk.wait_for("door/status", job_id="old-1", status="expired")).json
    seconds = asyncio.get_running_loop().time() - began
    assert MAX_AGE_S <= seconds < MAX_AGE_S + LATE_S
    assert talk.statuses("door", "old-1") == ["queued", "expired"]
    assert status["error"]["code"] == "expired"


async def test_frame_whose_image_does_not_come_expires(talk: Conversation) -> None:
    async with Receiver(says_nothing) as host:
        frame = {"frame_url": f"{host.url}/x.jpg", "job_id": "url-1", "max_age": MAX_AGE_S}
        await talk.send("door", frame)
        await talk.wait_for("door/status", job_id="url-1", status="expired")
    assert talk.statuses("door", "url-1") == ["queued", "expired"]
