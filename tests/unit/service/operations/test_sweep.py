import asyncio
from collections.abc import AsyncIterator

import pytest

from service.errors import StoreError
from service.operations.operations import OperationError
from service.operations.sweep import Sweep


async def groups(gate: asyncio.Event) -> AsyncIterator[int]:
    yield 2
    await gate.wait()
    yield 3


async def test_what_takes_long_goes_on_behind_the_answer() -> None:
    gate, clearing = asyncio.Event(), Sweep("clearing", answer_after_s=0.05)
    answer = await clearing.run(groups(gate))
    assert (answer.count, answer.is_complete) == (2, False)
    with pytest.raises(OperationError, match="2 jobs so far") as refused:
        await clearing.run(groups(gate))
    assert refused.value.code == "wrong_state"
    gate.set()
    await asyncio.sleep(0.01)
    answer = await clearing.run(groups(gate))
    assert (answer.count, answer.is_complete) == (5, True)


async def test_store_that_refuses_is_said_and_the_next_order_begins_anew() -> None:
    async def refuse() -> AsyncIterator[int]:
        yield 1
        raise StoreError("disk")

    gate, clearing = asyncio.Event(), Sweep("clearing")
    gate.set()
    with pytest.raises(StoreError):
        await clearing.run(refuse())
    assert (await clearing.run(groups(gate))).count == 5
