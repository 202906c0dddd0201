"""Continuous batching: frames and questions in, answers out, one bounded step at a time.

Everything that is being answered advances in the same pass over the language model, whatever it is:
a prompt, a word of a caption, a coordinate of a box. Rows join and leave between steps. A row is
computed from its own keys alone, so its answer does not depend on the rows beside it.

The engine knows nothing of image files, processes or queues, and is not thread-safe: one thread
submits, cancels and steps.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import accumulate

import torch
from torch import Tensor

from service.moondream.bags import BagCache
from service.moondream.cache import RowsAttend, Segment, SlotCache, automatic_slots, prefill
from service.moondream.compiled import CompiledPrefill, compile_vision
from service.moondream.errors import MoondreamError
from service.moondream.graphs import CudaRecorder, DecodeGraphs, Recorder
from service.moondream.model import Moondream
from service.moondream.rows import Choice, Head, Row, row_of
from service.moondream.sampling import pick_bins, pick_tokens
from service.moondream.scheduler import Place, Scheduler, Start
from service.moondream.staging import Staging, to_device
from service.moondream.stopwatch import Stopwatch
from service.moondream.tasks import (
    Answer,
    Event,
    Failed,
    Finished,
    Piece,
    Request,
    Resized,
    Started,
    TaskDone,
    Timings,
)
from service.moondream.tokens import Coordinate, Feed, PromptError, Size, Tokenizer

#: What a frame costs on top of its crops, in crops: its prefix through the language model takes 1.9
#: TFLOP of the public model, a crop 0.67.
_PREFIX_CROPS = 3
#: Cost of the frames encoded in one step, in crops. A GPU needs several frames to be busy. A CPU is
#: busy with one, and a step of the public model lasts most of a second for each crop there: two of
#: the smallest frames, or one of any size.
_MAX_BATCH_CROPS = {"cpu": 8, "cuda": 32}
#: Steps without a fault before limits that were halved for want of memory are raised again.
_PATIENCE = 1000

#: Told before each pass what it is (`encode`, `read`) and how many crops or tokens it has.
Watch = Callable[[str, int], None]


class OutOfMemoryError(MoondreamError):
    """The device has not enough memory for this frame, even alone."""

    code = "out_of_memory"


class NotANumberError(MoondreamError):
    """The arithmetic of this frame left the range of the model's number format."""

    code = "not_a_number"


@dataclass(slots=True)
class _Work:
    """A request that is held."""

    request: Request
    submitted_at: float
    submitted_in: int  # step
    answers: dict[int, Answer] = field(default_factory=dict)
    num_sent: dict[int, int] = field(default_factory=dict)  # characters in pieces, by task
    is_started: bool = False
    encode_seconds: float = 0.0
    first_token_seconds: float | None = None


@dataclass(slots=True)
class _Live:
    """A task that runs in a slot."""

    key: str
    task: int
    slot: int
    row: Row
    length: int  # positions of the slot that are filled
    num_shown: int = 0  # characters of this run's pieces
    is_spoilt: bool = False  # what was computed for it is no number


