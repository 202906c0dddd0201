"""What `serve` tells of a start, in the log and on `bridge/info`, where the hub takes its time."""

import asyncio
import json
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from broker.embedded import EmbeddedBroker
from service.settings import Settings
from tests.integration.test_commands import start_command
from tests.support.conversation import Conversation
from tests.support.factories import make_image
from tests.support.hub_server import HubServer, serving
from tests.support.quick_service import serving as quick_service

pytestmark = pytest.mark.timeout(180)

MODEL = Path(__file__).parents[2] / "demo" / "model"
_READY_S = 90.0


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """It has the demonstration model, and needs four seconds for its 7 MB."""
    names = ("config.json", "model.safetensors", "tokenizer.json")
    with serving({("our/demo", name): (MODEL / name).read_bytes() for name in names}) as server:
        server.pace = (500_000, 0.27)
        yield server


def environment(broker: EmbeddedBroker, base: str, folder: Path) -> dict[str, str]:
    settings = {
        "MQTT__PORT": str(broker.port),
        "MQTT__BASE_TOPIC": base,
        "DATA_DIR": str(folder / "data"),
        "MODEL__DEVICE": "cpu",
        "HOMEASSISTANT__ENABLED": "false",
    }
    return {f"MOONDREAM2MQTT__{name}": value for name, value in settings.items()}


async def test_start_with_a_download_is_a_story(
    mosquitto: EmbeddedBroker, topic_base: str, hub: HubServer, tmp_path: Path
) -> None:
    given = environment(mosquitto, topic_base, tmp_path) | {
        "MOONDREAM2MQTT__MODEL__NAME": "our/demo",
        "MOONDREAM2MQTT__MODEL__REVISION": "main",
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(tmp_path / "cache"),
    }
    async with Conversation(mosquitto.port, topic_base) as talk:
        process = await start_command("serve", environment=given)
        async with asyncio.timeout(_READY_S):
            await talk.until_online()
            await until(lambda: any(b"downloading model" in each for each in infos(talk)))
            await talk.send("front", make_image(1))
            queued = await talk.wait_for("front/status", status="queued")
            await talk.wait_for("front/caption")
            await until(lambda: b'"ready"' in infos(talk)[-1])
        process.send_signal(signal.SIGTERM)
        log = (await process.communicate())[1].decode()

    share = r"downloading model: \d+ % of 7\.3 MB"
    assert re.match(f"Waiting for the model to load: {share}", queued.json["message"])
    assert_in_order(
        log,
        r"moondream2mqtt \d",
        r"connected to the broker at 127\.0\.0\.1:\d+ with MQTT 5",
        "looking for the model our/demo",
        share,
        r"loading .* to cpu as",
        r"ready on cpu in \d+ s",
        r"front normal \d+\.\d\d s: \w+",
        "stopping",
        "stopped",
    )
    assert log.count("connected to the broker") == 1
    assert "WARNING" not in log
    assert not re.search(r"HTTP|warn|https?://", log)
    said = [json.loads(each)["model"] for each in infos(talk)]
    assert any(re.match(share, each["message"] or "") for each in said)
    assert said[-1]["state"] == "ready"
    assert all(one != next_ for one, next_ in pairwise(said))


async def test_quick_start_is_loading_and_ready(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    settings = Settings(
        mqtt={"port": mosquitto.port, "base_topic": topic_base, "client_id": topic_base},
        data_dir=tmp_path / "data",
        homeassistant={"enabled": False},
    )
    async with Conversation(mosquitto.port, topic_base) as talk:
        async with quick_service(settings, tmp_path):
            async with asyncio.timeout(_READY_S):
                await until(lambda: any(b'"ready"' in each for each in infos(talk)))
            await asyncio.sleep(0.5)  # two looks
        states = [json.loads(each)["model"]["state"] for each in infos(talk)]
    assert states in (["loading", "ready"], ["ready"])


@pytest.mark.parametrize("streams", [">&- 2>&- <&-", "</dev/null >/dev/full 2>/dev/full"])
async def test_service_whose_log_goes_nowhere_works_on(
    streams: str, mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    given = environment(mosquitto, topic_base, tmp_path)
    given["MOONDREAM2MQTT__MODEL__NAME"] = str(MODEL)
    command = f"exec {sys.executable} -m service serve {streams}"
    async with Conversation(mosquitto.port, topic_base) as talk:
        process = await asyncio.create_subprocess_exec(
            *("bash", "-c", command), env={**os.environ, **given}
        )
        async with asyncio.timeout(_READY_S):
            await talk.until_online()
            # Else a connection would be where a library writes its errors.
            assert os.readlink(f"/proc/{process.pid}/fd/2").startswith("/dev/")
            await talk.send("front", make_image(1))
            await talk.wait_for("front/caption")
            process.send_signal(signal.SIGTERM)
            assert await process.wait() == 0


def infos(talk: Conversation) -> list[bytes]:
    """What was published on `bridge/info`."""
    return [each.payload for each in talk.said("bridge/info")]


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110 - a list has no event
        await asyncio.sleep(0.05)


def assert_in_order(log: str, *patterns: str) -> None:
    place = 0
    for pattern in patterns:
        found = re.compile(pattern).search(log, place)
        assert found, f"{pattern} is not in the rest of the log:\n{log[place:]}"
        place = found.end()
