"""GELU inside the matrix product before it: what only pays on CUDA in bfloat16.

The activation of a layer is applied while its sums are still in registers, so the widest activation
of every block is written once instead of being written, read and written again.

The operator is not public, and which GELU it computes depends on the device: the one with tanh,
which the model was trained with, on CUDA; another one on a CPU. So a product is tried on the device
first, and only where it is near the plain one are layers replaced.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moondream2.mlp import Mlp
from moondream2.model import Moondream


class GeluLinear(nn.Module):
    """A linear layer with GELU, for inference.

    Args:
        linear: Dense, with a bias; its parameters are used as they are.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        rows = x.reshape(-1, x.shape[-1])
        out: Tensor = torch._addmm_activation(self.bias, rows, self.weight.t(), use_gelu=True)
        return out.view(*x.shape[:-1], -1)


def can_fuse(model: Moondream) -> bool:
    """Return whether fusing is possible and pays for a model as it is."""
    is_meant_for = model.device.type == "cuda" and model.dtype == torch.bfloat16
    return is_meant_for and hasattr(torch, "_addmm_activation") and is_tanh(model.device)


@torch.inference_mode()
def is_tanh(device: torch.device) -> bool:
    """Return whether a device computes the GELU of the model inside a product."""
    draw = torch.Generator().manual_seed(0)
    rows, weight = (torch.randn(256, 512, generator=draw).to(device) / 16 for _ in range(2))
    linear = nn.Linear(512, 256, device=device)
    linear.weight.copy_(weight)
    linear.bias.fill_(-3.0)  # where one kind of GELU is a tenth above the other
    linear = linear.bfloat16()
    rows = rows.bfloat16()
    exact = F.gelu(linear.float()(rows.float()), approximate="tanh")
    try:
        found = GeluLinear(linear.bfloat16())(rows)
    except RuntimeError:  # a build without the operator's kernel
        return False
    # Rounding is a hundredth of a value either way, and nothing in the mean of many.
    return abs(float((found.float() / exact).mean()) - 1) < 0.02


def fuse_gelu(model: Moondream) -> None:
    """Replace the first linear layer and the activation of each pair in place.

    Layers whose weights are in another format stay.

    Args:
        model: One that `can_fuse` agrees to.
    """
    for module in model.modules():
        if isinstance(module, Mlp) and _is_dense(module.fc1):
            module.fc1 = GeluLinear(module.fc1)  # type: ignore[assignment]
            module.act = nn.Identity()


def _is_dense(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) and type(module.weight.data) is Tensor
