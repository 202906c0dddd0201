"""The service is killed with SIGKILL at every step of a frame's way.

Random moments, and many more frames, are the matter of `make soak`.
"""

import pytest

from tests.acceptance.conftest import Scene
from tests.support.faulty_service import CRASH_POINTS


@pytest.mark.parametrize("point", CRASH_POINTS)
async def test_kill_at_a_point_loses_nothing(scene: Scene, point: str) -> None:
    await crash_twice(scene, point)
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": 60}


async def crash_twice(scene: Scene, point: str) -> None:
    """Send sixty frames while the service dies twice at a point, and start it once more."""
    for crash_on in (2, 1):
        # What the first life left behind can end the second before it is ready.
        await scene.service.start(is_awaited=crash_on == 2, crash_at=point, crash_on=crash_on)
        # Slowly enough that a busy machine does not take them all in one group.
        await scene.cameras.send_many(30, during_s=0.5)
        assert await scene.service.ended() == -9
    await scene.service.start()
    await scene.cameras.all_accepted()
