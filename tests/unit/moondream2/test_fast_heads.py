"""Heads as large as the public model's, in its format: what the fast kernels of a GPU are made for.

The recorded reference is float32, and its image encoder has smaller heads, so none of its tests
would see those kernels. The same tests run on a CPU, where their code is seen to be right.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from moondream2.crops import prepare
from moondream2.decoding import Decoding
from moondream2.model import Moondream
from moondream2.passes import Passes, Reading
from moondream2.varlen import flash
from tests.support.checkpoints import assert_near, shape
from tests.support.generation import RunsAgain, odd_model, picture
from tests.support.varlen import ReadsLengths

#: 72 values a head in the image encoder, 64 in the language model.
_SHAPE = shape(
    text={"hidden_size": 128, "heads": 2, "kv_heads": 2, "head_dim": 64, "rotary_dim": 32},
    vision={"hidden_size": 144, "heads": 2, "projector_out_size": 128},
    region={"hidden_size": 128},
)
_PROMPT = (1, 21, 22, 3)
#: bfloat16 has 8 bits, and errors of a few layers add up.
_BOUND = 0.05

needs_cuda = (
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)
devices = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=needs_cuda)])


def _model(device: str, dtype: torch.dtype) -> Moondream:
    return odd_model(_SHAPE).to(device, dtype)


@torch.inference_mode()
def _states(model: Moondream, *, graphs: bool = True, decoding: Decoding | None = None) -> Tensor:
    """Hidden states: two prompts, then tokens of both, beside a third frame's prompt and tokens."""
    passes = Passes(model, graphs=graphs, decoding=decoding)
    assert passes.resize(4)
    config = model.config
    sizes = ((90, 80), (260, 130), (220, 120))
    frames = [prepare(picture(seed, *size), config.vision) for seed, size in enumerate(sizes)]
    passes.encode([passes.stage(each) for each in frames], [0, 1, 3], max_crops=9)
    start = config.text.prefix_length
    for slot in (0, 1, 3):
        passes.begin(slot, start, None)
    filled = dict.fromkeys((0, 1, 3), start)
    found = [passes.read([Reading(slot, start, _PROMPT) for slot in (0, 1)], filled)]
    lengths = dict.fromkeys((0, 1), start + len(_PROMPT))
    for step in range(6):
        readings = [Reading(slot, length, (30 + step,)) for slot, length in lengths.items()]
        if step == 2:
            readings.append(Reading(3, start, _PROMPT))
        found.append(passes.read(readings, filled | lengths))
        lengths = {each.slot: each.start + len(each.tokens) for each in readings}
    return torch.cat(found).float().cpu()


@devices
@pytest.mark.parametrize("reads_lengths", [False, True])
def test_replayed_steps_are_as_packed_ones_in_bfloat16(device: str, reads_lengths: bool) -> None:
    """With contexts that are fixed and masked, and with an operator that reads lengths."""
    model = _model(device, torch.bfloat16)
    decoding = Decoding(RunsAgain, ReadsLengths())
    if device == "cuda":
        decoding = Decoding.of(model)
        assert decoding.varlen is flash
    decoding = decoding if reads_lengths else replace(decoding, varlen=None)
    replayed = _states(model, decoding=decoding)
    assert_near(replayed, _states(model, graphs=False), bound=_BOUND)


@devices
def test_bfloat16_is_near_float32(device: str) -> None:
    exact = _states(_model("cpu", torch.float32))
    assert_near(_states(_model(device, torch.bfloat16)), exact, bound=_BOUND)


@contextmanager
def _fast_kernels_only() -> Iterator[None]:
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        yield


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
def test_every_pass_has_a_fast_attention_kernel(graphs: bool) -> None:
    """torch would compute attention in pieces, many times as slowly, and say nothing."""
    with _fast_kernels_only():
        assert torch.isfinite(_states(_model("cuda", torch.bfloat16), graphs=graphs)).all()
