"""SIGTERM ends the service in steps, a second one at once; nothing is lost either way."""

import asyncio
import signal
import time

from tests.acceptance.conftest import Scene
from tests.support.checker import until

_SLOW = ("--pace-ms", "700", "--capacity", "2")


async def test_sigterm_lets_running_jobs_finish(scene: Scene) -> None:
    checker, service = scene.checker, scene.service
    await service.start(engine=_SLOW)
    frames = await scene.cameras.send_many(8)
    await scene.cameras.all_accepted()
    await until(lambda: checker.num_final >= 1)
    num_before = checker.num_final
    service.signal()
    assert await service.ended() == 0
    await until(lambda: checker.states[-1:] == [b"offline"])
    # What was in the engine has ended, what waited has not.
    assert num_before < checker.num_final < len(frames)
    await service.start()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": len(frames)}
    assert checker.states[0] == checker.states[-1] == b"online"


async def test_sigterm_returns_what_does_not_finish_in_time(scene: Scene) -> None:
    checker, service = scene.checker, scene.service
    service.settings["queue"] = {"shutdown_timeout": 0.5}
    await service.start(engine=("--pace-ms", "30000", "--capacity", "2"))
    frames = await scene.cameras.send_many(4)
    await scene.cameras.all_accepted()
    await until(lambda: sum(checker.has_said("processing", frame.job_id) for frame in frames) == 2)
    service.signal()
    assert await service.ended() == 0
    await until(lambda: checker.states[-1:] == [b"offline"])
    assert checker.num_final == 0
    await service.start()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": len(frames)}
    # The try that we broke off does not count.
    ends = [checker.status_of(frame.job_id) for frame in frames]
    assert [end["attempts"] for end in ends if end] == [1, 1, 1, 1]


async def test_second_signal_ends_at_once(scene: Scene) -> None:
    checker, service = scene.checker, scene.service
    service.settings["queue"] = {"shutdown_timeout": 600.0}
    await service.start(engine=("--pace-ms", "600000", "--capacity", "2"))
    frames = await scene.cameras.send_many(4)
    await scene.cameras.all_accepted()
    await until(lambda: sum(checker.has_said("processing", frame.job_id) for frame in frames) == 2)
    service.signal()
    await until(lambda: checker.system_status == "stopping")
    assert service.is_running
    began = time.monotonic()
    service.signal()
    assert await service.ended() == 128 + signal.SIGTERM
    assert time.monotonic() - began < 5.0
    # The broker says it for us: that is what the last will is for.
    await until(lambda: checker.states[-1:] == [b"offline"])
    await service.start()
    verdict = await checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": len(frames)}


async def test_frames_that_arrive_while_it_stops_are_kept_by_the_broker(scene: Scene) -> None:
    await scene.service.start(engine=_SLOW)
    sending = asyncio.create_task(scene.cameras.send_many(60, during_s=1.0), name="sending")
    await asyncio.sleep(0.5)
    scene.service.signal()
    assert await scene.service.ended() == 0
    await sending
    await scene.service.start()
    await scene.cameras.all_accepted()
    verdict = await scene.checker.all_ended()
    assert verdict.is_kept, verdict
    assert verdict.finals == {"completed": 60}
