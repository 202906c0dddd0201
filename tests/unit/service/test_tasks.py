"""Tasks live as long as their block, whichever way it is left."""

import asyncio

import pytest

from service.tasks import running


class Life:
    """Notes its beginning and its end."""

    def __init__(self) -> None:
        self.moments: list[str] = []

    async def live(self) -> None:
        self.moments.append("begins")
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # an end may take a moment, and is waited for
            self.moments.append("ends")


async def test_tasks_end_with_their_block() -> None:
    life = Life()
    async with running() as tasks:
        tasks.start("life", life.live)
        await asyncio.sleep(0.01)
        assert life.moments == ["begins"]
    assert life.moments == ["begins", "ends"]


async def test_tasks_end_when_the_block_fails() -> None:
    life = Life()
    with pytest.raises(ExceptionGroup) as caught:
        async with running() as tasks:
            tasks.start("life", life.live)
            await asyncio.sleep(0.01)
            raise ValueError("wrong")
    assert isinstance(caught.value.exceptions[0], ValueError)
    assert life.moments == ["begins", "ends"]


async def test_started_task_that_fails_is_started_again(caplog: pytest.LogCaptureFixture) -> None:
    num_starts = 0
    is_again = asyncio.Event()

    async def fail_once() -> None:
        nonlocal num_starts
        num_starts += 1
        if num_starts == 1:
            raise RuntimeError
        is_again.set()

    async with running() as tasks, asyncio.timeout(20):
        tasks.start("failing", fail_once)
        await is_again.wait()
    assert "failing failed, again in 1 s" in caplog.text


async def test_watched_task_that_fails_ends_its_block_and_those_around_it() -> None:
    inner, outer = Life(), Life()

    async def fail() -> None:
        await asyncio.sleep(0.01)
        raise ValueError("wrong")

    with pytest.raises(ExceptionGroup):
        async with running() as around, running() as tasks:
            around.start("outer", outer.live)
            tasks.start("inner", inner.live)
            around.watch("fail", fail)
            await asyncio.Event().wait()
    assert inner.moments == outer.moments == ["begins", "ends"]
