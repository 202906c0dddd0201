"""Linear layers in the form that CUDA's matrix products take best, for inference in 16 bits.

A GELU of its own reads and writes the widest activation of a block once more; the product can apply
it before its result leaves the registers. And the fast kernels take rows that begin at multiples of
16 bytes, which the patches of the public model, of 588 values, do not.

The operator with GELU is not public. On CUDA it is the tanh form, which is the model's; on a CPU it
is the other one, so it is used where `can_fuse` says so and nowhere else.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moondream2.mlp import Mlp, is_dense
from moondream2.model import Moondream

#: Values of 16 bits in 16 bytes.
_STEP = 8


class GeluLinear(nn.Module):
    """A linear layer that activates its own output, under the names of the plain one.

    Args:
        linear: Dense layer with a bias; its weights are shared.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = linear.weight, linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        rows = x.reshape(-1, x.shape[-1])  # (N, in)
        out: Tensor = torch._addmm_activation(self.bias, rows, self.weight.T, use_gelu=True)
        return out.view(*x.shape[:-1], -1)


class PaddedLinear(nn.Module):
    """A linear layer that fills up its input with zeros; it can only be run, not moved or cast.

    Args:
        linear: Dense layer; its names, shapes and values stay as they are.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        out, length = linear.weight.shape
        self._missing = -length % _STEP
        self._padded = linear.weight.new_zeros(out, length + self._missing)
        self._padded[:, :length] = linear.weight.data
        self.weight = nn.Parameter(self._padded[:, :length], requires_grad=False)
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., in) to (..., out)."""
        return F.linear(F.pad(x, (0, self._missing)), self._padded, self.bias)


def can_fuse(device: torch.device, dtype: torch.dtype) -> bool:
    """Return whether a model of this kind is better fused, and still the same model.

    Not in float32, which is there to be exact; nor on ROCm, which calls itself CUDA and has not
    been tried.
    """
    is_cuda = device.type == "cuda" and torch.version.hip is None
    has_operator = hasattr(torch, "_addmm_activation")
    return is_cuda and has_operator and dtype in {torch.bfloat16, torch.float16}


def fuse_layers(model: Moondream) -> None:
    """Replace layers of a model in place, for inference only; its state dict stays as it is.

    Layers whose weights are in another format stay.

    Args:
        model: One whose device and dtype `can_fuse` agrees to.
    """
    for module in model.modules():
        if isinstance(module, Mlp) and is_dense(module.fc1):
            module.fc1 = GeluLinear(module.fc1)  # type: ignore[assignment]
            module.act = nn.Identity()
    embedding = model.vision.patch_emb
    if embedding.in_features % _STEP:
        model.vision.patch_emb = PaddedLinear(embedding)  # type: ignore[assignment]
