"""The broker goes away in the middle of the work, and comes back."""

import asyncio
from pathlib import Path

from broker.embedded import EmbeddedBroker
from tests.acceptance.conftest import a_scene

_NUM_RESTARTS = 3
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
