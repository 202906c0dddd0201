"""Attention of one token a slot that reads as much of each slot as there is.

Fixed contexts cost a recording for every one of them, keys that are read only to be masked, and a
slot that has to be cleared before it is used. Flash attention takes the number of filled positions
of each slot from the device instead.

The operator is the one under `torch.nn.attention.varlen`, called directly: importing that module
takes a second, and each of its calls fills a tensor that nobody reads. It is not public, so it is
tried on numbers before anything is recorded, and where it does not do what is said here, contexts
are fixed as before. It is for 16 bits on CUDA; float32 is there to be exact, and keeps its path.
"""

import logging
import math
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from moondream2.cache import SlotCache
from moondream2.config import TextConfig
from moondream2.text import attention

logger = logging.getLogger(__name__)

#: Positions of the slots it is tried on, of which the first and the second slot have some.
_TRIAL, _FILLED = 64, (3, 40)
#: Of results in bfloat16, which has 8 bits.
_TOLERANCE = 0.03


class Varlen(Protocol):
    """Attention of sequences that lie in one tensor, with one query each."""

    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        queries: Tensor,
        starts: Tensor,
        used: Tensor,
        context: int,
    ) -> Tensor:
        """Attend from each query to the filled positions of its sequence.

        Args:
            q: (B, H, D); of all strides, here and below, the last is 1.
            k: (T, KV, D).
            v: As `k`.
            queries: (B + 1,) int32 from 0 to B, the row of `q` of each sequence.
            starts: (B + 1,) int32, the row of `k` with the first position of each sequence.
            used: (B,) int32 above 0, filled positions of each.
            context: The most that `used` can be.

        Returns:
            (B, H, D).
        """


def flash(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    queries: Tensor,
    starts: Tensor,
    used: Tensor,
    context: int,
) -> Tensor:
    """Do it in one launch, see `Varlen`."""
    found: Tensor = torch.ops.aten._flash_attention_forward(
        q,
        k,
        v,
        queries,
        starts,
        1,  # query a sequence
        context,
        0.0,  # dropout
        False,  # causal: the query is the last position
        False,  # debug mask
        seqused_k=used,
        # Splitting keys is wrong where they are paged, and would let the longest row of a batch
        # decide how the others are added up.
        num_splits=1,
    )[0]
    return found


def find_varlen(config: TextConfig, device: torch.device, dtype: torch.dtype) -> Varlen | None:
    """Return the operator where a device has it; where it should and has not, the log says why."""
    if device.type != "cuda" or dtype not in (torch.bfloat16, torch.float16):
        return None
    reason = fault_of(flash, config, device, dtype)
    if reason is None:
        return flash
    logger.warning("steps read fixed contexts, not the length of each row: %s", reason)
    return None


@torch.inference_mode()
def fault_of(
    varlen: Varlen, config: TextConfig, device: torch.device, dtype: torch.dtype
) -> str | None:
    """Try an operator on slots that hold no numbers behind their ends; return what is wrong."""
    config = replace(config, layers=1, max_context=_TRIAL)
    cache = SlotCache(config, len(_FILLED), device=device, dtype=dtype)
    for pool in (cache.keys, cache.values):
        pool.fill_(torch.nan)
        for slot, filled in enumerate(_FILLED):
            here = pool[0, slot, :, : filled - 1]  # (KV, filled - 1, D)
            here.copy_(_numbers(here.shape, pool))
    q, k, v = (
        _numbers((len(_FILLED), heads, 1, config.head_dim), cache.keys)
        for heads in (config.heads, config.kv_heads, config.kv_heads)
    )
    used = torch.tensor(_FILLED, device=device)
    try:
        found = LengthsAttend(cache, used[:, None] - 1, used, varlen)(0, q, k, v)
    except (AttributeError, TypeError, RuntimeError) as error:  # it, its arguments, or a device
        return " ".join(str(error).split())
    for slot, filled in enumerate(_FILLED):
        own = [pool[0, slot, None, :, :filled].float() for pool in (cache.keys, cache.values)]
        expected = attention(q[slot, None].float(), *own)[0]
        if not torch.allclose(found[slot].float(), expected, atol=_TOLERANCE):
            return "its results are not those of attention"
    return None


def _numbers(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Return numbers in -1..1 that are told apart by their places."""
    places = torch.arange(math.prod(shape), device=like.device)
    return places.sin().view(shape).to(like.dtype)


class LengthsAttend:
    """Attention of one token in each of the first slots to what each of them holds.

    An idle slot has a query as well and is said to hold one position, which costs next to nothing:
    with grouped heads the kernel takes it that every sequence has a query, and over no positions
    at all there is no softmax.

    Args:
        cache: Holds all earlier positions of the slots.
        positions: (B, 1) of the tokens, read anew at every pass.
        used: (B,) filled positions of each slot with its token, 1 where it is idle; as `positions`.
        varlen: The operator.
    """

    def __init__(self, cache: SlotCache, positions: Tensor, used: Tensor, varlen: Varlen) -> None:
        B, device = len(positions), positions.device
        self._cache, self._varlen = cache, varlen
        self._rows = torch.arange(B, device=device)
        self._positions = positions[:, 0]  # (B,)
        self._used = used.int()
        self._queries = torch.arange(B + 1, device=device, dtype=torch.int32)
        self._starts = self._queries * cache.rows_per_slot

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer: (B, H, 1, D) queries, (B, KV, 1, D) keys and values."""
        self._cache.write_tokens(layer, self._rows, self._positions, k, v)
        keys, values = self._cache.sequences(layer)  # (T, KV, D)
        context = self._cache.context
        out = self._varlen(
            q[:, :, 0], keys, values, self._queries, self._starts, self._used, context
        )  # (B, H, D)
        return out.unsqueeze(2)
