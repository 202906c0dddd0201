"""Linear layers in 8 bits on a CPU: a third of the memory, and the more of the time.

Weights have a scale for each output, fixed at loading. Activations are shrunk as they come, each
row (a token or a patch) by its own greatest value, so that what a row gives does not depend on the
rows beside it, bit for bit. Products are added up in 32 bits and come out in float32; norms,
attention, the embedding, the patch embedding and the region heads stay in float32.

A processor without VNNI adds pairs of 8-bit products in 16 bits, where the greatest ones would
overflow: activations have 7 bits there.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from moondream2.config import DEFAULT_REVISION, MoondreamConfig
from moondream2.errors import QuantizeError
from moondream2.model import Moondream
from moondream2.weights import tensors_of

#: The kernels for x86; those of other processors are slower than float32 here.
_ENGINE = "fbgemm"
_LEAST = 1e-30  # a row of zeros has no scale of its own
_WEIGHT_STEPS = 127

#: Layers that are shrunk. What reads pixels and what gives coordinates stays exact: it is small.
_SHRUNK = ("vision.blocks.", "vision.proj_mlp.", "text.blocks.", "text.lm_head")


class Int8Linear(nn.Module):
    """A linear layer that can only be run: not trained, moved, cast or saved.

    Args:
        weight: (out, in) float32 on the CPU.
        bias: (out,) float32.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        super().__init__()
        self.out_features, self.in_features = weight.shape
        self._packed = _pack(weight)
        self._bias = bias
        steps = 127 if _has_vnni() else 63
        self._step, self._zero = 1.0 / steps, steps + 1

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out), float32."""
        rows = x.reshape(-1, self.in_features)  # (N, in)
        scale = rows.abs().amax(dim=-1, keepdim=True).clamp_(min=_LEAST)  # NaN stays NaN
        out: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / scale, self._step, self._zero, self._packed
        )
        out.mul_(scale)
        if self._bias is not None:
            out.add_(self._bias)
        return out.view(*x.shape[:-1], self.out_features)


def can_shrink() -> bool:
    """Whether this processor has the kernels."""
    return _ENGINE in torch.backends.quantized.supported_engines


def check_processor() -> None:
    """Raise `QuantizeError` where `can_shrink` is false."""
    if not can_shrink():
        raise QuantizeError("int8 weights need a processor with x86 instructions, or CUDA")


def load_int8(folder: Path | str, *, revision: str = DEFAULT_REVISION) -> Moondream:
    """Load a model folder with shrunk layers, each as soon as it is read.

    Never holds more than the shrunk model and the widest layer in float32.

    Args:
        folder: Holds `config.json` and the weights, in any dtype.
        revision: Release to assume when `config.json` states no dimensions.

    Raises:
        ModelFileError: A file is missing, damaged, or of another model.
        QuantizeError: The processor cannot run it.
    """
    check_processor()
    config = MoondreamConfig.from_folder(folder, revision=revision)
    with torch.device("meta"):
        model = Moondream(config)
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    state: dict[str, Tensor] = {}
    halves: dict[str, Tensor] = {}  # weights whose bias has not been read, or the reverse
    shrunk = set(_names(model))
    for name, tensor in tensors_of(folder, shapes):
        layer, _, part = name.rpartition(".")
        if layer not in shrunk:
            state[name] = tensor
            continue
        halves[part] = tensor
        if len(halves) == 2:
            model.set_submodule(layer, Int8Linear(halves.pop("weight"), halves.pop("bias")))
    model.load_state_dict(state, assign=True)
    return model.requires_grad_(False).eval()


def shrink_linears(model: Moondream) -> None:
    """Replace the layers of a model in memory, one by one, and cast the rest to float32.

    Args:
        model: On the CPU, in any dtype.

    Raises:
        QuantizeError: The processor cannot run it.
    """
    check_processor()
    for name in list(_names(model)):
        linear = model.get_submodule(name)
        assert isinstance(linear, nn.Linear)
        weight, bias = linear.weight.detach().float(), linear.bias.detach().float()
        model.set_submodule(name, Int8Linear(weight, bias))
    model.float()


def _names(model: Moondream) -> Iterator[str]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.startswith(_SHRUNK):
            yield name


def _pack(weight: Tensor) -> object:
    """Shrink a weight to 8 bits and bring it into the order the kernels read it in."""
    scale = weight.abs().amax(dim=1).clamp_(min=_LEAST) / _WEIGHT_STEPS
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


def _has_vnni() -> bool:
    features = torch.cpu.get_capabilities()
    return bool(features.get("avx512_vnni") or features.get("avx_vnni"))
