"""Weights in 8 or 4 bits for small cards, through torchao.

Only the linear layers of the text blocks and the region heads shrink, as in the published 4-bit
releases: two thirds of the parameters. The embedding, the language head and the image encoder stay
as loaded, and activations keep the dtype of the model. Results are close to, not equal to, those of
the full weights. A CPU has `moondream2.int8` instead: here each weight is expanded at each use.
"""

import importlib
from typing import Any, Literal

import torch
from torch import nn

from moondream2.errors import QuantizeError
from moondream2.model import Moondream

WeightFormat = Literal["int8", "int4"]

#: Weights that share a scale in the 4-bit format.
_GROUP = 128


def quantize_weights(model: Moondream, weights: WeightFormat) -> None:
    """Shrink the weights of a loaded model in place.

    Args:
        model: On its device and in its dtype; for inference only.
        weights: `int8` is for CUDA, and runs on a CPU; `int4` needs CUDA and bfloat16.

    Raises:
        QuantizeError: torchao is not installed, or the format does not run on the device.
    """
    check_format(weights, model.device, model.dtype)
    torchao = _torchao()
    if weights == "int8":
        config = torchao.Int8WeightOnlyConfig(set_inductor_config=False)
    else:
        # The layout of torch's own kernel; the other layouts need further packages.
        config = torchao.Int4WeightOnlyConfig(
            group_size=_GROUP,
            int4_packing_format="tile_packed_to_4d",
            set_inductor_config=False,
        )

    def shrinks(module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear) or not name.startswith(("text.blocks.", "region.")):
            return False
        return weights == "int8" or module.in_features % _GROUP == 0

    torchao.quantize_(model, config, filter_fn=shrinks)


def check_format(weights: WeightFormat, device: torch.device, dtype: torch.dtype) -> None:
    """Raise `QuantizeError` where `quantize_weights` would, before anything is loaded."""
    if weights == "int4" and (device.type != "cuda" or dtype != torch.bfloat16):
        kind = str(dtype).removeprefix("torch.")
        raise QuantizeError(
            f"model.quantization: int4 needs CUDA and bfloat16, not {device} in {kind}: "
            "set it to int8, or change model.device or model.dtype"
        )
    if device.type == "mps":
        raise QuantizeError("model.quantization: int8 needs CUDA or a CPU, not mps: set it to none")
    _torchao()


def _torchao() -> Any:
    # Optional and slow to import, so only a process that wants it pays.
    try:
        return importlib.import_module("torchao.quantization")
    except ImportError as exc:
        raise QuantizeError(
            "int8 and int4 weights need torchao: install the extra `quantized` "
            "(moondream2mqtt[quantized])"
        ) from exc
