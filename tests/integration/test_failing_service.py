"""A service that runs and cannot do its job says so; one that has to end says why."""

import asyncio
from functools import partial
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from service.app import Parts, serve
from service.engines.process import EngineProcess
from service.errors import ServiceError
from service.settings import Settings
from tests.integration.test_commands import run_command
from tests.support.conversation import Conversation
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.timeout(180)


def make_settings(port: int, base: str, folder: Path, **mqtt: str) -> Settings:
    return Settings(
        mqtt={"port": port, "base_topic": base, **mqtt},
        data_dir=folder / "data",
        stats_interval=0.2,
    )


async def test_service_whose_model_cannot_be_loaded_is_unhealthy_and_doctor_fails(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    settings = make_settings(mosquitto.port, topic_base, tmp_path)
    parts = Parts(engine=partial(EngineProcess, command=("/nonexistent/program",)))
    stop = asyncio.Event()
    environment = {
        "MOONDREAM2MQTT__MQTT__PORT": str(mosquitto.port),
        "MOONDREAM2MQTT__MQTT__BASE_TOPIC": topic_base,
    }
    async with asyncio.TaskGroup() as tasks, Conversation(mosquitto.port, topic_base) as talk:
        tasks.create_task(serve(settings, stop=stop, parts=parts))
        health = (await talk.wait_for("bridge/health", status="unhealthy")).json
        assert health["checks"]["engine"]["status"] == "unhealthy"
        before = len(talk.said("bridge/health"))
        # It is tried again meanwhile.
        later = await talk.wait_for_many(before + 12, "bridge/health")
        assert {each.json["status"] for each in later[before:]} == {"unhealthy"}
        stats = (await talk.wait_for("bridge/stats", system_status="failed")).json
        assert stats["max_concurrent_jobs"] == 0
        ended = await run_command("doctor", "--running", environment=environment)
        assert ended.code == 1
        assert "ok   service: online" in ended.out
        assert "TODO health: engine unhealthy: " in ended.out
        stop.set()


async def test_another_client_with_our_id_is_named_as_the_reason_of_the_end(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """However many blocks the error passes on its way out."""
    parts = Parts(engine=partial(EngineProcess, command=("/nonexistent/program",)))
    async with (
        TcpProxy(mosquitto.port) as proxy,
        Conversation(mosquitto.port, topic_base) as talk,
    ):
        settings = make_settings(proxy.port, topic_base, tmp_path, client_id="twin")
        running = asyncio.create_task(serve(settings, stop=asyncio.Event(), parts=parts))
        await talk.wait_for("bridge/health")
        proxy.say_taken_over()
        with pytest.raises(ServiceError, match="use the MQTT client id 'twin"):
            async with asyncio.timeout(60):
                await running
