"""What runs on MPS, as far as that goes without one: its own ways through the engine on a CPU.

The model says that it is on MPS, and whatever is asked for there is made on the CPU. MPS has no
64-bit floating point numbers, so an operation that makes one fails.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from moondream2.cache import SlotCache
from moondream2.errors import QuantizeError
from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.quantize import quantize_weights
from moondream2.tasks import Caption, ChoiceAnswer, Choose, Detect, Point, Query, Task
from tests.support.generation import (
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
    tokenizer_for,
)

MPS = torch.device("mps")
TASKS: tuple[Task, ...] = (
    Caption("short"),
    Detect("w30"),
    Query("w40"),
    Point("w31"),
    Choose("w33", ("w34", "w35 w36")),
)


class _OnCpu(TorchFunctionMode):
    """Makes on the CPU what is asked for on MPS."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        named = {name: _swap(value) for name, value in (kwargs or {}).items()}
        return func(*map(_swap, args), **named)


class _NoFloat64(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Fails when an operation makes a tensor that MPS cannot hold."""

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        for made in tree_leaves(result):
            if isinstance(made, torch.Tensor):
                assert made.dtype not in {torch.float64, torch.complex128}, f"{func} on MPS"
        return result


class _SaysMps(Moondream):
    """A model on the CPU that says otherwise."""

    @property
    def device(self) -> torch.device:
        return MPS


def _swap(value: Any) -> Any:
    return "cpu" if value == "mps" or (isinstance(value, torch.device) and value == MPS) else value


@contextmanager
def _pretended() -> Iterator[None]:
    with _OnCpu(), _NoFloat64():  # type: ignore[no-untyped-call]
        yield


def _model() -> _SaysMps:
    exact = odd_model(eos=-1000.0)
    model = _SaysMps(exact.config).eval().requires_grad_(False)
    model.load_state_dict(exact.state_dict())
    return model


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_skill_runs_without_float64(temperature: float) -> None:
    model = _model()
    settings: dict[str, Any] = {"temperature": temperature, "size": (260, 130)}
    requests = [request(model, str(seed), *TASKS, seed=seed, **settings) for seed in range(3)]
    with _pretended():
        found = answers(run(odd_engine(model, slots=4), requests))
    expected = answers(run(odd_engine(odd_model(eos=-1000.0), slots=4), requests))
    assert found.keys() == expected.keys()
    for key, group in found.items():
        for answer, other in zip(group, expected[key], strict=True):
            if isinstance(other, ChoiceAnswer):
                assert isinstance(answer, ChoiceAnswer)
                assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-5)
            else:
                assert discrete(answer) == discrete(other)


def test_pool_is_the_one_of_a_device_and_sized_by_the_memory_of_the_machine() -> None:
    with _pretended():
        model = _model()
        engine = Engine(model, tokenizer_for(model.config))
    assert engine.capacity == 16
    assert type(engine._passes._pool.cache) is SlotCache


def test_float64_is_seen() -> None:
    with pytest.raises(AssertionError, match="on MPS"), _pretended():
        torch.ones(2).double()


def test_weights_are_not_shrunk_there() -> None:
    with pytest.raises(QuantizeError, match="not mps"):
        quantize_weights(_model(), "int8")
