"""A device that is short of memory: what is held while a smaller pool of slots is made."""

import weakref
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from moondream2.decoding import Decoding
from moondream2.generate import Engine
from moondream2.tasks import Caption, Detect, Finished, Query, Resized
from tests.support.generation import (
    RunsAgain,
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
)


class Pools(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees pools of slots being made: whether an older one was still held, and refuses some.

    Args:
        engine: Whose first pool is there already.
        refused: Pools that do not fit, counted from the first one seen here.
    """

    def __init__(self, engine: Engine, refused: Sequence[int] = ()) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        cache = engine._passes._pool.cache
        self._shape = (cache.keys.shape[0], *cache.keys.shape[2:])  # of all but the slots
        self._made = [weakref.ref(cache.keys), weakref.ref(cache.values)]
        self._refused = refused
        self._is_values = False
        self.was_held: list[bool] = []  # of each pool: whether an older one was there

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.ops.aten.empty.memory_format or not self._is_pool(args[0]):
            return func(*args, **(kwargs or {}))
        if not self._is_values:
            self.was_held.append(any(ref() is not None for ref in self._made))
            if len(self.was_held) - 1 in self._refused:
                raise torch.OutOfMemoryError("injected: no room for a pool")
        self._is_values = not self._is_values
        made = func(*args, **(kwargs or {}))
        self._made.append(weakref.ref(made))
        return made

    def _is_pool(self, shape: Sequence[int]) -> bool:
        return len(shape) == len(self._shape) + 1 and (shape[0], *shape[2:]) == self._shape


class RunsShort:
    """Lets one pass run out of memory, deep in the engine, as a device would."""

    def __init__(self, failing: int) -> None:
        self._left = failing

    def __call__(self, kind: str, size: int) -> None:
        self._left -= 1
        if self._left == 0:
            raise torch.OutOfMemoryError("injected")


@pytest.mark.parametrize("failing", [1, 2, 3, 5])
def test_old_pool_is_free_before_a_smaller_one_is_made(failing: int) -> None:
    model = odd_model()
    engine = odd_engine(model, slots=4, decoding=Decoding(RunsAgain), watch=RunsShort(failing))
    for index in range(4):
        engine.submit(request(model, str(index), seed=index))
    with Pools(engine) as pools:
        events = run(engine)
    assert pools.was_held == [False]
    assert len(answers(events)) == 4


def test_pool_that_does_not_fit_is_halved_until_it_does() -> None:
    """The memory that was short may be short of the half, too."""
    model = odd_model()
    engine = odd_engine(model, slots=8, decoding=Decoding(RunsAgain), watch=RunsShort(1))
    engine.submit(request(model))
    with Pools(engine, refused=(0, 1)) as pools:
        events = run(engine)
    assert pools.was_held == [False, False, False]
    assert [event.capacity for event in events if isinstance(event, Resized)] == [1]
    assert [event for event in events if isinstance(event, Finished)]


def test_no_memory_for_a_single_row_is_an_error() -> None:
    """The process is then better begun anew."""
    model = odd_model()
    engine = odd_engine(model, slots=4, decoding=Decoding(RunsAgain), watch=RunsShort(1))
    engine.submit(request(model))
    with (
        Pools(engine, refused=range(99)),
        pytest.raises(torch.OutOfMemoryError, match="a single row"),
    ):
        run(engine)


@pytest.mark.parametrize("limit_s", [None, 0.0])
def test_pool_is_not_made_anew_under_a_frame_between_two_tasks(limit_s: float | None) -> None:
    """Or while it is being encoded: its prefix lies in a slot although no row runs."""
    model = odd_model(eos=1000.0)
    tasks = (Caption("short"), Query("w33"), Detect("w30"))
    wanted = request(model, "wanted", *tasks, size=(220, 120))
    expected = answers(run(odd_engine(model, slots=1), [wanted]))
    engine = odd_engine(
        model, slots=2, watch=RunsShort(1), decoding=Decoding(RunsAgain), encode_limit_s=limit_s
    )
    run(engine, [request(model, "first")])
    assert engine.capacity == 1
    engine.submit(wanted)
    events = []
    while engine.has_work:
        events += engine.step()
        engine._fault_in = -10_000  # as if memory had sufficed for long
    assert {key: list(map(discrete, each)) for key, each in answers(events).items()} == {
        key: list(map(discrete, each)) for key, each in expected.items()
    }
    assert engine.capacity == 1
    engine.step()
    assert engine.capacity == 2
