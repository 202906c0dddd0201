"""What an engine takes on at once, for cards that are in use and for machines without one."""

from dataclasses import replace

import pytest
import torch

from moondream2.cache import SlotCache, prefill, slot_bytes
from moondream2.config import MoondreamConfig, public_config
from moondream2.generate import Engine
from moondream2.limits import (
    PREFIX_CROPS,
    DeviceMemory,
    Limits,
    automatic_limits,
    encoding_bytes,
    pool_bytes,
)
from moondream2.model import Moondream
from moondream2.tasks import Caption
from tests.support.checkpoints import ODD_SHAPE
from tests.support.generation import answers, odd_model, request, run, tokenizer_for
from tests.support.peak_memory import PeakMemory

PUBLIC = public_config()
GIB = 2**30


def _cuda(gib: float, *, is_own: bool = True) -> DeviceMemory:
    return DeviceMemory("cuda", int(gib * GIB), is_own)


# What the weights in bfloat16 and the driver leave free of 6, 8, 12, 24, 40, 80 and 141 GB.
@pytest.mark.parametrize(
    ("free", "slots", "max_crops"),
    [
        (0.1, 1, 12),
        (1.6, 1, 12),
        (3.4, 5, 12),
        (7.4, 15, 12),
        (19.2, 40, 36),
        (35.0, 78, 36),
        (74.5, 128, 36),
        (134.0, 128, 36),
    ],
)
def test_limits_of_a_card_follow_from_its_free_memory(
    free: float, slots: int, max_crops: int
) -> None:
    assert automatic_limits(PUBLIC, _cuda(free), torch.bfloat16) == Limits(slots, max_crops)


@pytest.mark.parametrize("free", [3.4, 7.4, 19.2, 35.0, 74.5])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_pool_leaves_room_for_encoding_and_recordings(free: float, dtype: torch.dtype) -> None:
    found = automatic_limits(PUBLIC, _cuda(free), dtype)
    left = free * GIB - found.slots * slot_bytes(PUBLIC.text, dtype)
    assert left >= encoding_bytes(PUBLIC, found.max_crops, dtype) + 0.5 * GIB


def test_three_frames_of_720p_are_encoded_together_where_memory_is_plenty() -> None:
    found = automatic_limits(PUBLIC, _cuda(134), torch.bfloat16)
    assert found.max_crops == 3 * (9 + PREFIX_CROPS)


@pytest.mark.parametrize("free", [3.4, 7.4, 26.0, 54.0])
def test_card_that_shares_its_memory_leaves_most_of_it_to_others(free: float) -> None:
    """A Jetson of 8, 16, 32 and 64 GB."""
    memory = _cuda(free, is_own=False)
    found = automatic_limits(PUBLIC, memory, torch.bfloat16)
    assert found.slots * slot_bytes(PUBLIC.text, torch.bfloat16) <= 0.4 * memory.free
    assert found.slots >= 3


@pytest.mark.parametrize("kind", ["cpu", "mps"])
def test_without_cuda_limits_are_small(kind: str) -> None:
    plenty = DeviceMemory(kind, 100 * GIB, is_own=False)
    assert automatic_limits(PUBLIC, plenty, torch.float32) == Limits(16, 8)
    little = DeviceMemory(kind, 4 * GIB, is_own=False)
    assert automatic_limits(PUBLIC, little, torch.float32) == Limits(2, 8)
    assert pool_bytes(little, encoding=3 * GIB) == int(0.4 * 4 * GIB)


def test_there_is_always_one_slot() -> None:
    huge = replace(PUBLIC, text=replace(PUBLIC.text, max_context=1 << 40))
    for memory in (_cuda(134), DeviceMemory("cpu", GIB, is_own=False)):
        assert automatic_limits(huge, memory, torch.float32).slots == 1


def test_memory_of_a_processor_is_that_of_the_process() -> None:
    memory = DeviceMemory.of(torch.device("cpu"))
    assert memory.free > 0
    assert not memory.is_own


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_memory_of_a_card_is_what_is_free_on_it() -> None:
    memory = DeviceMemory.of(torch.device("cuda", 0))
    assert memory.kind == "cuda"
    assert 0 < memory.free <= torch.cuda.get_device_properties(0).total_memory


@pytest.mark.parametrize(("num_frames", "num_crops", "max_crops"), [(1, 13, 12), (9, 1, 36)])
def test_encoding_holds_no_more_than_is_left_for_it(
    num_frames: int, num_crops: int, max_crops: int
) -> None:
    """One frame that costs more than a step may, and as many as a step takes at most."""
    data, dtype = PUBLIC, torch.bfloat16
    with torch.device("meta"):
        model = Moondream(data).to(dtype)
    peak = _peak(model, num_frames * num_crops) + _peak_of_prefixes(model, num_frames)
    assert peak <= encoding_bytes(data, max_crops, dtype) <= 2 * peak


@torch.inference_mode()
def _peak(model: Moondream, num_crops: int) -> int:
    side = model.config.vision.crop_size
    peak = PeakMemory()
    with peak:
        model.vision(torch.empty(num_crops, 3, side, side, device="meta", dtype=model.dtype))
    return peak.bytes


@torch.inference_mode()
def _peak_of_prefixes(model: Moondream, num: int) -> int:
    """With the keys and values of these prefixes, and of nothing else."""
    length = model.config.text.prefix_length
    config = replace(model.config.text, max_context=length)
    peak = PeakMemory()
    with peak:
        cache = SlotCache(config, num, device=model.device, dtype=model.dtype)
        shape = (num, length, config.hidden_size)
        prefixes = torch.empty(shape, device="meta", dtype=model.dtype)
        prefill(model.text, prefixes, cache, range(num))
    return peak.bytes


def test_engine_takes_what_suits_its_device_unless_it_is_told() -> None:
    config = MoondreamConfig.from_json(ODD_SHAPE)
    model = odd_model()
    found = automatic_limits(config, DeviceMemory.of(model.device), model.dtype)
    engine = Engine(model, tokenizer_for(config))
    assert engine.capacity == found.slots
    assert Engine(model, tokenizer_for(config), slots=3).capacity == 3
    assert answers(run(engine, [request(model, "one", Caption("short"))]))
