"""Attention that reads the length of each row, as the operator of a GPU is said to do it."""

import torch
from torch import Tensor

from moondream2.text import attention


class ReadsLengths:
    """Sequence after sequence, on any device and in any format; refuses what the operator would."""

    def __init__(self) -> None:
        #: Positions it has read so far, of all sequences.
        self.num_read = 0

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
        """Attend, see `moondream2.varlen.Varlen`."""
        rows, heads, _ = q.shape
        assert all(each.dtype == torch.int32 for each in (queries, starts, used))
        assert all(each.is_contiguous() for each in (queries, starts, used))
        assert all(each.stride(-1) == 1 for each in (q, k, v))
        assert (len(queries), len(starts), len(used)) == (rows + 1, rows + 1, rows)
        assert queries.tolist() == list(range(rows + 1))
        assert k.shape == v.shape
        assert k.shape[2] == q.shape[2]
        assert heads % k.shape[1] == 0
        assert 0 < int(used.min()) <= int(used.max()) <= context
        found = torch.empty_like(q)
        for row, (start, count) in enumerate(zip(starts.tolist(), used.tolist(), strict=False)):
            here = slice(start, start + count)
            assert here.stop <= len(k), "behind the end of the pool"
            keys, values = (each[here].transpose(0, 1)[None] for each in (k, v))  # (1, KV, n, D)
            found[row] = attention(q[row, None, :, None], keys, values)[0, :, 0]
            self.num_read += count
        return found
