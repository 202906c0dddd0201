"""Negative controls: what the service promises, taken away, must be noticed by the checker.

Each is a test of the tests: the same scene as where nothing is lost, with one guard left out. The
third one, without the generation guard, stands in `test_stale_acks`.
"""

from pathlib import Path

from broker.embedded import EmbeddedBroker
from tests.acceptance.conftest import a_scene
from tests.acceptance.test_crashes import crash_twice
from tests.support.faulty_service import Plan


async def test_control_with_automatic_acknowledgement_loses_frames(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    plan = Plan(folder="", auto_acknowledge=True)
    async with a_scene(tmp_path, mosquitto.port, topic_base, plan=plan) as scene:
        await crash_twice(scene, "before_insert")
        verdict = await scene.checker.all_said()
        assert not verdict.is_kept
        assert verdict.lost
        assert not verdict.conflicting


async def test_control_without_outbox_loses_results(
    mosquitto: EmbeddedBroker, topic_base: str, tmp_path: Path
) -> None:
    plan = Plan(folder="", keep_outbox=False)
    async with a_scene(tmp_path, mosquitto.port, topic_base, plan=plan) as scene:
        # As long as nobody dies, nothing is missed: it is the crash that shows the difference.
        await scene.service.start()
        await scene.cameras.send_many(30, during_s=0.2)
        await scene.cameras.all_accepted()
        verdict = await scene.checker.all_ended()
        assert verdict.is_kept, verdict
        await scene.service.kill()
        await crash_twice(scene, "after_result")
        verdict = await scene.checker.all_said()
        assert not verdict.is_kept
        assert verdict.lost
