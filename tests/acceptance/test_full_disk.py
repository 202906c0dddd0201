"""The disk is full, for a while or from the start: a real one, of a few MiB.

The database says so in its own ways, not only where a frame is stored: when its log is brought into
the file, when a connection opens, when a job ends.
"""

import asyncio
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Scene
from tests.support.cameras import pictures
from tests.support.checker import until
from tests.support.quick_engine import digest
from tests.support.small_disk import DiskUnavailableError, SmallDisk, a_small_disk

_MIB = 1 << 20
_NUM_WAITING, _NUM_MEANWHILE = 30, 20
_SLOW = ("--pace-ms", "200", "--capacity", "1")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    """Where the service of `scene` has its data."""
    try:
        with a_small_disk(tmp_path / "service" / "data", 64 * _MIB) as made:
            yield made
    except DiskUnavailableError as error:
        pytest.skip(str(error))


@pytest.fixture
def full_scene(disk: SmallDisk, scene: Scene) -> Scene:
    scene.service.settings["store"] = {"min_free_bytes": 0, "cleanup_interval": 0.5}
    return scene


async def send_large(scene: Scene, num_frames: int, *, seed: int) -> None:
    """Frames of a size that matters on such a disk."""
    for image in islice(pictures(seed, 50_000), num_frames):
        scene.cameras.send(scene.cameras.picture("job", image, digest(image)))
    await scene.cameras.all_accepted()


def worst(scene: Scene, *parts: str) -> set[Any]:
    return {scene.checker.health.get(part, {}).get("status") for part in parts}


async def test_full_disk_while_frames_wait_is_said_and_outlived(
    disk: SmallDisk, full_scene: Scene
) -> None:
    service, checker = full_scene.service, full_scene.checker
    await service.start(engine=_SLOW)
    await send_large(full_scene, _NUM_WAITING, seed=1)
    await service.until(lambda state: state.num_acknowledged >= _NUM_WAITING)
    disk.fill()
    await send_large(full_scene, _NUM_MEANWHILE, seed=2)
    await until(
        lambda: worst(full_scene, "store", "disk") == {"unhealthy"} or not service.is_running
    )
    await asyncio.sleep(3.0)  # several clean-ups, which empty the log
    assert service.is_running, service.log[-3000:]
    assert service.state.num_acknowledged <= service.state.num_committed + 1

    disk.clear()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": _NUM_WAITING + _NUM_MEANWHILE}
    await until(lambda: worst(full_scene, "store", "disk") == {"healthy"})


async def test_start_on_a_full_disk_waits_for_room(disk: SmallDisk, full_scene: Scene) -> None:
    service = full_scene.service
    await service.start(engine=_SLOW)
    await send_large(full_scene, _NUM_WAITING, seed=1)
    await service.until(lambda state: state.num_acknowledged >= _NUM_WAITING)
    await service.kill()
    disk.fill()
    await send_large(full_scene, _NUM_MEANWHILE, seed=2)
    await service.start(is_awaited=False)
    await until(lambda: "waits for room" in service.log or not service.is_running)
    assert service.is_running, service.log[-3000:]
    service.signal()  # it can be stopped all the same
    assert await service.ended() == 0

    await service.start(is_awaited=False)
    await until(lambda: service.log.count("waits for room") >= 2)
    disk.clear()
    verdict = await full_scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": _NUM_WAITING + _NUM_MEANWHILE}


async def test_first_start_on_a_full_disk_waits_for_room(
    disk: SmallDisk, full_scene: Scene
) -> None:
    service = full_scene.service
    disk.fill()
    await service.start(is_awaited=False)
    await until(lambda: "waits for room" in service.log or not service.is_running)
    assert service.is_running, service.log[-3000:]
    disk.clear()
    await service.until(lambda state: state.is_ready and state.is_connected)
    await full_scene.cameras.send_many(5)
    await full_scene.cameras.all_accepted()
    verdict = await full_scene.checker.all_ended()
    assert verdict.finals == {"completed": 5}, verdict
