"""Keys and values of everything that is being generated, in a fixed pool of slots.

A slot is one sequence from position 0: the frame's prefix, then a prompt and its answer. Prompts
and answers are written behind the prefix, never over it, so the next task of a frame starts in the
same slot. Nothing is cleared between users: a row only ever sees what it has written itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import psutil
import torch
import torch.nn.functional as F
from torch import Tensor

from service.moondream.config import TextConfig

#: Share of the free memory that the automatic size takes; the rest is for activations and others.
_MEMORY_SHARE = {"cuda": 0.8, "cpu": 0.4}
#: More slots than this are never chosen automatically. On a CPU the linear layers stop being free
#: to share at about 16 rows; on a GPU attention dominates beyond 64.
_MOST_SLOTS = {"cuda": 64, "cpu": 16}


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of one row in a packed pass."""

    slot: int
    #: Position of the first of them.
    start: int
    count: int

    @property
    def end(self) -> int:
        """Position after the last of them."""
        return self.start + self.count


class SlotCache:
    """The pool.

    Args:
        config: Dimensions of the language model.
        slots: Sequences it holds at once.
        device: Where.
        dtype: Of keys and values.
    """

    def __init__(
        self, config: TextConfig, slots: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self.slots = slots
        self.context = config.max_context
        shape = (config.layers, slots, config.kv_heads, config.max_context, config.head_dim)
        # Not cleared: on a CPU, memory that no row has reached is never really taken.
        self.keys = torch.empty(shape, device=device, dtype=dtype)  # (L, slots, KV, context, D)
        self.values = torch.empty(shape, device=device, dtype=dtype)

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a slot to another one."""
        for pool in (self.keys, self.values):
            pool[:, target, :, :length].copy_(pool[:, source, :, :length])


def slot_bytes(config: TextConfig, dtype: torch.dtype) -> int:
    """Return the memory of one slot."""
    positions = config.layers * config.kv_heads * config.max_context
    return 2 * positions * config.head_dim * dtype.itemsize


def automatic_slots(config: TextConfig, *, device: torch.device, dtype: torch.dtype) -> int:
    """Return how many slots suit the memory that is free now, at least one."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
    else:
        free = psutil.virtual_memory().available
    fitting = int(free * _MEMORY_SHARE[device.type] / slot_bytes(config, dtype))
    return max(1, min(_MOST_SLOTS[device.type], fitting))


class PrefixAttend:
    """Attention of frames: every position sees every other, and all are kept.

    Args:
        cache: Where they are kept.
        slots: B slots, one for each frame of the pass.
    """

    def __init__(self, cache: SlotCache, slots: Sequence[int]) -> None:
        self._cache, self._slots = cache, slots

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer; shapes as for `Attend`, T positions from 0."""
        T = k.shape[2]
        for row, slot in enumerate(self._slots):
            self._cache.keys[layer, slot, :, :T].copy_(k[row])
            self._cache.values[layer, slot, :, :T].copy_(v[row])
        # Full attention without a mask is what the fastest kernels take.
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])


class RowsAttend:
    """Attention of rows at different positions, packed one after the other into a single row.

    A prompt of 12 tokens and three rows that continue with one token each are one pass over 15
    tokens: the linear layers see no padding and read the weights once. Every segment attends to its
    own slot up to its own length, so a row's result does not depend on the rows beside it.

    Args:
        cache: Holds all earlier positions of the slots.
        segments: Rows of the pass in order.
    """

    def __init__(self, cache: SlotCache, segments: Sequence[Segment]) -> None:
        device = cache.keys.device
        places = [place for segment in segments for place in range(segment.start, segment.end)]
        self._cache, self._segments = cache, segments
        #: Of all tokens of the pass, (T,).
        self.positions = torch.tensor(places, device=device)
        self._masks = [_causal(segment, device) for segment in segments]

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer.

        Args:
            layer: Index of the block.
            q: (1, H, T, D) queries of all segments in order.
            k: (1, KV, T, D) their keys.
            v: (1, KV, T, D) their values.

        Returns:
            (1, H, T, D).
        """
        keys, values = self._cache.keys[layer], self._cache.values[layer]  # (slots, KV, context, D)
        out = torch.empty_like(q)
        first = 0
        for segment, mask in zip(self._segments, self._masks, strict=True):
            here = slice(first, first + segment.count)
            own_k = keys[segment.slot, :, : segment.end]  # (KV, end, D)
            own_v = values[segment.slot, :, : segment.end]
            own_k[:, segment.start :].copy_(k[0, :, here])
            own_v[:, segment.start :].copy_(v[0, :, here])
            out[:, :, here] = _attend(q[:, :, here], own_k, own_v, mask)
            first += segment.count
        return out


def _causal(segment: Segment, device: torch.device) -> Tensor | None:
    """Return which earlier positions each token of a segment sees; None for all of them."""
    if segment.count == 1:
        return None
    seen = torch.ones(segment.count, segment.end, dtype=torch.bool, device=device)
    return seen.tril(segment.start)


def _attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Attend for one segment: (1, H, T, D) queries, (KV, end, D) keys and values."""
    if q.shape[2] == 1 and q.device.type == "cpu":
        return _attend_one(q, k, v)
    grouped = q.shape[1] != k.shape[0]
    return F.scaled_dot_product_attention(
        q, k.unsqueeze(0), v.unsqueeze(0), attn_mask=mask, enable_gqa=grouped
    )


def _attend_one(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attend for one token on a CPU, where the general kernel repacks all keys first.

    Two batched products are 3 times as fast there at 760 positions of the public model.
    """
    _, H, _, D = q.shape
    KV = k.shape[0]
    grouped = (q * D**-0.5).view(KV, H // KV, D).transpose(1, 2)  # (KV, D, H / KV)
    scores = torch.bmm(k, grouped).transpose(1, 2)  # (KV, H / KV, end)
    weights = scores.softmax(-1, dtype=torch.float32).to(v.dtype)
    return torch.bmm(weights, v).view(1, H, 1, D)
