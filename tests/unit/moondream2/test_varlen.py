"""Steps that read the length of each row: the engine around the operator, and the trial of it."""

import logging
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moondream2.cache import RowsAttend, Segment, SlotCache
from moondream2.config import MoondreamConfig, TextConfig, public_config
from moondream2.decoding import Decoding
from moondream2.generate import Engine
from moondream2.graphs import DecodeGraphs, Recording
from moondream2.model import Moondream
from moondream2.passes import Passes
from moondream2.tasks import Caption, Detect, Query, Request
from moondream2.varlen import LengthsAttend, Varlen, fault_of, find_varlen, flash
from tests.support.checkpoints import ODD_SHAPE
from tests.support.generation import (
    RunsAgain,
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
)
from tests.support.launches import META
from tests.support.varlen import ReadsLengths

CPU = torch.device("cpu")
CONFIG = MoondreamConfig.from_json(ODD_SHAPE).text


def _cache(*filled: int) -> SlotCache:
    """A pool whose slots have numbers in their first positions and none behind."""
    cache = SlotCache(CONFIG, len(filled), device=CPU, dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    for pool in (cache.keys, cache.values):
        pool.fill_(torch.nan)
        for slot, count in enumerate(filled):
            here = pool[:, slot, :, :count]
            here.copy_(torch.randn(here.shape, generator=draw))
    return cache


def test_each_slot_is_read_up_to_its_own_length() -> None:
    filled = (7, 0, 30)
    positions = torch.tensor(filled)[:, None]
    q, k, v = (torch.randn(3, heads, 1, 8) for heads in (6, 2, 2))
    operator = ReadsLengths()
    own = LengthsAttend(_cache(*filled), positions, torch.tensor(filled) + 1, operator)(1, q, k, v)
    segments = [Segment(slot, count, 1) for slot, count in enumerate(filled)]
    packed = RowsAttend(_cache(*filled), segments)(1, *(x.permute(2, 1, 0, 3) for x in (q, k, v)))
    torch.testing.assert_close(own, packed.permute(2, 1, 0, 3))
    assert operator.num_read == sum(filled) + 3


def test_idle_slot_keeps_what_it_has_and_one_position_of_it_is_read() -> None:
    model = odd_model()
    cache, operator = _cache(20, 9, 40, 5), ReadsLengths()
    graphs = DecodeGraphs(model.text, cache, RunsAgain(), operator)
    before, operator.num_read = cache.keys.clone(), 0
    with torch.inference_mode():
        hidden = graphs.read(torch.randn(2, CONFIG.hidden_size), [0, 2], {0: 20, 1: 9, 2: 40})
    assert torch.isfinite(hidden).all()
    assert operator.num_read == CONFIG.layers * (21 + 1 + 41 + 1)
    changed = (before.nan_to_num() != cache.keys.nan_to_num()).nonzero()[:, [1, 3]]
    # Behind what it has; a slot that has nothing, in its last position, as when it was recorded.
    assert {tuple(place) for place in changed.tolist()} == {(0, 20), (1, 9), (2, 40)}


@pytest.mark.parametrize("slots", [1, 5])
def test_answers_are_those_of_packed_steps_whatever_memory_holds(slots: int) -> None:
    """Rows of every skill join and leave, and no slot is ever cleared."""
    model = odd_model()
    tasks = (Caption("short"), Detect("w30"), Query("w40", reasoning=True))
    frames = [request(model, str(seed), *tasks, seed=seed) for seed in range(6)]
    frames.append(Request("bare", (0.0,), None, (Query("w33"),), max_tokens=12))
    expected = _found(odd_engine(model, slots=1), frames)
    torch.use_deterministic_algorithms(True)  # which fills new memory with no numbers
    try:
        engine = odd_engine(model, slots=slots, decoding=Decoding(RunsAgain, ReadsLengths()))
        assert _found(engine, frames) == expected
    finally:
        torch.use_deterministic_algorithms(False)


class Fails(RunsAgain):
    """Raises what a driver may raise in the middle of a capture."""

    def __call__(self, run: Callable[[], Tensor]) -> Recording:
        if self.num_recordings == 2:
            raise torch.AcceleratorError("operation not permitted\nwhen stream is capturing")
        return super().__call__(run)


def test_steps_that_cannot_be_recorded_with_lengths_are_recorded_over_fixed_contexts(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = odd_model()
    frames = [request(model, str(seed), seed=seed) for seed in range(3)]
    expected = _found(odd_engine(model, slots=1), frames)
    recorders = iter((Fails(), working := RunsAgain()))
    engine = odd_engine(model, slots=5, decoding=Decoding(lambda: next(recorders), ReadsLengths()))
    assert _found(engine, frames) == expected
    (record,) = caplog.records
    assert "length of each row cannot be recorded: operation not permitted when" in (
        record.getMessage()
    )
    assert engine._passes.decoding.varlen is None
    assert working.num_recordings == 4


def _found(engine: Engine, requests: list[Request]) -> dict[str, list[object]]:
    found = answers(run(engine, requests))
    return {key: [discrete(answer) for answer in group] for key, group in found.items()}


@pytest.mark.parametrize(("varlen", "num"), [(None, 56), (flash, 7)])
def test_one_recording_for_each_number_of_rows_and_none_for_contexts(
    varlen: Varlen | None, num: int
) -> None:
    """Of the public model with 64 slots, but few layers, on a device that has shapes alone."""
    config = public_config()
    config = replace(config, text=replace(config.text, layers=1))
    with META:
        model = Moondream(config).to(torch.bfloat16)
    cache = SlotCache(model.config.text, 64, device=META, dtype=torch.bfloat16)
    recorder = RunsAgain()
    with torch.inference_mode():
        graphs = DecodeGraphs(model.text, cache, recorder, varlen)
        assert recorder.num_recordings == num
        hidden = graphs.read(torch.empty(2, 2048, device=META), [0, 9], {0: 735, 9: 800})
    assert (hidden.shape, hidden.device, recorder.num_recordings) == ((2, 2048), META, num)


def test_operator_that_does_what_it_says_has_no_fault() -> None:
    for dtype in (torch.float32, torch.bfloat16):
        assert fault_of(ReadsLengths(), CONFIG, CPU, dtype) is None
        assert fault_of(ReadsLengths(), public_config().text, CPU, dtype) is None


def _ignores_lengths(
    q: Tensor, k: Tensor, v: Tensor, queries: Tensor, starts: Tensor, used: Tensor, context: int
) -> Tensor:
    return ReadsLengths()(q, k, v, queries, starts, torch.full_like(used, context), context)


def _ignores_starts(
    q: Tensor, k: Tensor, v: Tensor, queries: Tensor, starts: Tensor, used: Tensor, context: int
) -> Tensor:
    return ReadsLengths()(q, k, v, queries, starts * 0, used, context)


def _ignores_last(
    q: Tensor, k: Tensor, v: Tensor, queries: Tensor, starts: Tensor, used: Tensor, context: int
) -> Tensor:
    return ReadsLengths()(q, k, v, queries, starts, used - 1, context)


def _ignores_scores(
    q: Tensor, k: Tensor, v: Tensor, queries: Tensor, starts: Tensor, used: Tensor, context: int
) -> Tensor:
    return ReadsLengths()(q * 0.5, k, v, queries, starts, used, context)


@pytest.mark.parametrize(
    "wrong", [_ignores_lengths, _ignores_starts, _ignores_last, _ignores_scores]
)
@pytest.mark.parametrize("config", [CONFIG, public_config().text])
def test_operator_with_other_results_is_found_out(wrong: Varlen, config: TextConfig) -> None:
    assert fault_of(wrong, config, CPU, torch.bfloat16) is not None


def test_operator_that_is_not_there_is_a_reason() -> None:
    """On a CPU, torch has none."""
    reason = fault_of(flash, public_config().text, CPU, torch.bfloat16)
    assert reason is not None
    assert "flash_attention" in reason


@pytest.mark.parametrize(
    ("device", "dtype"), [("cpu", torch.bfloat16), ("cuda", torch.float32), ("mps", torch.float16)]
)
def test_other_devices_and_float32_keep_fixed_contexts(
    device: str, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        assert find_varlen(CONFIG, torch.device(device), dtype) is None
    assert not caplog.records


needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


@pytest.mark.gpu
@needs_cuda
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("config", [CONFIG, public_config().text])
def test_flash_operator_does_what_it_says(config: TextConfig, dtype: torch.dtype) -> None:
    device = torch.device("cuda")
    assert fault_of(flash, config, device, dtype) is None


@pytest.mark.gpu
@needs_cuda
def test_engine_on_cuda_reads_lengths_in_16_bits() -> None:
    passes = Passes(odd_model().to("cuda", torch.bfloat16))
    assert passes.decoding.varlen is flash
