"""Linear layers in oneDNN's own weight layout: what only pays on a CPU in bfloat16.

A step of decoding reads every weight once, so it lasts as long as that reading. From torch's row by
row layout oneDNN reads at half the rate of memory, from its own blocked one at nearly the full
rate; encoding gains too, because nothing is rearranged at each product and GELU is applied before
a result leaves the registers. The figures are in docs/benchmarks.md.

The operators are those torch's own compiler emits for frozen weights. They are not public, so they
are used where torch has them and nowhere else; torch itself is pinned to one version.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from moondream2.mlp import Mlp, is_dense
from moondream2.model import Moondream

#: Activations that the operator applies itself, by the names it knows them by.
_Activation = Literal["none", "gelu"]
#: Which approximation of GELU; ignored without it.
_APPROXIMATION = "tanh"


class PackedLinear(nn.Module):
    """A linear layer that can only be run: not trained, moved, cast or saved.

    Args:
        linear: Dense layer in bfloat16 on the CPU; it keeps its own weight.
        activation: Applied to the output.
    """

    def __init__(self, linear: nn.Linear, activation: _Activation = "none") -> None:
        super().__init__()
        self.weight: Tensor = torch.ops.mkldnn._reorder_linear_weight(linear.weight.data)
        self.bias = linear.bias
        self._activation = activation

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        packed: Tensor = torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, self._activation, [], _APPROXIMATION
        )
        return packed


def can_pack(model: Moondream) -> bool:
    """Return whether packing is possible and pays for a model as it is."""
    has_operators = hasattr(torch.ops.mkldnn, "_linear_pointwise")
    return (
        model.device.type == "cpu"
        and model.dtype == torch.bfloat16
        and has_operators
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def pack_linears(model: Moondream) -> None:
    """Replace the linear layers of a model in place, one by one, for inference only.

    Needs memory for one layer more. Layers whose weights are already in another format stay.

    Args:
        model: One that `can_pack` agrees to.
    """
    # Not the layers themselves: a list of them would keep the dense weights to the end.
    parents = [module for module in model.modules() if not isinstance(module, nn.Linear)]
    for module in parents:
        if isinstance(module, Mlp) and is_dense(module.fc1):
            module.fc1 = PackedLinear(module.fc1, "gelu")  # type: ignore[assignment]
            module.act = nn.Identity()
        for name, child in list(module.named_children()):
            if is_dense(child):
                setattr(module, name, PackedLinear(child))
