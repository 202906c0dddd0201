"""What only pays on CUDA: replayed decode steps, early transfers, compiled encoding."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from service.moondream.cache import SlotCache
from service.moondream.crops import Crops
from service.moondream.model import Moondream
from service.moondream.text import TextModel

#: Graphs exist for contexts of a multiple of this: larger ones mean fewer graphs to capture, but
#: more keys that are read only to be masked.
_CONTEXT_STEP = 512


def stage(crops: Crops, device: torch.device) -> Crops:
    """Begin to copy a frame to the device, beside whatever runs there; on a CPU, do nothing."""
    if device.type != "cuda":
        return crops
    return replace(crops, pixels=crops.pixels.pin_memory().to(device, non_blocking=True))


def compile_vision(model: Moondream) -> None:
    """Compile the image encoder in place.

    Its first passes then take a minute or more; the number of crops may vary without another one.
    """
    model.vision.compile(dynamic=True)


@dataclass(slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    embeddings: Tensor  # (B, 1, W), in
    positions: Tensor  # (B, 1), in
    hidden: Tensor  # (B, 1, W), out


class DecodeGraphs:
    """One decode step of the slots 0..B-1 as one launch.

    Row i of a graph is slot i, whether it runs or not, so that keys are read in place. A slot that
    does not run computes garbage nobody reads and writes it where the next true token of that slot
    will overwrite it.

    Args:
        text: The language model on a CUDA device.
        cache: Its keys and values.
    """

    def __init__(self, text: TextModel, cache: SlotCache) -> None:
        self._text, self._cache = text, cache
        self._captured: dict[tuple[int, int], _Captured] = {}
        # Graphs run one after the other, so they share their scratch memory.
        self._pool = torch.cuda.graph_pool_handle()

    def read(self, embeddings: Tensor, slots: Sequence[int], lengths: Mapping[int, int]) -> Tensor:
        """Read one token for each row.

        Args:
            embeddings: (N, W) of the rows.
            slots: N slots of the rows.
            lengths: Filled positions of every slot that holds anything, by slot.

        Returns:
            (N, W) output of the last block.
        """
        bucket = self._bucket(max(slots) + 1, max(lengths[slot] for slot in slots) + 1)
        if bucket not in self._captured:
            self._captured[bucket] = self._capture(*bucket)
        step = self._captured[bucket]
        last = self._cache.context - 1
        positions = [[min(lengths.get(slot, last), last)] for slot in range(bucket[0])]
        step.positions.copy_(torch.tensor(positions).pin_memory(), non_blocking=True)
        rows = torch.tensor(slots).pin_memory().to(embeddings.device, non_blocking=True)
        step.embeddings[rows, 0] = embeddings
        step.graph.replay()
        return step.hidden[rows, 0]

    def _bucket(self, rows: int, context: int) -> tuple[int, int]:
        rows = min(1 << (rows - 1).bit_length(), self._cache.slots)
        context = -(-context // _CONTEXT_STEP) * _CONTEXT_STEP
        return rows, min(context, self._cache.context)

    def _capture(self, rows: int, context: int) -> _Captured:
        """Record a graph; the first one takes about a second, the others a fraction of it."""
        wte = self._text.wte
        embeddings = torch.zeros(rows, 1, wte.shape[1], device=wte.device, dtype=wte.dtype)
        # Where the warm-up writes, no sequence but one that is full has anything, and a full one
        # reads nothing more.
        positions = torch.full((rows, 1), self._cache.context - 1, device=wte.device)
        side = torch.cuda.Stream(wte.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(wte.device))
        with torch.cuda.stream(side):
            for _ in range(2):  # lazy initialisation is not allowed while recording
                self._run(embeddings, positions, context)
        torch.cuda.current_stream(wte.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            hidden = self._run(embeddings, positions, context)
        return _Captured(graph, embeddings, positions, hidden)

    def _run(self, embeddings: Tensor, positions: Tensor, context: int) -> Tensor:
        attend = SlotsAttend(self._cache, positions, context)
        return self._text(embeddings, positions, attend)  # type: ignore[no-any-return]


class SlotsAttend:
    """Attention of one token in each of the first slots, up to a fixed context.

    Args:
        cache: Holds all earlier positions of the slots.
        positions: (B, 1) of the tokens, read anew at every pass.
        context: Positions that are looked at; those after a row's own are masked.
    """

    def __init__(self, cache: SlotCache, positions: Tensor, context: int) -> None:
        rows = len(positions)
        self._cache, self._context = cache, context
        self._rows = torch.arange(rows, device=positions.device)
        self._positions = positions[:, 0]  # (B,)
        places = torch.arange(context, device=positions.device)
        self._mask = (places <= positions).view(rows, 1, 1, context)

    def __call__(self, layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Attend in one layer: (B, H, 1, D) queries, (B, KV, 1, D) keys and values."""
        keys, values = self._cache.keys[layer], self._cache.values[layer]  # (slots, KV, context, D)
        keys[self._rows, :, self._positions] = k[:, :, 0]
        values[self._rows, :, self._positions] = v[:, :, 0]
        rows, context = len(self._rows), self._context
        return F.scaled_dot_product_attention(
            q,
            keys[:rows, :, :context],
            values[:rows, :, :context],
            attn_mask=self._mask,
            enable_gqa=q.shape[1] != k.shape[1],
        )
