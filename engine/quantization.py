"""Which format the weights get, and whether memory will do for it; docs/decisions/0052.

No clock and no I/O: the processor's instructions and the memory are given, so that the decision
about any machine can be tested on any other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from moondream2.cache import slot_bytes
from moondream2.config import MoondreamConfig
from moondream2.int8 import can_shrink, shrunk_bytes
from moondream2.memory import available_bytes
from moondream2.model import Moondream

Quantization = Literal["none", "int8", "int4"]

#: Fewer weights than this stay in the caches of a processor: 8 bits would gain nothing.
_LEAST_WEIGHTS = 100_000_000
#: What a process takes besides weights, keys and values: torch, pages of the file that is being
#: read (256 MiB), activations of a pass.
_WORKING_BYTES = 1 << 29
_ANSWER_TOKENS = 128  # a slot is longer than a frame with its answers; the rest is never touched
_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")  # the last is ARM's


@dataclass(frozen=True, slots=True)
class Host:
    """What runs the model.

    Attributes:
        device: `cpu`, `cuda`.
        features: Instructions of the processor, by the names of torch.
        has_int8: Whether torch has 8-bit kernels for the processor.
        available: Bytes of memory that can be taken.
    """

    device: str
    features: Mapping[str, object]
    has_int8: bool
    available: int

    @classmethod
    def here(cls, device: torch.device) -> "Host":
        """This machine."""
        features = torch.cpu.get_capabilities()
        return cls(device.type, features, can_shrink(), available_bytes())

    @property
    def has_bfloat16(self) -> bool:
        """Whether the processor computes in bfloat16."""
        return any(self.features.get(name) for name in _BFLOAT16)


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a model is."""

    num_weights: int
    shrunk: int  #: bytes of the weights in 8 bits
    frame_values: int  #: keys and values of one frame

    @classmethod
    def of(cls, config: MoondreamConfig) -> "Sizes":
        """Those of a model with these dimensions."""
        with torch.device("meta"):
            model = Moondream(config)
        num_weights = sum(parameter.numel() for parameter in model.parameters())
        used = (config.text.prefix_length + _ANSWER_TOKENS) / config.text.max_context
        frame_values = int(slot_bytes(config.text, torch.int8) * min(1.0, used))
        return cls(num_weights, shrunk_bytes(model), frame_values)

    def needed(self, quantization: str, dtype: torch.dtype) -> int:
        """Bytes that a CPU process needs to load the model and answer one frame."""
        if quantization == "int8":
            return self.shrunk + self.frame_values * torch.float32.itemsize + _WORKING_BYTES
        return (self.num_weights + self.frame_values) * dtype.itemsize + _WORKING_BYTES


def choose_quantization(
    wanted: Quantization | Literal["auto"],
    dtype: str,
    host: Host,
    sizes: Sizes,
    *,
    is_compiled: bool = False,
) -> Quantization:
    """Settle `model.quantization`.

    Args:
        wanted: `auto`, `none`, `int8`, `int4`.
        dtype: As in the settings; whoever names one gets exactly that, unless `wanted` is not auto.
        host: What runs the model.
        sizes: Of the model.
        is_compiled: `model.compile` is on, which cannot be with 8 bits on a CPU.
    """
    if wanted != "auto":
        return wanted
    is_exact = dtype != "auto" or host.device != "cpu" or sizes.num_weights < _LEAST_WEIGHTS
    if is_exact or is_compiled or not host.has_int8:
        return "none"
    if not host.has_bfloat16:
        return "int8"
    return "int8" if host.available < sizes.needed("none", torch.bfloat16) else "none"


def shortage(quantization: str, dtype: torch.dtype, host: Host, sizes: Sizes) -> str | None:
    """Say that memory will hardly do for what was chosen, and what to do; None when it will."""
    needed = sizes.needed(quantization, dtype)
    if host.device != "cpu" or needed <= host.available:
        return None
    found = f"needs about {_gib(needed)} of memory, {_gib(host.available)} are available"
    smaller = sizes.needed("int8", torch.float32)
    if quantization == "int8" or not host.has_int8:
        return found
    return f"{found}; model.quantization: int8 needs {_gib(smaller)}"


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
