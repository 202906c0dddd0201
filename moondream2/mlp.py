"""The two linear layers with GELU between them that all three networks use."""

from typing import TypeGuard

from torch import Tensor, nn


class Mlp(nn.Module):
    """Widen, activate, narrow.

    Args:
        width: Values of a token going in.
        inner: Values between the layers.
        out: Values coming out.
    """

    def __init__(self, width: int, inner: int, out: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, inner)
        # A module, so that a layer which activates its own output can take its place.
        self.act: nn.Module = nn.GELU(approximate="tanh")
        self.fc2 = nn.Linear(inner, out)

    def forward(self, x: Tensor) -> Tensor:
        """Map (..., width) to (..., out)."""
        return self.fc2(self.act(self.fc1(x)))  # type: ignore[no-any-return]


def is_dense(module: nn.Module) -> TypeGuard[nn.Linear]:
    """Return whether a module is a linear layer with plain weights, in no other format."""
    return isinstance(module, nn.Linear) and type(module.weight.data) is Tensor
