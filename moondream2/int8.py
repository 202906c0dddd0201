"""Linear layers in 8 bits on a CPU: a third of the memory, and the more of the time.

Weights have a scale for each output, fixed at loading. Activations are shrunk as they come, each
row (a token or a patch) by its own greatest value, so that what a row gives does not depend on the
rows beside it, bit for bit. Products are added up in 32 bits and come out in float32; norms,
attention and the embedding stay in float32. The patch embedding and the region heads have weights
of 16 bits: float32 products of all other kernels depend on how many rows there are.

Where kernels add pairs of 8-bit products in 16 bits, the greatest ones would overflow: weights have
7 bits there. Activations have 8 everywhere; they spread more widely, and would lose more.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moondream2.config import DEFAULT_REVISION, MoondreamConfig
from moondream2.errors import QuantizeError
from moondream2.memory import give_back
from moondream2.model import Moondream
from moondream2.weights import tensors_of

#: The kernels for x86; those of other processors are slower than float32 here.
_ENGINE = "fbgemm"
_LEAST = 1e-30  # a row of zeros has no scale of its own
#: From zero to the greatest activation of a row; 128 more make it unsigned.
_ACTIVATION_STEPS = 127
#: The same of a weight, in 8 and in 7 bits: 2 × 255 × 64 is less than 2^15.
_FULL_STEPS, _REDUCED_STEPS = 127, 64

#: Bytes of full weights that are read until their memory is given back to the system. Between the
#: shrunk ones it would stay with the process: half as much again as the model.
_GIVE_BACK_BYTES = 2**28

#: Layers in 8 bits. What reads pixels and what gives coordinates has 16: it is small.
_SHRUNK = ("vision.blocks.", "vision.proj_mlp.", "text.blocks.", "text.lm_head")
#: Kernels for one and for two rows add in another order than those for more; of six rows there is
#: one kernel for all processors.
_ROWS = 6


class Int8Linear(nn.Module):
    """A linear layer that can only be run: not trained, moved, cast or saved.

    Args:
        weight: (out, in) float32 on the CPU.
        bias: (out,) float32.
        steps: Of a weight from zero to the greatest of its output; None: `weight_steps()`.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, steps: int | None = None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = _pack(weight, steps or weight_steps())
        self._bias = bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), float32."""
        rows = x.reshape(-1, self.in_features)  # (N, in)
        scale = rows.abs().amax(dim=-1, keepdim=True).clamp_(min=_LEAST)  # NaN stays NaN
        out: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / scale, 1.0 / _ACTIVATION_STEPS, _ACTIVATION_STEPS + 1, self._packed
        )
        out.mul_(scale)
        if self._bias is not None:
            out.add_(self._bias)
        return out.view(*x.shape[:-1], self.out_features)


class HalfLinear(nn.Module):
    """The same with weights of 16 bits and activations of 32, for what 8 bits are too coarse.

    Args:
        weight: (out, in) float32 on the CPU, below 65,504.
        bias: (out,) float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        with _kernels():
            self._packed: object = torch.ops.quantized.linear_prepack_fp16(weight, bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), float32."""
        rows = x.reshape(-1, self.in_features)  # (N, in)
        padded = F.pad(rows, (0, 0, 0, -len(rows) % _ROWS))
        out: Tensor = torch.ops.quantized.linear_dynamic_fp16(padded, self._packed)
        return out[: len(rows)].view(*x.shape[:-1], self.out_features)


@cache
def weight_steps() -> int:
    """Steps of a weight from zero to the greatest of its output that cannot overflow here.

    Asked of the kernels themselves: what a processor can do is not what they use. AVX-VNNI without
    AVX-512, which most small computers have, is one that they leave unused.
    """
    greatest = torch.ones(1, 64)
    found = Int8Linear(greatest, None, _FULL_STEPS)(greatest)
    return _FULL_STEPS if round(found.item()) == greatest.numel() else _REDUCED_STEPS


def can_shrink() -> bool:
    """Whether this processor has the kernels."""
    return _ENGINE in torch.backends.quantized.supported_engines


def check_processor() -> None:
    """Raise `QuantizeError` where `can_shrink` is false."""
    if not can_shrink():
        raise QuantizeError("int8 weights need a processor with x86 instructions, or CUDA")


def load_int8(
    folder: Path | str, *, revision: str = DEFAULT_REVISION, steps: int | None = None
) -> Moondream:
    """Load a model folder with shrunk layers, each as soon as it is read.

    Never holds more than the shrunk model and the widest layer in float32.

    Args:
        folder: Holds `config.json` and the weights, in any dtype.
        revision: Release to assume when `config.json` states no dimensions.
        steps: Of weights; None: `weight_steps()`.

    Raises:
        ModelFileError: A file is missing, damaged, or of another model.
        QuantizeError: The processor cannot run it, or 16 bits cannot hold a weight.
    """
    check_processor()
    config = MoondreamConfig.from_folder(folder, revision=revision)
    with torch.device("meta"):
        model = Moondream(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    halves: dict[str, Tensor] = {}  # weights whose bias has not been read, or the reverse
    linears = set(_names(model))
    num_freed = 0
    for name, tensor in tensors_of(folder, shapes):
        layer, _, part = name.rpartition(".")
        if layer not in linears:
            state[name] = tensor
            continue
        halves[part] = tensor
        if len(halves) == 2:
            weight, bias = halves.pop("weight"), halves.pop("bias")
            model.set_submodule(layer, _shrunk(layer, weight, bias, steps))
            num_freed += weight.nbytes
            if num_freed >= _GIVE_BACK_BYTES:
                num_freed = 0
                give_back()
    model.load_state_dict(state, assign=True)
    give_back()
    return model.requires_grad_(False).eval()


def shrink_linears(model: Moondream) -> None:
    """Replace the linear layers of a model in memory, one by one; cast the rest to float32.

    Args:
        model: On the CPU, in any dtype.

    Raises:
        QuantizeError: The processor cannot run it, or 16 bits cannot hold a weight.
    """
    check_processor()
    for name in list(_names(model)):
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        weight, bias = linear.weight.detach().float(), linear.bias.detach().float()
        model.set_submodule(name, _shrunk(name, weight, bias))
    model.float()
    give_back()


def shrunk_bytes(model: Moondream) -> int:
    """What the weights of a model take once they are shrunk; it can be on the meta device."""
    linears = {f"{name}.weight": 1 if name.startswith(_SHRUNK) else 2 for name in _names(model)}
    return sum(
        parameter.numel() * linears.get(name, torch.float32.itemsize)
        for name, parameter in model.named_parameters()
    )


def _names(model: Moondream) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            yield name


def _shrunk(
    name: str, weight: Tensor, bias: Tensor, steps: int | None = None
) -> Int8Linear | HalfLinear:
    if name.startswith(_SHRUNK):
        return Int8Linear(weight, bias, steps)
    if not weight.abs().amax() <= torch.finfo(torch.float16).max:  # nor if it is no number
        raise QuantizeError(
            f"{name}: has weights that 16 bits cannot hold; set model.quantization: none"
        )
    return HalfLinear(weight, bias)


def _pack(weight: Tensor, steps: int) -> object:
    """Shrink a weight to 8 bits and bring it into the order the kernels read it in."""
    scale = weight.abs().amax(dim=1).clamp_(min=_LEAST) / steps
    zero = torch.zeros(len(weight), dtype=torch.long)
    with _kernels(), warnings.catch_warnings():
        # torch will have other functions for this one day; it is pinned to one version here.
        warnings.filterwarnings("ignore", message="torch.quantize_per_tensor", category=UserWarning)
        shrunk = torch.quantize_per_channel(weight, scale.double(), zero, 0, torch.qint8)
        packed: object = torch.ops.quantized.linear_prepack(shrunk, None)
    return packed


@contextmanager
def _kernels() -> Iterator[None]:
    """Pack for our kernels: which ones is a switch of the whole process."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = _ENGINE
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
