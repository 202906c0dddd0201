"""Rotary positions in the half-split layout.

The pairs of a head are the dimensions (j, j + rotary/2). The reference writes rotated pairs back
interleaved, in queries and keys alike, which leaves every score as it is here.
"""

import torch
from torch import Tensor


class RotaryTable:
    """Cosines and sines of all positions, in float32 on every device that asked.

    Not a buffer of a module: casting the model to bfloat16 must not cast the table, and building it
    on the meta device must not lose it.

    Args:
        context: Positions.
        rotary_dim: Rotated dimensions of a head.
        theta: Base of the wavelengths.
    """

    def __init__(self, context: int, rotary_dim: int, theta: float) -> None:
        pairs = torch.arange(0, rotary_dim, 2, dtype=torch.float32, device="cpu")
        speeds = 1.0 / theta ** (pairs / rotary_dim)
        positions = torch.arange(context, dtype=torch.float32, device="cpu")
        angles = torch.outer(positions, speeds)  # (context, rotary_dim / 2)
        cpu = torch.device("cpu")
        self._tables = {cpu: (angles.cos(), angles.sin())}

    def at(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and sines, each (*positions.shape, rotary_dim / 2)."""
        cos, sin = self.on(positions.device)
        return cos[positions], sin[positions]

    def on(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return the whole tables on a device, each (context, rotary_dim / 2)."""
        if device not in self._tables:
            cos, sin = self._tables[torch.device("cpu")]
            with torch.inference_mode(False):  # training may need the tables later
                self._tables[device] = cos.to(device), sin.to(device)
        return self._tables[device]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate the leading dimensions of heads by position, in float32.

    Args:
        x: (B, H, T, D) queries or keys.
        cos: (B, T, rotary/2).
        sin: (B, T, rotary/2).

    Returns:
        (B, H, T, D) in the dtype of `x`.
    """
    half = cos.shape[-1]
    cos, sin = cos.unsqueeze(1), sin.unsqueeze(1)  # (B, 1, T, rotary/2)
    first, second = x[..., :half].float(), x[..., half : 2 * half].float()
    turned = (first * cos - second * sin, first * sin + second * cos)
    return torch.cat((turned[0].to(x.dtype), turned[1].to(x.dtype), x[..., 2 * half :]), dim=-1)
