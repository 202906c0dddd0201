"""Keys and values of everything that is being generated, in a fixed pool of slots.

A slot is one sequence from position 0: the frame's prefix, then a prompt and its answer. Prompts
and answers are written behind the prefix, never over it, so the next task of a frame starts in the
same slot. Nothing is cleared between users: a row only ever reads what it has written itself (one
that is replayed over a fixed context reads more, and masks it, see `graphs`).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from moondream2.branches import Branches
from moondream2.config import TextConfig
from moondream2.staging import to_device
from moondream2.text import Attend, TextModel, attention


@dataclass(frozen=True, slots=True)
class Segment:
    """Consecutive tokens of one row in a packed pass."""

    slot: int
    #: Position of the first of them.
    start: int
    count: int
    #: The last of them, side by side where a row would have one after the other.
    branches: Branches | None = None

    @property
    def end(self) -> int:
        """Place in the slot after the last of them."""
        return self.start + self.count

    @property
    def positions(self) -> list[int]:
        """Of each token in its sequence: branches all follow what is before them."""
        if self.branches is None:
            return list(range(self.start, self.end))
        root = self.end - len(self.branches)
        return [*range(self.start, root), *(root + depth for depth in self.branches.depths)]


class SlotCache:
    """The pool, position after position.

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
        rows = (config.layers, slots, config.kv_heads)
        # Not cleared: on a CPU, memory that no row has reached is never really taken.
        self.keys = torch.empty((*rows, *self.key_shape(config)), device=device, dtype=dtype)
        #: (L, slots, KV, context, D)
        self.values = torch.empty(
            (*rows, config.max_context, config.head_dim), device=device, dtype=dtype
        )

    @staticmethod
    def key_shape(config: TextConfig) -> tuple[int, ...]:
        """Return how the keys of one head lie: (context, D)."""
        return config.max_context, config.head_dim

    def write(self, layer: int, segment: Segment, k: Tensor, v: Tensor) -> None:
        """Keep keys and values of a segment, each (KV, T, D)."""
        here = slice(segment.start, segment.end)
        self.keys[layer, segment.slot, :, here].copy_(k)
        self.values[layer, segment.slot, :, here].copy_(v)

    def write_prefixes(self, layer: int, slots: Tensor, k: Tensor, v: Tensor) -> None:
        """Keep keys and values of the first T positions of some slots, each (F, KV, T, D).

        Args:
            layer: Index of the block.
            slots: (F,) integers on the device of the pool.
            k: Keys.
            v: Values.
        """
        for pool, new in ((self.keys, k), (self.values, v)):
            pool[layer, :, :, : new.shape[2]].index_copy_(0, slots, new)

    def write_tokens(
        self, layer: int, slots: Tensor, positions: Tensor, k: Tensor, v: Tensor
    ) -> None:
        """Keep keys and values of a token in each of some slots.

        Args:
            layer: Index of the block.
            slots: (B,) integers on the device of the pool.
            positions: (B,), the places of the tokens.
            k: (B, KV, 1, D) keys.
            v: Values.
        """
        self.keys[layer][slots, :, positions] = k[:, :, 0]
        self.values[layer][slots, :, positions] = v[:, :, 0]

    def sequences(self, layer: int) -> tuple[Tensor, Tensor]:
        """Return keys and values as one row for each position of each slot, each (T, KV, D).

        Position p of slot s is row `s * rows_per_slot + p`. Heads lie one after the other in a
        slot, so the rows between two slots show heads shifted by one, and mean nothing.
        """
        _, slots, KV, context, D = self.values.shape
        rows = (slots - 1) * self.rows_per_slot + context
        keys, values = (
            pool[layer].as_strided((rows, KV, D), (D, context * D, 1))
            for pool in (self.keys, self.values)
        )
        return keys, values

    @property
    def rows_per_slot(self) -> int:
        """Rows of `sequences` from one slot to the next."""
        return self.values.shape[2] * self.context

    def read(self, layer: int, segment: Segment) -> tuple[Tensor, Tensor]:
        """Return keys and values up to the end of a segment, each (KV, end, D)."""
        here = slice(0, segment.end)
        return self.keys[layer, segment.slot, :, here], self.values[layer, segment.slot, :, here]

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copy the first positions of a slot to another one."""
        for pool in (self.keys, self.values):
            pool[:, target, :, :length].copy_(pool[:, source, :, :length])

    def take_prefix(self, other: "SlotCache", source: int, target: int) -> None:
        """Copy all positions of a slot of another pool of this kind, a smaller one, to a slot."""
        for mine, its in ((self.keys, other.keys), (self.values, other.values)):
            mine[:, target, :, : other.context].copy_(its[:, source])
            if its.device.type == "cuda":
                # The memory belongs to the stream that filled it; until here it is read on this.
                its.record_stream(torch.cuda.current_stream(its.device))

    def tokens(self, segments: Sequence[Segment]) -> Attend:
        """Return the attention of single tokens, one for each segment.

        It takes (1, H, T, D) queries, (1, KV, T, D) keys and values, T the number of segments.
        """

        def attend(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            out = torch.empty_like(q)
            for index, segment in enumerate(segments):
                here = slice(index, index + 1)
                self.write(layer, segment, k[0, :, here], v[0, :, here])
                out[:, :, here] = _attend_segment(q[:, :, here], *self.read(layer, segment))
            return out

        return attend


def slot_bytes(config: TextConfig, dtype: torch.dtype) -> int:
    """Return the memory of one slot."""
    positions = config.layers * config.kv_heads * config.max_context
    return 2 * positions * config.head_dim * dtype.itemsize


def prefill(text: TextModel, embeddings: Tensor, cache: SlotCache, slots: Sequence[int]) -> None:
    """Run the prefixes of frames through the language model and keep them in slots.

    Args:
        text: The language model.
        embeddings: (F, T, W), one prefix for each frame.
        cache: Takes their keys and values.
        slots: F slots.
    """
    for _ in prefill_in_units(text, embeddings, PrefixAttend(cache, slots)):
        pass


def prefill_in_units(text: TextModel, embeddings: Tensor, attend: "PrefixAttend") -> Iterator[int]:
    """Do what `prefill` does, pausing after each block with its number."""
    num, length, _ = embeddings.shape
    positions = torch.arange(length, device=embeddings.device).expand(num, length)
    for layer, _ in enumerate(text.prefill_in_units(embeddings, positions, attend)):
        yield layer


class PrefixAttend:
    """Attention of frames: every position sees every other, and all are kept.

    Args:
        cache: Where they are kept.
        slots: B slots, one for each frame of the pass.
    """

    def __init__(self, cache: SlotCache, slots: Sequence[int]) -> None:
        self._cache = cache
        self._slots = to_device(slots, cache.keys.device)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer; shapes as for `Attend`, T positions from 0."""
        self._keep(layer, k, v)
        return attention(q, k, v)

    def end(self, layer: int, _q: Tensor, k: Tensor, v: Tensor) -> Tensor | None:
        """Keep keys and values of the last layer."""
        self._keep(layer, k, v)
        return None

    def _keep(self, layer: int, k: Tensor, v: Tensor) -> None:
        self._cache.write_prefixes(layer, self._slots, k, v)


