"""The pool of slots on a CPU, laid out so that one token reads it at the rate of memory.

Generating is reading: for every token, all weights once and all keys and values of its row once. A
general attention kernel is made for many queries; for one it rearranges the keys first and reaches
a third of the rate. What streams is a weighted sum of table rows, the kernel of embedding bags:
values are such rows already, one for each position, and keys become ones when they are stored by
head dimension, some positions beside each other. Bags may differ in length, so the tokens of all
rows take two calls a layer, and each row is still computed alone.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from moondream2.cache import Segment, SlotCache
from moondream2.config import TextConfig
from moondream2.text import Attend

#: Positions of one table row of keys. Shorter rows cost more for each index, longer ones read more
#: positions that are not there yet; 64 to 256 were equally fast.
BLOCK = 128


class BagCache(SlotCache):
    """The pool, with keys in blocks of positions.

    Args:
        config: Dimensions of the language model.
        slots: Sequences it holds at once.
        dtype: Of keys and values.
    """

    def __init__(self, config: TextConfig, slots: int, *, dtype: torch.dtype) -> None:
        cpu = torch.device("cpu")
        super().__init__(config, slots, device=cpu, dtype=dtype)
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.blocks = _blocks(config.max_context)

    @staticmethod
    def key_shape(config: TextConfig) -> tuple[int, ...]:
        """Return how the keys of one head lie: (blocks, D, BLOCK)."""
        return _blocks(config.max_context), config.head_dim, BLOCK

    def write(self, layer: int, segment: Segment, k: Tensor, v: Tensor) -> None:
        """Keep keys and values of a segment, each (KV, T, D)."""
        for block in range(segment.start // BLOCK, _blocks(segment.end)):
            first, end = block * BLOCK, (block + 1) * BLOCK
            start, stop = max(first, segment.start), min(end, segment.end)
            new = k[:, start - segment.start : stop - segment.start]  # (KV, T, D)
            columns = slice(start - first, stop - first)
            self.keys[layer, segment.slot, :, block, :, columns].copy_(new.transpose(1, 2))
        self.values[layer, segment.slot, :, segment.start : segment.end].copy_(v)

    def write_prefixes(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Keep keys and values of the first T positions of some slots, each (F, KV, T, D)."""
        for row, slot in enumerate(slots.tolist()):
            self.write(layer, Segment(slot, 0, k.shape[2]), k[row], v[row])

    def read(self, layer: int, segment: Segment) -> tuple[Tensor, Tensor]:
        """Return keys and values up to the end of a segment, each (KV, end, D)."""
        blocks = self.keys[layer, segment.slot, :, : _blocks(segment.end)]  # (KV, n, D, BLOCK)
        keys = blocks.transpose(2, 3).flatten(1, 2)  # (KV, n * BLOCK, D)
        return keys[:, : segment.end], self.values[layer, segment.slot, :, : segment.end]

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a slot to another one, keys up to the end of a block."""
        num = _blocks(length)
        self.keys[:, target, :, :num].copy_(self.keys[:, source, :, :num])
        self.values[:, target, :, :length].copy_(self.values[:, source, :, :length])

    def tokens(self, segments: Sequence[Segment]) -> Attend:
        """Return the attention of single tokens, one for each segment."""
        return _TokenBags(self, segments) if segments else super().tokens(segments)


class _TokenBags:
    """Two bags for each query head of each token: one weighs keys, one values."""

    def __init__(self, cache: BagCache, segments: Sequence[Segment]) -> None:
        self._cache = cache
        self._ends = [segment.end for segment in segments]
        places = torch.tensor([segment.start for segment in segments])
        self._slots = torch.tensor([segment.slot for segment in segments])
        self._places, self._blocks, self._columns = places, places // BLOCK, places % BLOCK
        # The key/value head that each query head reads, as a row of all heads of the pool.
        group = cache.heads // cache.kv_heads
        heads = self._slots[:, None] * cache.kv_heads + torch.arange(cache.heads) // group  # (R, H)
        tables = [
            (head[:, None] * cache.blocks + torch.arange(_blocks(end))).flatten()
            for head, end in zip(heads, self._ends, strict=True)
        ]
        rows = torch.cat(tables)[:, None] * cache.head_dim + torch.arange(cache.head_dim)
        self._key_rows = rows.flatten().int()
        self._key_bags = torch.arange(0, rows.numel(), cache.head_dim, dtype=torch.int32)
        self._key_counts = [len(table) for table in tables]
        # Which query, of (R * H), weighs each bag of keys.
        counts = torch.tensor([_blocks(end) for end in self._ends]).repeat_interleave(cache.heads)
        self._queries = torch.arange(len(counts)).repeat_interleave(counts)
        values = [
            (head[:, None] * cache.context + torch.arange(end)).flatten()
            for head, end in zip(heads, self._ends, strict=True)
        ]
        self._value_rows = torch.cat(values).int()
        lengths = torch.tensor(self._ends).repeat_interleave(cache.heads)
        self._value_bags = (lengths.cumsum(0) - lengths).int()

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keep the tokens and attend: (1, H, R, D) queries, (1, KV, R, D) keys and values."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]
        keys[self._slots, :, self._blocks, :, self._columns] = k[0].transpose(0, 1)
        values[self._slots, :, self._places] = v[0].transpose(0, 1)
        _, H, R, D = q.shape
        queries = (q[0] * D**-0.5).transpose(0, 1).reshape(R * H, D)
        scores = F.embedding_bag(
            self._key_rows,
            keys.view(-1, BLOCK),
            self._key_bags,
            mode="sum",
            per_sample_weights=queries[self._queries].flatten(),
        )  # (bags, BLOCK)
        shares = [
            own.view(H, -1)[:, :end].softmax(-1, dtype=torch.float32).to(v.dtype).flatten()
            for own, end in zip(torch.split(scores, self._key_counts), self._ends, strict=True)
        ]
        out = F.embedding_bag(
            self._value_rows,
            values.view(-1, D),
            self._value_bags,
            mode="sum",
            per_sample_weights=torch.cat(shares),
        )  # (R * H, D)
        return out.view(R, H, D).transpose(0, 1).unsqueeze(0)


def _blocks(positions: int) -> int:
    return -(-positions // BLOCK)
