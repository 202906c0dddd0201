"""The image encoder: crops to patch features to the image embeddings of a frame.

Every crop is encoded alone, so crops of different frames share a pass. Afterwards the local crops
of a frame are stitched to one grid, averaged down to the size of a crop and joined, position by
position, with the global crop.
"""

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moondream2.config import VisionConfig
from moondream2.crops import Crops, normalise
from moondream2.mlp import Mlp
from moondream2.stitching import PoolMap, pool_map

#: Bytes of the widest activation of one pass through the blocks. On the CPU glibc maps larger
#: blocks anew each time, and their page faults make GELU several times slower; a GPU has no such
#: edge, there the limit only bounds memory.
_PASS_BYTES_CPU = 32 * 2**20
_PASS_BYTES_GPU = 512 * 2**20


class _Attention(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        N, T, W = x.shape
        qkv = self.qkv(x).view(N, T, 3, self.heads, W // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, H, T, D)
        out = F.scaled_dot_product_attention(q, k, v)
        return self.proj(out.transpose(1, 2).reshape(N, T, W))  # type: ignore[no-any-return]


class _Block(nn.Module):
    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.ln1 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.attn = _Attention(config)
        self.ln2 = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.mlp = Mlp(width, config.mlp_size, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.mlp(self.ln2(x))  # type: ignore[no-any-return]


class VisionModel(nn.Module):
    """The image encoder and its projector.

    Args:
        config: Their dimensions.
        pixel_dtype: Arithmetic of the pixel normalisation, `Release.pixel_dtype`.
    """

    def __init__(self, config: VisionConfig, pixel_dtype: torch.dtype = torch.bfloat16) -> None:
        super().__init__()
        self.config = config
        self.pixel_dtype = pixel_dtype
        width = config.hidden_size
        self.patch_emb = nn.Linear(config.patch_values, width)
        places = torch.empty(1, config.tokens, width)
        self.pos_emb = nn.Parameter(places.uniform_(-0.03, 0.03))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.post_ln = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.proj_mlp = Mlp(2 * width, config.projector_hidden_size, config.projector_out_size)
        self._pool_maps: dict[tuple[tuple[int, int], torch.device], PoolMap] = {}

    def forward(self, crops: Tensor) -> Tensor:
        """Encode crops.

        Args:
            crops: (N, 3, S, S) normalised pixels, the crops of all frames in order.

        Returns:
            (N, grid², W) patch features after the final norm.
        """
        x = self.embed(crops)
        for block in self.blocks:
            x = block(x)
        return self.post_ln(x)  # type: ignore[no-any-return]

    def embed(self, crops: Tensor) -> Tensor:
        """Embed the patches of crops, (N, 3, S, S), with their places: (N, grid², W)."""
        return self.patch_emb(self.patches(crops)) + self.pos_emb  # type: ignore[no-any-return]

    def encode(self, frames: Sequence[Crops], *, chunk: int | None = None) -> Tensor:
        """Encode the crops of several frames to their image embeddings.

        Args:
            frames: At least one frame.
            chunk: Most crops in one pass through the blocks; None chooses by memory.

        Returns:
            (F, grid², text width), on the device and in the dtype of the model.
        """
        device, dtype = self.pos_emb.device, self.pos_emb.dtype
        pixels = torch.cat([frame.pixels for frame in frames]).to(device, non_blocking=True)
        passes = [
            self(normalise(part, dtype, self.pixel_dtype))
            for part in torch.split(pixels, chunk or self.crops_per_pass())
        ]
        return self._embeddings(frames, passes)

    def encode_in_units(
        self, frames: Sequence[Crops], *, chunk: int | None = None
    ) -> Iterator[Tensor | None]:
        """Do what `encode` does, bit for bit, and pause after each block of each pass.

        Args:
            frames: At least one frame.
            chunk: As for `encode`.

        Yields:
            None at each pause; at the last one the image embeddings, (F, grid², text width).
        """
        device, dtype = self.pos_emb.device, self.pos_emb.dtype
        passes = []
        pixels = torch.cat([frame.pixels for frame in frames]).to(device, non_blocking=True)
        for part in torch.split(pixels, chunk or self.crops_per_pass()):
            x = self.embed(normalise(part, dtype, self.pixel_dtype))
            for block in self.blocks:
                x = block(x)
                yield None
            passes.append(self.post_ln(x))
        yield self._embeddings(frames, passes)

    def _embeddings(self, frames: Sequence[Crops], passes: list[Tensor]) -> Tensor:
        """Join what passes made of the crops of frames: (F, grid², text width)."""
        features = torch.split(torch.cat(passes), [len(frame) for frame in frames])
        joined = [self.join(own, frame.tiling) for own, frame in zip(features, frames, strict=True)]
        return self.project(torch.stack(joined))

    def crops_per_pass(self) -> int:
        """Return how many crops go through the blocks together when `encode` may choose."""
        limit = _PASS_BYTES_CPU if self.pos_emb.device.type == "cpu" else _PASS_BYTES_GPU
        widest = self.config.tokens * self.config.mlp_size * self.pos_emb.element_size()
        return max(1, limit // widest)

    def join(self, features: Tensor, tiling: tuple[int, int]) -> Tensor:
        """Put the pooled local crops of one frame beside its global crop.

        Args:
            features: (n, grid², W) of `forward`; n is 1 for tiling (1, 1), where the global crop
                is the local one too, otherwise 1 + rows * columns.
            tiling: Rows and columns of local crops.

        Returns:
            (grid², 2 W).
        """
        if tiling == (1, 1):
            return torch.cat((features[0], features[-1]), dim=-1)
        return torch.cat((features[0], self.pool(features[1:], tiling)), dim=-1)

    def pool(self, features: Tensor, tiling: tuple[int, int]) -> Tensor:
        """Stitch local crops to one grid and average it down to the grid of one crop.

        Args:
            features: (rows * columns, grid², W) of the local crops.
            tiling: Rows and columns.

        Returns:
            (grid², W).
        """
        key = (tiling, features.device)
        if key not in self._pool_maps:
            with torch.inference_mode(False):  # training may need the map later
                self._pool_maps[key] = pool_map(tiling, self.config, features.device)
        return self._pool_maps[key].mean(features)

    def project(self, joined: Tensor) -> Tensor:
        """Project to the language model: (..., grid², 2 W) to (..., grid², text width)."""
        return self.proj_mlp(joined)  # type: ignore[no-any-return]

    def patches(self, crops: Tensor) -> Tensor:
        """Cut crops to patches: (N, 3, S, S) to (N, grid², 3 * patch²), channel by channel."""
        N, C, S, _ = crops.shape
        grid, side = self.config.grid_size, self.config.patch_size
        assert self.config.crop_size == S, f"crops of {S} pixels for {self.config.crop_size}"
        patches = crops.reshape(N, C, grid, side, grid, side).permute(0, 2, 4, 1, 3, 5)
        return patches.reshape(N, grid * grid, C * side * side)
