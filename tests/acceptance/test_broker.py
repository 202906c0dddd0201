"""The broker goes away in the middle of the work, and comes back."""

import asyncio
from pathlib import Path

from broker.embedded import EmbeddedBroker
from tests.acceptance.conftest import a_scene
from tests.support.tcp_proxy import TcpProxy

_NUM_RESTARTS = 3
_NUM_RESETS = 4  # at the fifth in a row the service takes it for a fight over its client id
_FRAMES_BETWEEN = 150


async def test_restarts_of_the_broker_lose_nothing(
    own_mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """SIGTERM, on which Mosquitto saves its sessions."""
    async with a_scene(tmp_path, own_mosquitto.port, topic_base) as scene:
        await scene.service.start()
        for _ in range(_NUM_RESTARTS):
            sending = asyncio.create_task(
                scene.cameras.send_many(_FRAMES_BETWEEN, during_s=1.0), name="sending"
            )
            await asyncio.sleep(0.5)
            await own_mosquitto.stop()
            await own_mosquitto.start()
            await sending
            await scene.cameras.all_accepted()
        verdict = await scene.checker.all_ended()
        assert verdict.is_kept, verdict
        assert verdict.finals == {"completed": _NUM_RESTARTS * _FRAMES_BETWEEN}
        assert scene.cameras.client.num_drops == _NUM_RESTARTS
        assert scene.service.state.generation == _NUM_RESTARTS + 1


async def test_resets_of_the_network_lose_nothing(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with (
        TcpProxy(mosquitto.port) as proxy,
        a_scene(tmp_path, mosquitto.port, topic_base, service_port=proxy.port) as scene,
    ):
        await scene.service.start()
        for number in range(1, _NUM_RESETS + 1):
            sending = asyncio.create_task(
                scene.cameras.send_many(_FRAMES_BETWEEN, during_s=0.6), name="sending"
            )
            await asyncio.sleep(0.3)
            proxy.reset()
            await sending
            await scene.service.until(lambda state: state.generation > number)  # noqa: B023
        await scene.cameras.all_accepted()
        verdict = await scene.checker.all_ended()
        assert verdict.is_kept, verdict
        assert verdict.finals == {"completed": _NUM_RESETS * _FRAMES_BETWEEN}
