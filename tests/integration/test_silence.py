"""An engine that says nothing is not healthy: a real worker is stopped, and goes on."""

import asyncio
import os
import signal
from pathlib import Path

import psutil

from broker.embedded import EmbeddedBroker
from service.app import serve
from service.settings import Settings
from tests.support.conversation import Conversation

MODEL = Path(__file__).parents[2] / "demo" / "model"


def worker_pid() -> int:
    [worker] = [
        child.pid for child in psutil.Process().children() if "engine.worker" in child.cmdline()
    ]
    return worker


async def test_stopped_engine_is_degraded_and_healthy_when_it_speaks(
    mosquitto: EmbeddedBroker, tmp_path: Path, topic_base: str
) -> None:
    settings = Settings.model_validate(
        {
            "mqtt": {"port": mosquitto.port, "base_topic": topic_base},
            "data_dir": tmp_path / "data",
            "model": {"name": str(MODEL), "device": "cpu", "slots": 1},
            "stats_interval": 0.5,
        }
    )
    stop, ready = asyncio.Event(), asyncio.Event()
    async with Conversation(mosquitto.port, topic_base) as talk, asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop=stop, on_ready=ready.set))
        await ready.wait()
        await talk.wait_for("bridge/health", status="healthy")
        talk.heard.clear()
        os.kill(worker_pid(), signal.SIGSTOP)
        health = (await talk.wait_for_many(2, "bridge/health", status="degraded"))[0].json
        assert health["checks"]["engine"]["status"] == "degraded"
        assert "silent for 1" in health["checks"]["engine"]["message"]
        model = talk.said("bridge/info")[-1].json["model"]
        assert (model["state"], model["message"]) == ("ready", "no sign of life")
        talk.heard.clear()
        os.kill(worker_pid(), signal.SIGCONT)
        await talk.wait_for("bridge/health", status="healthy")
        stop.set()