class Engine:
    """Answers requests with a model.

    Args:
        model: Ready for inference.
        tokenizer: Of the same model.
        slots: Rows at once, the size of the key/value pool; None takes what memory allows.
        max_batch_crops: Most crops encoded in one step, which bounds its length; the prefix of a
            frame counts as three more. A frame that costs more gets a step of its own.
        graphs: Replay decode steps as CUDA graphs; has no effect on a CPU.
        recorder: Makes what records graphs, anew with each pool; None chooses by `graphs`.
        compiled: Encode through torch.compile; the first passes then take a minute or more.
        watch: Called before each pass; what it raises is treated as if the pass had raised it.
    """

    def __init__(
        self,
        model: Moondream,
        tokenizer: Tokenizer,
        *,
        slots: int | None = None,
        max_batch_crops: int | None = None,
        graphs: bool = True,
        recorder: Callable[[], Recorder] | None = None,
        compiled: bool = False,
        watch: Watch | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._device, config = model.device, model.config.text
        slots = slots or automatic_slots(config, device=self._device, dtype=model.dtype)
        crops = max_batch_crops or _MAX_BATCH_CROPS[self._device.type]
        self._scheduler = Scheduler(slots, crops)
        if recorder is None and graphs and self._device.type == "cuda":
            recorder = partial(CudaRecorder, self._device)
        self._recorder = recorder
        self._staging = Staging(self._device)
        self._prefill = CompiledPrefill(model.text) if compiled else prefill
        if compiled:
            compile_vision(model.vision)
        self._watch = watch
        self._work: dict[str, _Work] = {}
        self._live: dict[int, _Live] = {}  # by slot
        self._events: list[Event] = []
        self._encoding: tuple[Stopwatch, list[str]] | None = None  # of this step
        self._num_steps = 0
        self._fault_in = 0  # step of the last want of memory
        self._make_pool()

    @property
    def has_work(self) -> bool:
        """Another step would do or tell something."""
        return bool(self._work or self._events)

    @property
    def capacity(self) -> int:
        """Rows that can run at once."""
        return self._scheduler.limit

    @property
    def free(self) -> int:
        """Frames that could start in the next step."""
        return self._scheduler.free

    def submit(self, request: Request) -> None:
        """Take a request; what is wrong with it is told by the next step.

        Raises:
            ValueError: A request with this key is already held.
        """
        if request.key in self._work:
            raise ValueError(f"request {request.key!r} is already held")
        try:
            self._check(request)
        except PromptError as exc:
            self._events.append(Failed(request.key, exc))
            return
        crops = request.crops
        if crops is not None:
            request = replace(request, crops=self._staging.send(crops))
        self._work[request.key] = _Work(request, time.monotonic(), self._num_steps)
        self._scheduler.add(
            request.key,
            request.rank,
            num_crops=0 if crops is None else len(crops) + _PREFIX_CROPS,
            num_tasks=len(request.tasks),
        )

    def cancel(self, key: str) -> bool:
        """Forget a request without another event; returns whether it was held."""
        if key not in self._work:
            return False
        self._forget(key)
        return True

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Do one bounded unit of work and return what happened."""
        self._num_steps += 1
        try:
            # 1. More rows again, when memory has sufficed for long enough.
            self._widen()
            # 2. Who runs: the most urgent, before anything else is computed.
            plan = self._scheduler.plan()
            for place in plan.stop:
                del self._live[place.slot]
            # 3. New frames, all in one pass.
            if plan.encode:
                self._encode(plan.encode)
            # 4. Their rows, and further tasks of earlier frames.
            for start in plan.start:
                self._start(start)
            # 5. One pass for prompts and all that is being generated.
            self._advance()
        except torch.OutOfMemoryError:
            self._recover()
        events, self._events = self._events, []
        return events

    def _check(self, request: Request) -> None:
        """Raise PromptError for what this model cannot do."""
        if not request.tasks:
            raise PromptError("a request needs a task")
        if request.max_tokens < 1 or request.max_objects < 1:
            raise PromptError("max_tokens and max_objects must be at least 1")
        if request.temperature < 0 or not 0 <= request.top_p <= 1:
            raise PromptError("temperature must not be negative, top_p must be in 0..1")
        room = self.model.config.text.max_context - self._prefix_length(request)
        for index in range(len(request.tasks)):
            length = len(row_of(request, index, self.tokenizer).feeds)
            if length > room:
                raise PromptError(f"the prompt has {length} tokens, there is room for {room}")

    def _prefix_length(self, request: Request) -> int:
        return 0 if request.crops is None else self.model.config.text.prefix_length

    def _encode(self, places: Sequence[Place]) -> None:
        """Encode frames and write their prefixes to their slots."""
        frames = []
        for place in places:
            crops = self._work[place.key].request.crops
            assert crops is not None, "only frames are encoded"
            frames.append(crops)
        self._note("encode", sum(map(len, frames)))
        watch = Stopwatch(self._device)
        self._staging.receive(frames)
        chunk = min(self.model.vision.crops_per_pass(), self._scheduler.max_crops)
        images = self.model.vision.encode(frames, chunk=chunk)  # (F, T - 1, W)
        prefix = self.model.prefix_embeddings(images)  # (F, T, W)
        slots = [place.slot for place in places]
        # One frame keeps a CPU busy, and its activations stay in the cache.
        together = 1 if self._device.type == "cpu" else len(slots)
        for first in range(0, len(slots), together):
            part = slice(first, first + together)
            self._prefill(self.model.text, prefix[part], self._cache, slots[part])
        watch.stop()
        self._encoding = watch, [place.key for place in places]

    def _start(self, start: Start) -> None:
        """Put a task into its slot."""
        work = self._work[start.key]
        length = self._prefix_length(work.request)
        if start.source is not None:
            self._cache.copy_prefix(start.source, start.slot, length)
        if self._graphs is not None:
            self._graphs.clear(start.slot, length)
        if not work.is_started:
            work.is_started = True
            self._events.append(Started(start.key))
        row = row_of(work.request, start.task, self.tokenizer)
        self._live[start.slot] = _Live(start.key, start.task, start.slot, row, length)

    def _advance(self) -> None:
        """Let every row read what it has to read and decide what follows."""
        context = self.model.config.text.max_context
        for live in list(self._live.values()):
            if live.length + len(live.row.feeds) > context:
                self._show(live, live.row.stop("context"))
                self._end(live)
        # In the order of the slots, so that equal work is packed equally.
        lives = [self._live[slot] for slot in sorted(self._live)]
        if not lives:
            return
        self._decide(lives, self._read(lives))
        self._time_encoding()
        for live in lives:
            if live.key not in self._work:
                continue  # failed with another of its tasks
            if live.is_spoilt:
                dtype = str(self.model.dtype).removeprefix("torch.")
                text = f"the model computed no number for this frame in {dtype}, see model.dtype"
                self._fail(live.key, NotANumberError(text))
                continue
            self._time_first_token(live)
            if live.row.is_done:
                self._end(live)

    def _read(self, lives: Sequence[_Live]) -> Tensor:
        """Read the feeds of all rows and return the hidden states of their last ones, (N, W)."""
        if self._graphs is None:
            return self._read_packed(lives)
        single = [live for live in lives if len(live.row.feeds) == 1]
        longer = [live for live in lives if len(live.row.feeds) > 1]
        # Replays first: idle slots below the highest replayed one are written to, at the position
        # that a prompt begins with.
        parts = [self._read_replayed(single)] if single else []
        parts += [self._read_packed(longer)] if longer else []
        order = {id(live): index for index, live in enumerate(single + longer)}
        return torch.cat(parts)[self._index(order[id(live)] for live in lives)]

    def _read_packed(self, lives: Sequence[_Live]) -> Tensor:
        """Read in one pass without padding, see `RowsAttend`."""
        feeds = [feed for live in lives for feed in live.row.feeds]
        self._note("read", len(feeds))
        segments = [Segment(live.slot, live.length, len(live.row.feeds)) for live in lives]
        attend = RowsAttend(self._cache, segments)
        embeddings = self._embed(feeds).unsqueeze(0)  # (1, T, W)
        hidden: Tensor = self.model.text(embeddings, attend.positions.unsqueeze(0), attend)[0]
        for live in lives:
            live.length += len(live.row.feeds)
            live.row.feeds = []
        last = [end - 1 for end in accumulate(segment.count for segment in segments)]
        return hidden[self._index(last)]

    def _read_replayed(self, lives: Sequence[_Live]) -> Tensor:
        """Read one token for each row by replaying a graph."""
        assert self._graphs is not None, "graphs are made with the pool"
        self._note("read", len(lives))
        embeddings = self._embed([live.row.feeds[0] for live in lives])
        lengths = {slot: live.length for slot, live in self._live.items()}
        hidden = self._graphs.read(embeddings, [live.slot for live in lives], lengths)
        for live in lives:
            live.length += 1
            live.row.feeds = []
        return hidden

    def _embed(self, feeds: Sequence[Feed]) -> Tensor:
        """Embed what is read: T feeds to (T, W)."""
        ids = [feed if isinstance(feed, int) else 0 for feed in feeds]
        embeddings = self.model.text.embed(to_device(ids, self._device))
        region = self.model.region
        if places := [i for i, feed in enumerate(feeds) if isinstance(feed, Coordinate)]:
            values = [[feed.value] for feed in feeds if isinstance(feed, Coordinate)]
            numbers = to_device(values, self._device)  # (n, 1)
            embeddings[self._index(places)] = region.encode_coordinate(numbers)
        if places := [i for i, feed in enumerate(feeds) if isinstance(feed, Size)]:
            values = [[feed.width, feed.height] for feed in feeds if isinstance(feed, Size)]
            numbers = to_device(values, self._device)  # (n, 2)
            embeddings[self._index(places)] = region.encode_size(numbers)
        return embeddings

    def _decide(self, lives: Sequence[_Live], hidden: Tensor) -> None:
        """Decode hidden states, (N, W), until every row has something to read or has ended.

        One state can give two things: the decision for another object, then its first coordinate.
        """
        for head, decode in (
            (Head.TEXT, self._decode_text),
            (Head.COORDINATE, self._decode_coordinates),
            (Head.SIZE, self._decode_sizes),
        ):
            places = [
                index
                for index, live in enumerate(lives)
                if live.row.head is head
                and not (live.row.feeds or live.row.is_done or live.is_spoilt)
            ]
            if places:
                decode([lives[index] for index in places], hidden[self._index(places)])

    def _decode_text(self, lives: Sequence[_Live], hidden: Tensor) -> None:
        logits = self.model.text.logits(hidden)  # (n, vocabulary)
        pickings = [live.row.picking for live in lives]
        picks = pick_tokens(logits, pickings, self.model.config.tokens.eos)
        for live, pick in zip(lives, picks, strict=True):
            if _is_sound(live, pick.probability):
                self._show(live, live.row.take_token(pick))

    def _decode_coordinates(self, lives: Sequence[_Live], hidden: Tensor) -> None:
        bins, chances = pick_bins(self.model.region.coordinate_logits(hidden))  # each (n,)
        values = self.model.region.coordinate_value(bins)
        for live, choice in zip(lives, _choices(bins, values, chances), strict=True):
            if _is_sound(live, choice.probability):
                live.row.take_coordinate(choice)

    def _decode_sizes(self, lives: Sequence[_Live], hidden: Tensor) -> None:
        bins, chances = pick_bins(self.model.region.size_logits(hidden))  # each (n, 2)
        values = self.model.region.size_value(bins)
        sides = _choices(bins.flatten(), values.flatten(), chances.flatten())
        for live, width, height in zip(lives, sides[::2], sides[1::2], strict=True):
            if _is_sound(live, width.probability, height.probability):
                live.row.take_size(width, height)

    def _show(self, live: _Live, text: str) -> None:
        """Tell a piece of text, but not what an interrupted run of the task has told before."""
        work = self._work[live.key]
        num_sent = work.num_sent.get(live.task, 0)
        new = text[max(0, num_sent - live.num_shown) :]
        live.num_shown += len(text)
        if new:
            work.num_sent[live.task] = live.num_shown
            self._events.append(Piece(live.key, live.task, new))

    def _time_encoding(self) -> None:
        """Book the time of this step's encoding, which is over once something was decided."""
        if self._encoding is None:
            return
        watch, keys = self._encoding
        self._encoding = None
        for key in keys:
            if key in self._work:
                self._work[key].encode_seconds += watch.seconds

    def _time_first_token(self, live: _Live) -> None:
        work = self._work[live.key]
        if work.first_token_seconds is None:
            work.first_token_seconds = time.monotonic() - work.submitted_at

    def _end(self, live: _Live) -> None:
        """Tell the answer of a row that has ended, and of its request when it was the last."""
        del self._live[live.slot]
        work = self._work[live.key]
        answer = work.answers[live.task] = live.row.answer()
        self._events.append(TaskDone(live.key, live.task, answer))
        if not self._scheduler.finish(live.key, live.slot):
            return
        del self._work[live.key]
        answers = tuple(work.answers[index] for index in range(len(work.request.tasks)))
        self._events.append(Finished(live.key, answers, self._timings(work)))

    def _timings(self, work: _Work) -> Timings:
        total = time.monotonic() - work.submitted_at
        first = total if work.first_token_seconds is None else work.first_token_seconds
        return Timings(work.encode_seconds, first, total, self._num_steps - work.submitted_in)

    def _fail(self, key: str, error: MoondreamError) -> None:
        self._forget(key)
        self._events.append(Failed(key, error))

    def _forget(self, key: str) -> None:
        del self._work[key]
        self._scheduler.remove(key)
        self._live = {slot: live for slot, live in self._live.items() if live.key != key}

    def _index(self, rows: Iterable[int]) -> Tensor:
        return to_device(list(rows), self._device)

    def _note(self, kind: str, size: int) -> None:
        if self._watch is not None:
            self._watch(kind, size)

    def _make_pool(self) -> None:
        """Take memory for as many slots as may be used, and what depends on it."""
        config = self.model.config.text
        slots, dtype = self._scheduler.limit, self.model.dtype
        if self._device.type == "cpu" and self._recorder is None:
            self._cache: SlotCache = BagCache(config, slots, dtype=dtype)
        else:
            self._cache = SlotCache(config, slots, device=self._device, dtype=dtype)
        self._graphs = (
            None
            if self._recorder is None
            else DecodeGraphs(self.model.text, self._cache, self._recorder())
        )

    def _drop_pool(self) -> None:
        """Give the memory of the pool back, which is most of what can be given back."""
        self._graphs = None
        del self._cache
        if self._device.type == "cuda":
            torch.cuda.empty_cache()

    def _recover(self) -> None:
        """Halve what runs at once and begin all of it again; fail what is too large even alone."""
        self._fault_in = self._num_steps
        if (self._scheduler.limit, self._scheduler.max_crops) == (1, 1):
            error = OutOfMemoryError("not enough memory on the device, even for this frame alone")
            for key in self._scheduler.running():
                self._fail(key, error)
        capacity = self.capacity
        self._encoding = None
        self._live.clear()
        self._scheduler.restart()
        self._scheduler.narrow()
        self._drop_pool()
        self._make_pool()
        if self.capacity != capacity:
            self._events.append(Resized(self.capacity))

    def _widen(self) -> None:
        """Raise halved limits while nothing runs, so that the pool can be made anew."""
        is_due = self._num_steps - self._fault_in >= _PATIENCE
        if not (self._scheduler.is_narrowed and is_due) or self._live:
            return
        self._fault_in = self._num_steps
        self._scheduler.widen()
        self._drop_pool()
        try:
            self._make_pool()
        except torch.OutOfMemoryError:
            self._scheduler.narrow()
            self._make_pool()
            return
        self._events.append(Resized(self.capacity))


def _is_sound(live: _Live, *probabilities: float) -> bool:
    """Return whether what was computed for a row are numbers, and note it when not."""
    live.is_spoilt = any(map(math.isnan, probabilities))
    return not live.is_spoilt


def _choices(bins: Tensor, values: Tensor, chances: Tensor) -> list[Choice]:
    """Bring picked bins to Python in one transfer: each (n,)."""
    table = torch.stack((bins.double(), values.double(), chances.double())).tolist()
    return [Choice(int(bin_), value, chance) for bin_, value, chance in zip(*table, strict=True)]
