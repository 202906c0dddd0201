"""The passes over the network: frames in, hidden states out, and heads to pick from them.

Here are the tensors of continuous batching and none of its policy: who runs, in which slot, and
what is made of a pick is decided by the caller. One step is at most one `encode` and one `read`,
then a pick or two from what was read.
"""

import gc
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from moondream2.bags import BagCache
from moondream2.beside import Ahead, Beside, CudaQueue, Encoded, Queue
from moondream2.branches import Branches
from moondream2.cache import RowsAttend, Segment, SlotCache, prefill
from moondream2.compiled import CompiledPrefill, Compiler, compile_vision
from moondream2.crops import Crops
from moondream2.decoding import Decoding
from moondream2.encoding import Clock, Encoding
from moondream2.feeds import Readable, embed
from moondream2.graphs import DecodeGraphs
from moondream2.heads import Heads
from moondream2.kernels import choose_attention_kernels
from moondream2.model import Moondream
from moondream2.prefixes import Prefill, encode_in_units
from moondream2.staging import Staging, to_device
from moondream2.stopwatch import Stopwatch
from moondream2.tokens import Feed

#: Told before each pass what it is (`encode`, `read`) and how many crops or tokens it has.
Watch = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one row reads in a step."""

    slot: int
    #: Position of the first feed, the number of positions that are filled.
    start: int
    feeds: tuple[Readable, ...]
    #: What is tried behind the feeds, and forgotten.
    branches: Branches | None = None

    @property
    def tokens(self) -> tuple[Readable, ...]:
        """All that is read, in the order of the pass."""
        return self.feeds if self.branches is None else (*self.feeds, *self.branches.tokens)

    @property
    def num_outputs(self) -> int:
        """How many hidden states are asked for: that of the last feed, or of every branch token."""
        return 1 if self.branches is None else len(self.branches)

    @property
    def segment(self) -> Segment:
        """Its place in the pool."""
        return Segment(self.slot, self.start, len(self.tokens), self.branches)


@dataclass(frozen=True, slots=True)
class _Pool:
    """Slots, and what is recorded over them."""

    cache: SlotCache
    graphs: DecodeGraphs | None


class Passes:
    """A model with a pool of slots, which `resize` makes first.

    Args:
        model: Ready for inference.
        graphs: Replay decode steps as CUDA graphs; has no effect on a CPU.
        decoding: What decode steps are made of; None chooses by `graphs` and device.
        compiled: Encode through torch.compile.
        beside: Encode beside what is generated; has no effect where there is no CUDA.
        queue: Where that is launched; None chooses by `beside`.
        watch: Called before each pass.

    Raises:
        torch.OutOfMemoryError: Also from every pass; the pool is then to be resized.
    """

    def __init__(
        self,
        model: Moondream,
        *,
        graphs: bool = True,
        decoding: Decoding | None = None,
        compiled: bool = False,
        beside: bool = True,
        queue: Queue | None = None,
        watch: Watch | None = None,
    ) -> None:
        self._model, self._device, self._watch = model, model.device, watch
        #: What hidden states come to.
        self.heads = Heads(model)
        choose_attention_kernels(self._device)
        if decoding is None:
            decoding = Decoding.of(model) if graphs else Decoding()
        #: What decode steps are made of.
        self.decoding = decoding
        self._staging = Staging(self._device)
        self._stream: torch.cuda.Stream | None = None  # of what is generated
        if queue is None and beside and self._device.type == "cuda":
            # Above that of the queue, so that a token waits for no frame; recordings keep it.
            self._stream = torch.cuda.Stream(self._device, priority=-1)  # type: ignore[no-untyped-call]
            self._stream.wait_stream(torch.cuda.current_stream(self._device))
            queue = CudaQueue(self._device)
        #: What is encoded beside rows; None: nothing is.
        self.beside = None if queue is None else Beside(queue)
        self._compiled: Prefill | None = _compile(model) if compiled else None
        self._held: _Pool | None = None
        self._has_made = False  # a pool, or tried to

    def generating(self) -> AbstractContextManager[object]:
        """Put what is launched into the queue of what is generated, which goes before others."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def stage(self, crops: Crops) -> Crops:
        """Begin to bring a frame to the device."""
        return self._staging.send(crops)

    def encode(self, frames: Sequence[Crops], slots: Sequence[int], *, max_crops: int) -> Stopwatch:
        """Encode staged frames and write their prefixes to slots.

        Args:
            frames: At least one.
            slots: One for each.
            max_crops: Most crops that go through the encoder together.

        Returns:
            The time it takes.
        """
        self._note("encode", sum(map(len, frames)))
        watch = Stopwatch(self._device)
        frames = self._staging.receive(frames)
        images = self._model.vision.encode(frames, chunk=self._chunk(max_crops))  # (F, T - 1, W)
        prefix = self._model.prefix_embeddings(images)  # (F, T, W)
        # One frame keeps a CPU busy, and its activations stay in the cache.
        together = 1 if self._device.type == "cpu" else len(frames)
        run = self._compiled or prefill
        for first in range(0, len(frames), together):
            part = slice(first, first + together)
            run(self._model.text, prefix[part], self._pool.cache, slots[part])
        watch.stop()
        return watch

    def encoding(self, crops: Crops, *, max_crops: int, clock: Clock) -> Encoding:
        """Begin to encode a frame in parts; nothing is computed yet."""
        return Encoding(self._model, crops, chunk=self._chunk(max_crops), clock=clock)

    def advance(self, encoding: Encoding, slot: int, limit_s: float) -> bool:
        """Encode a frame further, see `Encoding.advance`."""
        self._note("encode", encoding.num_crops)
        return encoding.advance(self._pool.cache, slot, limit_s)

    def ahead(
        self,
        frames: Sequence[Crops],
        prompts: Sequence[Sequence[Feed]],
        rank: tuple[float, ...],
        *,
        max_crops: int,
    ) -> Ahead:
        """Prepare to encode staged frames beside rows; nothing is launched yet.

        Args:
            frames: At least one.
            prompts: One for each, which is read in the same pass; empty to read none.
            rank: Their class.
            max_crops: Most crops that go through the encoder together.
        """
        self._note("encode", sum(map(len, frames)))
        return Ahead(rank, self._units(frames, prompts, self._chunk(max_crops)))

    def take(self, ahead: Ahead, index: int, slot: int) -> Tensor | None:
        """Copy what was made of a frame beside rows to a slot.

        Returns:
            (1, W) output of the last block for the last token of its prompt; None: no prompts were
            read.
        """
        encoded = ahead.encoded
        self._pool.cache.take_prefix(encoded.cache, index, slot)
        if encoded.hidden is None:
            return None
        if self._stream is not None:
            encoded.hidden.record_stream(self._stream)
        return encoded.hidden[index : index + 1].clone()

    def begin(self, slot: int, length: int, source: int | None) -> None:
        """Make a slot ready for a row.

        Args:
            slot: Where the row runs.
            length: Of its prefix.
            source: Slot whose prefix is copied first; None when it is already there.
        """
        if source is not None:
            self._pool.cache.copy_prefix(source, slot, length)
        if self._pool.graphs is not None:
            self._pool.graphs.clear(slot, length)

    def read(self, readings: Sequence[Reading], lengths: Mapping[int, int]) -> Tensor:
        """Read the feeds of rows, each to the end of its own slot.

        Args:
            readings: N rows.
            lengths: Filled positions of every slot that holds a row, by slot.

        Returns:
            (outputs, W) output of the last block, the `num_outputs` of each row in turn.
        """
        graphs = self._pool.graphs
        if graphs is None:
            return self._read_packed(readings)
        single = [each for each in readings if len(each.tokens) == 1]
        longer = [each for each in readings if len(each.tokens) > 1]
        if not longer:
            return self._read_replayed(graphs, single, lengths)
        # Replays first: idle slots below the highest replayed one are written to, at the position
        # that a prompt begins with.
        parts = [self._read_replayed(graphs, single, lengths)] if single else []
        parts.append(self._read_packed(longer))
        firsts = accumulate((each.num_outputs for each in single + longer), initial=0)
        order = {each.slot: first for each, first in zip(single + longer, firsts, strict=False)}
        places = (order[each.slot] + i for each in readings for i in range(each.num_outputs))
        return torch.cat(parts)[self._index(places)]

    def resize(self, slots: int) -> bool:
        """Make the pool anew; what was in it is gone, and its memory was free in between.

        All that is recorded of decode steps is recorded here, and nothing later.

        Returns:
            Whether memory sufficed; if not, there is no pool until one that is smaller fits.
        """
        self._held = None
        if self._has_made:
            self._free_memory()
        self._has_made = True
        try:
            with self.generating():
                self._held = self._make_pool(slots)
        except torch.OutOfMemoryError:
            return False
        return True

    def _free_memory(self) -> None:
        """Give back what the former pool had."""
        gc.collect()  # an error's frames are in cycles, and hold tensors of it
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        elif self._device.type == "mps":
            torch.mps.empty_cache()

    @property
    def _pool(self) -> _Pool:
        assert self._held is not None, "memory did not suffice for the pool, make a smaller one"
        return self._held

    def _chunk(self, max_crops: int) -> int:
        return min(self._model.vision.crops_per_pass(), max_crops)

    def _units(
        self, frames: Sequence[Crops], prompts: Sequence[Sequence[Feed]], chunk: int
    ) -> Iterator[Encoded | None]:
        # Received by the queue that encodes, when it begins to.
        frames = self._staging.receive(frames)
        yield from encode_in_units(
            self._model, frames, prompts, chunk=chunk, compiled=self._compiled
        )

    @torch.inference_mode()
    def _make_pool(self, slots: int) -> _Pool:
        config, device, dtype = self._model.config.text, self._device, self._model.dtype
        is_recorded = self.decoding.recorder is not None
        if device.type == "cpu" and not is_recorded and self.beside is None:
            return _Pool(BagCache(config, slots, dtype=dtype), None)
        cache = SlotCache(config, slots, device=device, dtype=dtype)
        return _Pool(cache, self._record(cache))

    def _record(self, cache: SlotCache) -> DecodeGraphs | None:
        """Record decode steps over a pool, as well as it can be done."""
        while (recorder := self.decoding.recorder) is not None:
            try:
                return DecodeGraphs(self._model.text, cache, recorder(), self.decoding.varlen)
            except torch.OutOfMemoryError:
                raise
            except RuntimeError as error:  # of many libraries and in many forms
                self.decoding = self.decoding.without_fault(" ".join(str(error).split()))
        return None

    def _read_packed(self, readings: Sequence[Reading]) -> Tensor:
        """Read in one pass without padding, see `RowsAttend`."""
        feeds = [feed for each in readings for feed in each.tokens]
        self._note("read", len(feeds))
        attend = RowsAttend(self._pool.cache, [each.segment for each in readings])
        embeddings = embed(self._model, feeds).unsqueeze(0)  # (1, T, W)
        hidden: Tensor = self._model.text(embeddings, attend.positions.unsqueeze(0), attend)[0]
        ends = accumulate(len(each.tokens) for each in readings)
        spans = (range(end - r.num_outputs, end) for end, r in zip(ends, readings, strict=True))
        return hidden[self._index(place for span in spans for place in span)]

    def _read_replayed(
        self, graphs: DecodeGraphs, readings: Sequence[Reading], lengths: Mapping[int, int]
    ) -> Tensor:
        """Read one token for each row by replaying a graph."""
        self._note("read", len(readings))
        embeddings = embed(self._model, [each.tokens[0] for each in readings])
        return graphs.read(embeddings, [each.slot for each in readings], lengths)

    def _index(self, rows: Iterable[int]) -> Tensor:
        return to_device(list(rows), self._device)

    def _note(self, kind: str, size: int) -> None:
        if self._watch is not None:
            self._watch(kind, size)


def _compile(model: Moondream) -> CompiledPrefill:
    """Compile both encoding passes of a model, the encoder in place."""
    compiler = Compiler()
    compile_vision(model.vision, compiler)
    return CompiledPrefill(model.text, compiler)
