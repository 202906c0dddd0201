"""Requests begin a few at a time, in order, and the loop rests where more are waiting."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable

from gateway.guard.turns import Turns, turns_of_frames
from tests.unit.gateway.apps import OUTSIDE, application, caller

_NUM = 40


async def rounds_of(request: Callable[[], Awaitable[object]]) -> list[int]:
    """In which rounds of the loop each of many requests was done that came at once."""
    done, rounds = [], 0

    async def ask() -> None:
        await request()
        done.append(rounds)

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    await asyncio.gather(*(ask() for _ in range(_NUM)))
    counting.cancel()
    return done


async def test_few_requests_do_not_wait() -> None:
    turns = Turns(per_round=2)
    for _ in range(50):
        async with asyncio.timeout(0.5):
            await turns.take()
            await turns.take()
        await asyncio.sleep(0)
        await asyncio.sleep(0)


async def test_many_begin_in_order_and_leave_the_loop_to_others() -> None:
    turns, began, rounds = Turns(per_round=2, rest=1.0), [], 0

    async def request(number: int) -> None:
        await turns.take()
        began.append((number, rounds))

    async def others() -> None:
        nonlocal rounds
        while True:
            rounds += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(others())
    await asyncio.gather(*(request(number) for number in range(40)))
    counting.cancel()
    assert [number for number, _ in began] == list(range(40))
    at_once = [sum(each == last for _, each in began) for last in {each for _, each in began}]
    assert max(at_once) <= 2


async def test_request_that_is_given_up_takes_no_turn() -> None:
    turns = Turns(per_round=1, rest=0.0)
    tasks = [asyncio.create_task(turns.take()) for _ in range(10)]
    await asyncio.sleep(0)
    for task in tasks[1:9]:
        task.cancel()
    async with asyncio.timeout(1):
        await tasks[9]
    async with asyncio.timeout(1):
        await turns.take()


async def test_frames_begin_a_few_in_a_round_and_without_a_rest() -> None:
    rounds = await rounds_of(turns_of_frames().take)
    assert 2 < max(Counter(rounds).values()) <= 10
    assert rounds[-1] - rounds[0] < _NUM  # a rest would be hundreds of rounds that do nothing


async def test_refused_frames_wait_for_the_turns_of_everybody() -> None:
    async with caller(application(), OUTSIDE) as stranger:

        async def post() -> None:
            answer = await stranger.post("/motion/detect", json={})
            assert answer.status_code == 401

        rounds = await rounds_of(post)
    assert max(Counter(rounds).values()) <= 2
