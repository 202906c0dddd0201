"""The language model: parallel transformer blocks with partial rotary positions.

The layers hold no keys or values. Whoever runs them passes an `Attend`, which decides what a query
may see and where keys are kept; so training, the prefix pass and cached decoding share this code.
"""

from collections.abc import Iterator
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from moondream2.config import TextConfig
from moondream2.mlp import Mlp
from moondream2.rope import RotaryTable, rotate


class Attend(Protocol):
    """How the attention of one layer sees past and present tokens."""

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer.

        Args:
            layer: Index of the block.
            q: (B, H, T, D) rotated queries.
            k: (B, KV, T, D) rotated keys of the same tokens.
            v: (B, KV, T, D) values of the same tokens.

        Returns:
            (B, H, T, D).
        """


class PrefillAttend(Attend, Protocol):
    """An attention that keeps keys and values, also in the last layer, which has no other use."""

    def end(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
        """Keep keys and values of the last layer, and attend where its output is wanted.

        Args and shapes are those of `Attend`.

        Returns:
            (B, H, P, D) of the last P tokens; None: no output is wanted.
        """


def attend_with(mask: Tensor | None) -> Attend:
    """Return an attention without memory.

    Args:
        mask: Broadcastable to (B, H, T, T), True where a query (row) may see a key (column);
            None lets every token see every token.
    """

    def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, mask)

    return attend


def attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend: (B, H, T, D) queries to (B, KV, S, D) keys and values.

    Without a mask every query sees every key, which is what the fastest kernels take.
    """
    grouped = q.shape[1] != k.shape[1]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=grouped)


class _Attention(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads
        self.head_dim = config.head_dim
        rows = (config.heads + 2 * config.kv_heads) * config.head_dim
        self.qkv = nn.Linear(config.hidden_size, rows)
        self.proj = nn.Linear(config.heads * config.head_dim, config.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        B, T, _ = x.shape
        out = attend(layer, *self.heads_of(x, cos, sin))  # (B, H, T, D)
        return self.proj(out.transpose(1, 2).reshape(B, T, -1))  # type: ignore[no-any-return]

    def heads_of(self, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return rotated queries (B, H, T, D), rotated keys and values, each (B, KV, T, D)."""
        B, T, _ = x.shape
        qkv = self.qkv(x).view(B, T, -1, self.head_dim).transpose(1, 2)  # (B, H + 2 KV, T, D)
        qk, v = torch.split(qkv, [self.heads + self.kv_heads, self.kv_heads], dim=1)
        q, k = torch.split(rotate(qk, cos, sin), [self.heads, self.kv_heads], dim=1)
        return q, k, v


class _Block(nn.Module):
    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attn = _Attention(config)
        self.mlp = Mlp(config.hidden_size, config.mlp_size, config.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: Attend) -> Tensor:
        h = self.ln(x)
        return x + self.attn(h, cos, sin, layer, attend) + self.mlp(h)  # type: ignore[no-any-return]

    def end(
        self, x: Tensor, cos: Tensor, sin: Tensor, layer: int, attend: PrefillAttend
    ) -> Tensor | None:
        """Compute keys and values, and the output of the last tokens if it is wanted: (B, P, W)."""
        h = self.ln(x)
        out = attend.end(layer, *self.attn.heads_of(h, cos, sin))
        if out is None:
            return None
        P = out.shape[2]
        x, h = x[:, -P:], h[:, -P:]
        out = self.attn.proj(out.transpose(1, 2).reshape(*x.shape[:2], -1))
        return x + out + self.mlp(h)  # type: ignore[no-any-return]


class TextModel(nn.Module):
    """The language model without a cache.

    Args:
        config: Its dimensions.
    """

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.config = config
        table = torch.empty(config.vocab_size, config.hidden_size)
        # Uniform in all modules: the first normal draw on the meta device imports torch's compiler,
        # which takes longer than the rest of a small model's load.
        self.wte = nn.Parameter(table.uniform_(-0.03, 0.03))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))
        self.post_ln = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size)
        self.rotary = RotaryTable(config.max_context, config.rotary_dim, config.rope_theta)

    def embed(self, ids: Tensor) -> Tensor:
        """Look up token embeddings: (...) integer ids to (..., W)."""
        return F.embedding(ids, self.wte)

    def forward(self, embeddings: Tensor, positions: Tensor, attend: Attend) -> Tensor:
        """Run all blocks.

        Args:
            embeddings: (B, T, W) of tokens, image patches or coordinates.
            positions: (B, T) integers below `max_context`.
            attend: The attention of every layer.

        Returns:
            (B, T, W) output of the last block without the final norm; the region heads take it
            as it is, `logits` normalises it.
        """
        cos, sin = self.rotary.at(positions)
        x = embeddings
        for layer, block in enumerate(self.blocks):
            x = block(x, cos, sin, layer, attend)
        return x

    def prefill(self, embeddings: Tensor, positions: Tensor, attend: PrefillAttend) -> None:
        """Run all blocks for their keys and values.

        Args:
            embeddings: (B, T, W).
            positions: (B, T) integers below `max_context`.
            attend: The attention of every layer.
        """
        for _ in self.prefill_in_units(embeddings, positions, attend):
            pass

    def prefill_in_units(
        self, embeddings: Tensor, positions: Tensor, attend: PrefillAttend
    ) -> Iterator[Tensor | None]:
        """Do what `prefill` does, and pause after each block.

        Yields:
            None at each pause; at the last one the output of the last block for the tokens that
            `attend` gives one for, (B, P, W), as that of `forward`.
        """
        cos, sin = self.rotary.at(positions)
        x = embeddings
        *blocks, end = self.blocks
        for layer, block in enumerate(blocks):
            x = block(x, cos, sin, layer, attend)
            yield None
        assert isinstance(end, _Block)
        yield end.end(x, cos, sin, len(blocks), attend)

    def logits(self, hidden: Tensor) -> Tensor:
        """Score the next token: (..., W) output of `forward` to (..., vocabulary)."""
        return self.lm_head(self.post_ln(hidden))  # type: ignore[no-any-return]
