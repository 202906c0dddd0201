"""The database refuses: now and then, for a while, or because the disk is full."""

import asyncio
import time
from pathlib import Path

from broker.embedded import EmbeddedBroker
from tests.acceptance.conftest import Scene, a_scene
from tests.support.checker import PATIENCE_S, until
from tests.support.faulty_service import Failing, Plan

# At 1 nothing works, at 20 most transactions do. After a commit whose answer is lost, what was
# asked for has happened all the same.
_FAILING = (
    *(Failing(n, 2) for n in (1, 2, 3, 5)),
    *(Failing(n, 6) for n in (7, 11, 13, 17, 20)),
    Failing(2, 8, ("committed",)),
    Failing(5, 6, ("committed",)),
)
_NUM_FAULTS = sum(each.count for each in _FAILING)
_RECOVERS_S = 10.0


async def test_every_nth_step_that_fails_loses_nothing(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    plan = Plan(folder="", failing=_FAILING)
    # A small heap and a few replaceable frames, so that evictions and preemptions fail as well.
    settings = {"queue": {"capacity": 20, "retry_delay": 0.05}}
    async with a_scene(tmp_path, mosquitto.port, topic_base, plan=plan, settings=settings) as scene:
        await scene.service.start(engine=("--pace-ms", "20", "--capacity", "2"))
        num_frames = 0
        while scene.service.state.num_faults < _NUM_FAULTS:
            for prefix, priority in _MIXTURE:
                scene.cameras.send(scene.cameras.frame(prefix, priority=priority))
            num_frames += len(_MIXTURE)
            await asyncio.sleep(0.2)
            assert scene.service.is_running, scene.service.log[-3000:]
        await scene.cameras.all_accepted()
        verdict = await scene.checker.all_ended()
        assert verdict.is_kept, verdict
        assert verdict.finals.total() == num_frames
        assert scene.service.is_running


_MIXTURE = (
    ("job", "normal"),
    ("job", "low"),
    ("flaky", "normal"),
    ("job", "high"),
    ("crash", "normal"),
    ("fail", "normal"),
    ("job", "critical"),
    ("job", "low"),
    ("job", "critical"),
    ("job", "normal"),
)


async def test_full_disk_holds_frames_back_and_recovers(scene: Scene) -> None:
    service, cameras, checker = scene.service, scene.cameras, scene.checker
    await service.start()
    await cameras.send_many(20)
    await cameras.all_accepted()
    assert (await checker.all_ended()).is_kept

    service.order(pages=1)  # SQLite takes the size it has
    late = await _fill(scene)
    num_acknowledged = service.state.num_acknowledged
    assert num_acknowledged <= service.state.num_committed
    await asyncio.sleep(1.0)
    assert service.state.num_acknowledged == num_acknowledged
    assert any(not checker.has_said("queued", job_id) for job_id in late)

    # What was not committed was not acknowledged either: it outlives the service.
    await service.kill()
    await service.start(is_awaited=False)
    await service.until(lambda state: state.num_groups > 0)
    num_final = checker.num_final
    service.order()
    freed_at = time.monotonic()
    await until(lambda: checker.num_final > num_final)
    assert time.monotonic() - freed_at <= _RECOVERS_S
    await cameras.all_accepted()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": 20 + len(late)}


async def _fill(scene: Scene) -> list[str]:
    """Send frames until the database takes no more; their job ids."""
    sent: list[str] = []
    async with asyncio.timeout(PATIENCE_S):
        while "is full" not in scene.service.log:
            sent += [frame.job_id for frame in await scene.cameras.send_many(20)]
            await asyncio.sleep(0.1)
    await scene.cameras.all_accepted()
    return sent
