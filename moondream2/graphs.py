"""A decode step as one launch: recorded once, replayed for every token.

A step of a large model is some five hundred small kernels; launching them one by one takes a GPU
longer than running them. A recording always reads and writes the same memory, so everything that
changes from step to step (positions, embeddings, which rows run) lies in tensors it reads.

Only the recorder knows CUDA. Everything else runs, and is tested, on any device.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from moondream2.cache import SlotCache
from moondream2.staging import to_device
from moondream2.text import Attend, TextModel, attention
from moondream2.varlen import LengthsAttend, Varlen

#: Fixed contexts are a multiple of this: larger ones mean fewer graphs to capture, but
#: more keys that are read only to be masked.
_CONTEXT_STEP = 256


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded."""

    #: Runs it again on what its inputs hold now.
    replay: Callable[[], object]
    #: Holds the result of the last replay.
    output: Tensor


#: Records a function without arguments that always uses the same memory.
Recorder = Callable[[Callable[[], Tensor]], Recording]


class CudaRecorder:
    """Records CUDA graphs.

    Args:
        device: Where they run.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        # Graphs run one after the other, so they share their scratch memory.
        self._pool = torch.cuda.graph_pool_handle()
        # One for all of them: cuBLAS keeps a workspace for each stream it has seen.
        # What is recorded keeps its priority: above that of encoding, see `passes`.
        self._side = torch.cuda.Stream(device, priority=-1)  # type: ignore[no-untyped-call]

    def __call__(self, run: Callable[[], Tensor]) -> Recording:
        """Record a graph; the first one takes about a second, the others a fraction of it.

        Raises:
            RuntimeError: It cannot be recorded; the stream that was current still is.
        """
        current = torch.cuda.current_stream(self._device)
        self._side.wait_stream(current)
        try:
            with torch.cuda.stream(self._side):
                for _ in range(2):  # lazy initialisation is not allowed while recording
                    run()
            current.wait_stream(self._side)
            graph = torch.cuda.CUDAGraph()
            # Of this thread alone: another one may be pinning the pixels of the next frame.
            with torch.cuda.graph(
                graph, pool=self._pool, stream=self._side, capture_error_mode="thread_local"
            ):
                output = run()
        finally:
            # torch leaves its own stream current where the end of a capture fails.
            torch.cuda.set_stream(current)
        return Recording(graph.replay, output)


@dataclass(frozen=True, slots=True)
class _Step:
    recording: Recording
    embeddings: Tensor  # (B, 1, W), in
    #: (2, B), in: the position of each token, and how many positions of its slot are looked at.
    places: Tensor


class DecodeGraphs:
    """One decode step of the slots 0..B-1 as one launch.

    Row i of a graph is slot i, whether it runs or not, so that keys are read in place. A slot that
    does not run computes garbage nobody reads and writes it where the next true token of that slot
    will overwrite it.

    Each row reads as much of its slot as there is, or, without an operator for that, up to a fixed
    context. Positions behind a row's own are then masked, but they are read, and no mask makes a
    number of what is none: there, a slot has to be cleared before it is used.

    Every size there can be is recorded at once: a recording stops the device, and would do so while
    frames wait.

    Args:
        text: The language model.
        cache: Its keys and values.
        record: Makes the graphs.
        varlen: Attention that reads the length of each row; None: contexts are fixed.

    Raises:
        RuntimeError: From `record`; torch.OutOfMemoryError where memory is what is missing.
    """

    def __init__(
        self, text: TextModel, cache: SlotCache, record: Recorder, varlen: Varlen | None = None
    ) -> None:
        self._text, self._cache, self._record, self._varlen = text, cache, record, varlen
        # The largest first: the others fit into the scratch memory that it leaves.
        sizes = sorted(self._sizes(), reverse=True)
        self._steps = {size: self._make(*size) for size in sizes}

    def clear(self, slot: int, start: int) -> None:
        """Make numbers of all that a row may read of a slot from a position on."""
        if self._varlen is not None:
            return
        for pool in (self._cache.keys, self._cache.values):
            pool[:, slot, :, start:].zero_()

    def read(self, embeddings: Tensor, slots: Sequence[int], lengths: Mapping[int, int]) -> Tensor:
        """Read one token for each row.

        Args:
            embeddings: (N, W) of the rows.
            slots: N slots of the rows.
            lengths: Filled positions of every slot that holds anything, by slot.

        Returns:
            (N, W) output of the last block.
        """
        size = self._size(max(slots) + 1, max(lengths[slot] for slot in slots) + 1)
        step = self._steps[size]
        last = self._cache.context - 1
        positions = [min(lengths.get(slot, last), last) for slot in range(size[0])]
        looked_at = [1] * size[0]
        for slot in slots:
            looked_at[slot] = positions[slot] + 1
        step.places.copy_(to_device([positions, looked_at], embeddings.device))
        rows = to_device(slots, embeddings.device)
        step.embeddings[rows, 0] = embeddings
        step.recording.replay()
        return step.recording.output[rows, 0]

    def _sizes(self) -> set[tuple[int, int]]:
        """All that `_size` gives."""
        contexts = range(1, self._cache.context + 1, _CONTEXT_STEP)
        return {
            self._size(rows, context)
            for rows in range(1, self._cache.slots + 1)
            for context in contexts
        }

    def _size(self, rows: int, context: int) -> tuple[int, int]:
        """Round up to a size that is recorded: rows to a power of two, context to a step."""
        rows = min(1 << (rows - 1).bit_length(), self._cache.slots)
        if self._varlen is not None:
            return rows, self._cache.context
        context = -(-context // _CONTEXT_STEP) * _CONTEXT_STEP
        return rows, min(context, self._cache.context)

    def _make(self, rows: int, context: int) -> _Step:
        wte = self._text.wte
        embeddings = torch.zeros(rows, 1, wte.shape[1], device=wte.device, dtype=wte.dtype)
        # Where the recording writes, no sequence but one that is full has anything, and a full one
        # reads nothing more.
        places = torch.ones(2, rows, device=wte.device, dtype=torch.long)
        places[0] = self._cache.context - 1
        positions, looked_at = places[0, :, None], places[1]

        def run() -> Tensor:
            if self._varlen is None:
                attend: Attend = SlotsAttend(self._cache, positions, context)
            else:
                attend = LengthsAttend(self._cache, positions, looked_at, self._varlen)
            return self._text(embeddings, positions, attend)  # type: ignore[no-any-return]

        return _Step(self._record(run), embeddings, places)


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
        self._cache.write_tokens(layer, self._rows, self._positions, k, v)
        keys, values = self._cache.keys[layer], self._cache.values[layer]  # (slots, KV, context, D)
        rows, context = len(self._rows), self._context
        return attention(q, keys[:rows, :, :context], values[:rows, :, :context], self._mask)
