import asyncio
from collections.abc import Sequence

import pytest

from service.boundary import contained, isolate, keep_running


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged with a traceback."""
    return [record.getMessage() for record in caplog.records if record.exc_info]


def test_contained_error_ends_there_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise RuntimeError("s3cret")

    with contained("it cannot be done"):
        fail()
    assert tracebacks(caplog) == ["it cannot be done"]


async def test_contained_cancellation_passes() -> None:
    with pytest.raises(asyncio.CancelledError), contained("it cannot be done"):
        raise asyncio.CancelledError


async def test_isolate_sets_aside_what_fails_alone(caplog: pytest.LogCaptureFixture) -> None:
    done: list[int] = []

    async def work(numbers: Sequence[int]) -> None:
        if 3 in numbers:
            raise RuntimeError
        done.extend(numbers)

    assert await isolate(work, [1, 2], "numbers cannot be taken") == []
    assert tracebacks(caplog) == []
    assert await isolate(work, [1, 2, 3, 4], "numbers cannot be taken") == [3]
    assert done == [1, 2, 1, 2, 4]
    assert tracebacks(caplog) == ["4 numbers cannot be taken", "1 numbers cannot be taken"]


async def test_keep_running_tries_again_with_growing_pauses(
    caplog: pytest.LogCaptureFixture,
) -> None:
    moments: list[float] = []

    async def run() -> None:
        moments.append(asyncio.get_running_loop().time())
        if len(moments) < 3:
            raise ExceptionGroup("as a task group does", [RuntimeError()])

    await keep_running(run, "the part")
    assert moments[1] - moments[0] >= 0.99
    assert moments[2] - moments[1] >= 1.99
    assert tracebacks(caplog) == [
        "the part failed, again in 1 s",
        "the part failed, again in 2 s",
    ]


async def test_keep_running_ends_when_it_is_cancelled() -> None:
    async def run() -> None:
        raise RuntimeError

    task = asyncio.create_task(keep_running(run, "the part"))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