class PromptsAttend(PrefixAttend):
    """Attention of frames with a prompt behind each: the linear layers see all of it at once.

    Every position of a frame sees every other of it and none of the prompt, as if there were none;
    those of a prompt see the frame and what is before them. Prompts that are shorter than others
    are padded behind their end, which nothing before it sees.

    Args:
        cache: With a slot for each frame of the pass, in order.
        prefix: Positions of each frame.
        length: Positions of the longest prompt.
    """

    def __init__(self, cache: SlotCache, *, prefix: int, length: int) -> None:
        super().__init__(cache, range(cache.slots))
        self._prefix = prefix
        seen = torch.ones(length, prefix + length, dtype=torch.bool, device=cache.keys.device)
        self._seen = seen.tril(prefix)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer; shapes as for `Attend`, prefix and prompt in turn."""
        first = self._prefix
        frames = attention(q[:, :, :first], k[:, :, :first], v[:, :, :first])
        parts = frames, self.end(layer, q, k, v)
        # Joined as the projection after it wants them, position by position.
        joined = torch.cat([part.transpose(1, 2) for part in parts], dim=1)  # (F, T + P, H, D)
        return joined.transpose(1, 2)

    def end(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Keep all, and attend from prompts alone to all that is before each of them."""
        self._keep(layer, k, v)
        return attention(q[:, :, self._prefix :], k, v, self._seen)


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
        places = [place for segment in segments for place in segment.positions]
        #: Of all tokens of the pass, (T,).
        self.positions = to_device(places, device)
        self._cache = cache
        firsts = accumulate((segment.count for segment in segments), initial=0)
        spans = [
            (slice(first, first + segment.count), segment)
            for first, segment in zip(firsts, segments, strict=False)  # one more than segments
        ]
        self._longer = [(*span, _seen(span[1], device)) for span in spans if span[1].count > 1]
        single = [(here.start, segment) for here, segment in spans if segment.count == 1]
        self._single = [place for place, _ in single]
        self._attend_single = cache.tokens([segment for _, segment in single])

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
        if not self._longer:
            return self._attend_single(layer, q, k, v)
        out = torch.empty_like(q)
        for here, segment, mask in self._longer:
            self._cache.write(layer, segment, k[0, :, here], v[0, :, here])
            out[:, :, here] = _attend_segment(
                q[:, :, here], *self._cache.read(layer, segment), mask=mask
            )
        if self._single:
            parts = (tensor[:, :, self._single] for tensor in (q, k, v))
            out[:, :, self._single] = self._attend_single(layer, *parts)
        return out


def _attend_segment(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Attend for one segment: (1, H, T, D) queries, (KV, end, D) keys and values."""
    return attention(q, k.unsqueeze(0), v.unsqueeze(0), mask)


def _seen(segment: Segment, device: torch.device) -> Tensor:
    """Return which places of its slot each token of a segment sees, (count, end)."""
    seen = torch.ones(segment.count, segment.end, dtype=torch.bool, device=device)
    seen = seen.tril(segment.start)
    if segment.branches is not None:
        num = len(segment.branches)
        seen[-num:, -num:] = to_device(segment.branches.sees, device)
    return seen
