"""The broker forgets the session while acknowledgements wait for their commit.

Packet ids start again on the new connection, so an acknowledgement kept from the old one would
acknowledge a new frame that nobody has stored.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiomqtt

from broker.embedded import EmbeddedBroker
from tests.acceptance.conftest import Scene, a_scene
from tests.support.cameras import Frame
from tests.support.checker import until
from tests.support.faulty_service import NO_FAULTS, Plan
from tests.support.harness import client_id
from tests.support.tcp_proxy import TcpProxy

_NUM_ROUNDS = 3
_NUM_FRAMES = 5
_ON_THE_WIRE_S = 0.3  # an acknowledgement takes a millisecond


async def test_late_acknowledgements_are_void_after_a_lost_session(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    async with _scene_behind_a_door(tmp_path, mosquitto.port, topic_base) as (scene, door):
        for number in range(1, _NUM_ROUNDS + 1):
            new = await _lose_session(scene, door, mosquitto.port)
            verdict = await scene.checker.all_ended()
            assert verdict.is_kept, verdict
            assert verdict.finals == {"completed": number * (1 + 2 * _NUM_FRAMES)}
            assert len(new) == _NUM_FRAMES
            await scene.service.kill()


async def test_control_without_guard_loses_new_frames(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    """The same, with late acknowledgements sent on whatever connection there is."""
    plan = Plan(folder="", guard_generation=False)
    async with _scene_behind_a_door(tmp_path, mosquitto.port, topic_base, plan) as (scene, door):
        new = await _lose_session(scene, door, mosquitto.port)
        verdict = await scene.checker.all_said()
        assert not verdict.is_kept
        assert verdict.lost
        assert set(verdict.lost) <= {frame.job_id for frame in new}


class _Door(TcpProxy):
    """A proxy that can be shut."""

    is_open = True

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_open:
            await super()._accept(reader, writer)
        else:
            writer.close()


@asynccontextmanager
async def _scene_behind_a_door(
    folder: Path, port: int, base: str, plan: Plan = NO_FAULTS
) -> AsyncIterator[tuple[Scene, _Door]]:
    async with (
        _Door(port) as door,
        a_scene(folder, port, base, service_port=door.port, plan=plan) as scene,
    ):
        yield scene, door


async def _lose_session(scene: Scene, door: _Door, port: int) -> list[Frame]:
    """Commit frames of a lost session while new ones wait, then kill and start again.

    Returns:
        The new frames, which arrived over the new connection and were not committed.
    """
    service, cameras = scene.service, scene.cameras
    # 1. One frame is being committed, the others of the old session wait behind it.
    service.order(groups=0)
    await service.start()
    cameras.send(cameras.frame("first"))
    await service.until(lambda state: state.num_groups == 1)
    await cameras.send_many(_NUM_FRAMES, prefix="old")
    await service.until(lambda state: state.num_received == 1 + _NUM_FRAMES)
    service.order(groups=1)
    await service.until(lambda state: state.num_groups == 2)
    # 2. The connection is cut, and the broker forgets the session.
    door.is_open = False
    door.reset()
    name = client_id(cameras.base)
    async with aiomqtt.Client(
        "127.0.0.1",
        port,
        identifier=name,
        protocol=aiomqtt.ProtocolVersion.V5,
        clean_start=True,
    ):
        pass
    door.is_open = True
    await service.until(lambda state: state.generation == 2 and state.is_connected)
    await _until_subscribed(scene)
    # 3. New frames arrive under the packet ids of the old ones.
    before = service.state.num_received
    new = await cameras.send_many(_NUM_FRAMES, prefix="new")
    await service.until(lambda state: state.num_received == before + _NUM_FRAMES)
    # 4. The old ones are committed and acknowledged late; the new ones are not committed.
    service.order(groups=2)
    await service.until(
        lambda state: state.num_groups == 3 and state.num_acknowledged == 1 + _NUM_FRAMES
    )
    await asyncio.sleep(_ON_THE_WIRE_S)
    await service.kill()
    # 5. Whatever the broker still has comes again.
    service.order()
    await service.start()
    await cameras.all_accepted()
    return new


async def _until_subscribed(scene: Scene) -> None:
    """Ask with messages at QoS 0, which have no packet id, until one arrives."""
    before = scene.service.state.num_received

    def is_heard() -> bool:
        scene.cameras.client.paho.publish(f"{scene.cameras.base}/bridge/frame", b"?", qos=0)
        return scene.service.state.num_received > before

    await until(is_heard)
    # Those under way must not be taken for frames.
    last = -1
    while (heard := scene.service.state.num_received) != last:
        last = heard
        await asyncio.sleep(_ON_THE_WIRE_S)
