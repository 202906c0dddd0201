"""What matters leaves first, and what finds no room says so."""

from tests.acceptance.conftest import Scene

_NUM_LOW = 50


async def test_critical_frame_overtakes_fifty_low_ones(scene: Scene) -> None:
    """It waits for the step that is running and for nothing else."""
    await scene.service.start(engine=("--pace-ms", "100", "--capacity", "1"))
    for _ in range(_NUM_LOW):
        scene.cameras.send(scene.cameras.frame("low", priority="low"))
    await scene.cameras.all_accepted()
    await scene.service.until(lambda state: state.num_committed == _NUM_LOW)
    num_before = len(scene.checker.order)
    critical = scene.cameras.send(scene.cameras.frame("critical", priority="critical"))
    await scene.cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": _NUM_LOW + 1}
    # While it travelled a frame may have ended, on a busy machine a few.
    place = scene.checker.order.index(critical.job_id)
    assert place - num_before <= 5
    assert place < _NUM_LOW / 2


async def test_full_queue_drops_the_least_important_and_says_so(scene: Scene) -> None:
    scene.service.settings["queue"] = {"capacity": 20}
    await scene.service.start(engine=("--pace-ms", "100", "--capacity", "1"))
    low = [scene.cameras.send(scene.cameras.frame("low", priority="low")) for _ in range(60)]
    high = [scene.cameras.send(scene.cameras.frame("high", priority="high")) for _ in range(10)]
    await scene.cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals.keys() == {"completed", "dropped"}
    assert verdict.finals["dropped"] >= 20
    ends = {frame.job_id: scene.checker.status_of(frame.job_id) for frame in (*low, *high)}
    dropped = {job_id for job_id, end in ends.items() if end and end["status"] == "dropped"}
    assert dropped <= {frame.job_id for frame in low}
    assert {end["error"]["code"] for job_id, end in ends.items() if end and job_id in dropped} == {
        "queue_full"
    }
