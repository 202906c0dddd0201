"""The engine crashes, hangs, runs out of memory, or meets a frame that kills it."""

import json
from typing import Any

from tests.acceptance.conftest import Scene
from tests.support.cameras import Frame


async def test_engine_that_crashes_once_costs_nobody_a_caption(scene: Scene) -> None:
    await scene.service.start()
    frames: list[Frame] = []
    for _ in range(3):
        # One crash after the other: a frame that is aboard at one and then causes one has been
        # under two, which is what a killer is told by.
        frames += await scene.cameras.send_many(10)
        frames += await scene.cameras.send_many(1, prefix="crash")
        frames += await scene.cameras.send_many(10)
        await _all_completed(scene, frames)
    assert scene.service.state.num_engines == 4


async def test_engine_that_hangs_is_replaced(scene: Scene) -> None:
    scene.service.settings["model"] = {"step_timeout": 5.0}
    await scene.service.start()
    frames = [*await scene.cameras.send_many(10), *await scene.cameras.send_many(1, prefix="hang")]
    frames += await scene.cameras.send_many(10)
    await _all_completed(scene, frames)
    assert "gave no sign of life" in scene.service.log


async def test_engine_out_of_memory_goes_on_with_less(scene: Scene) -> None:
    await scene.service.start()
    frames = await scene.cameras.send_many(3, prefix="memory")
    frames += await scene.cameras.send_many(20)
    await _all_completed(scene, frames)
    assert scene.service.state.num_engines == 1


async def test_frame_that_kills_the_engine_twice_fails_alone(scene: Scene) -> None:
    await scene.service.start()
    poison: list[Frame] = []
    others: list[Frame] = []
    for _ in range(3):
        others += await scene.cameras.send_many(5)
        poison += await scene.cameras.send_many(1, prefix="poison")
        others += await scene.cameras.send_many(5)
    await scene.cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": len(others), "failed": len(poison)}
    assert {_error(scene, frame)["code"] for frame in poison} == {"engine_killer"}
    assert {_status(scene, frame)["attempts"] for frame in poison} == {2}
    buried = [letter["job_id"] for letter in scene.checker.dead_letters]
    assert sorted(buried) == sorted(frame.job_id for frame in poison)


async def test_frame_that_never_works_fails_after_its_attempts(scene: Scene) -> None:
    await scene.service.start()
    worn = await scene.cameras.send_many(2, prefix="worn")
    flaky = await scene.cameras.send_many(2, prefix="flaky")
    bad = await scene.cameras.send_many(2, prefix="fail")
    await scene.cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert [_status(scene, frame)["attempts"] for frame in worn] == [3, 3]
    assert [_status(scene, frame)["attempts"] for frame in flaky] == [2, 2]
    assert [_status(scene, frame)["attempts"] for frame in bad] == [1, 1]
    assert verdict.finals == {"failed": 4, "completed": 2}
    assert len(scene.checker.dead_letters) == 4
    assert "frame_data" not in json.dumps(scene.checker.dead_letters)


async def _all_completed(scene: Scene, frames: list[Frame]) -> None:
    await scene.cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": len(frames)}


def _status(scene: Scene, frame: Frame) -> dict[str, Any]:
    document = scene.checker.status_of(frame.job_id)
    assert document is not None
    return document


def _error(scene: Scene, frame: Frame) -> dict[str, Any]:
    error: dict[str, Any] = _status(scene, frame)["error"]
    return error
