"""Coordinates and sizes as bins, and as embeddings the language model reads.

Both heads take the output of the last block as it is, without the final norm.
"""

import math

import torch
from torch import Tensor, nn

from moondream2.config import RegionConfig
from moondream2.mlp import Mlp

#: Exponent of two of the smallest size in the log mapping: bins span 2^-10 .. 1.
_OCTAVES = 10.0


class Region(nn.Module):
    """Encoders and decoders of coordinates and sizes.

    Args:
        config: Their dimensions and the size mapping.
    """

    def __init__(self, config: RegionConfig) -> None:
        super().__init__()
        self.config = config
        width, inner = config.hidden_size, config.inner_size
        self.coord_features = _frequencies(1, config.coord_features // 2)
        self.size_features = _frequencies(2, config.size_features // 2)
        self.coord_encoder = nn.Linear(config.coord_features, width)
        self.size_encoder = nn.Linear(config.size_features, width)
        self.coord_decoder = Mlp(width, inner, config.coord_bins)
        self.size_decoder = Mlp(width, inner, 2 * config.size_bins)

    def encode_coordinate(self, values: Tensor) -> Tensor:
        """Embed coordinates: (N, 1) in 0..1 to (N, W)."""
        return self.coord_encoder(_fourier(values, self.coord_features))  # type: ignore[no-any-return]

    def encode_size(self, values: Tensor) -> Tensor:
        """Embed sizes: (N, 2) of width and height in 0..1 to (N, W)."""
        return self.size_encoder(_fourier(values, self.size_features))  # type: ignore[no-any-return]

    def coordinate_logits(self, hidden: Tensor) -> Tensor:
        """Score the bins of one coordinate: (N, W) to (N, bins)."""
        return self.coord_decoder(hidden)  # type: ignore[no-any-return]

    def size_logits(self, hidden: Tensor) -> Tensor:
        """Score the bins of width and height: (N, W) to (N, 2, bins)."""
        scores = self.size_decoder(hidden)
        return scores.unflatten(-1, (2, self.config.size_bins))  # type: ignore[no-any-return]

    def coordinate_value(self, bins: Tensor) -> Tensor:
        """Turn bins into coordinates in 0..1, never 1 itself; float32."""
        return bins.float() / self.config.coord_bins

    def coordinate_bin(self, values: Tensor) -> Tensor:
        """Return the nearest bin of coordinates; values outside 0..1 get the bin at the edge."""
        bins = (values.float() * self.config.coord_bins).round()
        return bins.clamp(0, self.config.coord_bins - 1).long()

    def size_value(self, bins: Tensor) -> Tensor:
        """Turn bins into sizes in 0..1; float32."""
        if self.config.size_mapping == "linear":
            return bins.float() / self.config.size_bins
        exponent = bins.float() / (self.config.size_bins - 1) * _OCTAVES - _OCTAVES
        return torch.exp2(exponent)

    def size_bin(self, values: Tensor) -> Tensor:
        """Return the nearest bin of sizes; values outside the range get the bin at the edge."""
        last = self.config.size_bins - 1
        if self.config.size_mapping == "linear":
            bins = values.float() * self.config.size_bins
        else:
            octaves = values.float().clamp(min=2.0**-_OCTAVES).log2() + _OCTAVES
            bins = octaves / _OCTAVES * last
        return bins.round().clamp(0, last).long()


def _frequencies(values: int, count: int) -> nn.Parameter:
    """Draw random frequencies of unit variance."""
    return nn.Parameter(torch.empty(values, count).uniform_(-math.sqrt(3), math.sqrt(3)))


def _fourier(values: Tensor, features: Tensor) -> Tensor:
    """Project values on random frequencies: (N, n) and (n, F) to (N, 2 F), cosines first."""
    # Autocast must not shorten the phases of a float32 model; in a bfloat16 model the product with
    # two pi is rounded before the projection, as in the reference.
    with torch.autocast(values.device.type, enabled=False):
        phases = (2 * math.pi * values.to(features.dtype)) @ features
    return torch.cat((phases.cos(), phases.sin()), dim=-1)
