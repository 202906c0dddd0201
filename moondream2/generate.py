"""Continuous batching: frames and questions in, answers out, one bounded step at a time.

Everything that is being answered advances in the same pass over the language model, whatever it is:
a prompt, a word of a caption, a coordinate of a box. Rows join and leave between steps. A row is
computed from its own keys alone, so its answer does not depend on the rows beside it, but for the
rounding of formats with fewer bits than float32: libraries choose kernels by the number of rows.

The engine knows nothing of image files, processes or queues, and is not thread-safe: one thread
submits, cancels and steps.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, groupby

import torch
from torch import Tensor

from moondream2.beside import Beside, Queue
from moondream2.encoding import Clock
from moondream2.errors import MoondreamError
from moondream2.graphs import Recorder
from moondream2.limits import PREFIX_CROPS, DeviceMemory, automatic_limits
from moondream2.model import Moondream
from moondream2.passes import Passes, Reading, Watch
from moondream2.row import Head
from moondream2.rows import row_of
from moondream2.scheduler import Encoding, Place, Scheduler, Start
from moondream2.staging import to_device
from moondream2.stopwatch import Stopwatch
from moondream2.tasks import (
    Event,
    Failed,
    Finished,
    Piece,
    Request,
    Resized,
    Started,
    TaskDone,
)
from moondream2.tokens import Feed, PromptError, Tokenizer
from moondream2.work import Live, Work, check, prefix_length

#: Between two looks at frames that are encoded beside rows, where there are no rows.
_REST_S = 0.0005
#: Steps without a fault before limits that were halved for want of memory are raised again.
_PATIENCE = 1000
#: Tokens of choices tried in one step by all rows together, unless one choice has more: those who
#: generate beside them wait no longer than for a long prompt. Two short choices have five.
_MAX_BRANCH_TOKENS = 64


class OutOfMemoryError(MoondreamError):
    """The device has not enough memory for this frame, even alone."""

    code = "out_of_memory"


class NotANumberError(MoondreamError):
    """The arithmetic of this frame left the range of the model's number format."""

    code = "not_a_number"


class Engine:
    """Answers requests with a model.

    Args:
        model: Ready for inference.
        tokenizer: Of the same model.
        slots: Rows at once, the size of the key/value pool; None takes what memory allows.
        max_batch_crops: Most crops encoded in one step, which bounds its length; the prefix of a
            frame counts as three more. A frame that costs more gets a step of its own. None takes
            what memory allows.
        graphs: Replay decode steps as CUDA graphs; has no effect on a CPU.
        recorder: Makes what records graphs, anew with each pool; None chooses by `graphs`.
        compiled: Encode through torch.compile; the first passes then take a minute or more.
        encode_limit_s: Seconds of encoding in one step, by `clock`: a frame that takes longer is
            encoded in parts, frame after frame. None encodes whole frames, several in a step.
        beside: On CUDA, encode beside what is generated, on a stream of lower priority.
        queue: Where that is launched, on any device; None chooses by `beside`.
        watch: Called before each pass; what it raises is treated as if the pass had raised it.

    Raises:
        torch.OutOfMemoryError: There is no memory for a single slot.
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
        encode_limit_s: float | None = None,
        beside: bool = True,
        queue: Queue | None = None,
        clock: Clock = time.monotonic,
        watch: Watch | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        self._encode_limit_s, self._clock = encode_limit_s, clock
        device = model.device
        limits = automatic_limits(model.config, DeviceMemory.of(device), model.dtype)
        self._passes = Passes(
            model,
            graphs=graphs,
            recorder=recorder,
            compiled=compiled,
            beside=beside,
            queue=queue,
            watch=watch,
        )
        encoding = Encoding.WHOLE if encode_limit_s is None else Encoding.PARTS
        if self._passes.beside is not None:
            encoding = Encoding.BESIDE
        self._scheduler = Scheduler(
            slots or limits.slots, max_batch_crops or limits.max_crops, encoding=encoding
        )
        self._make_pool()
        self._work: dict[str, Work] = {}
        self._live: dict[int, Live] = {}  # by slot
        self._events: list[Event] = []
        self._encoding: tuple[Stopwatch, list[str]] | None = None  # of this step
        self._num_steps = 0
        self._fault_in = 0  # step of the last want of memory

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
            check(request, self.tokenizer)
        except PromptError as exc:
            self._events.append(Failed(request.key, exc))
            return
        crops = request.crops
        if crops is not None:
            request = replace(request, crops=self._passes.stage(crops))
        self._work[request.key] = Work(request, time.monotonic(), self._num_steps)
        self._scheduler.add(
            request.key,
            request.rank,
            num_crops=0 if crops is None else len(crops) + PREFIX_CROPS,
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
        self._widen()
        is_short = False
        try:
            with self._passes.generating():
                self._work_on()
        except torch.OutOfMemoryError:
            # Not here: the traceback holds the tensors of the pass until this block is left.
            is_short = True
        if is_short:
            self._recover()
        events, self._events = self._events, []
        return events

    def _work_on(self) -> None:
        """One step of everything that runs."""
        # 1. Who runs: the most urgent, before anything else is computed.
        if self._passes.beside is not None:
            self._take_encoded()
        plan = self._scheduler.plan()
        for place in plan.stop:
            self._stop(place)
        # 2. New frames, all in one pass, or one of them further on its way.
        if self._passes.beside is not None:
            self._encode_beside(self._passes.beside, plan.encode)
        elif plan.encode:
            self._encode(plan.encode)
        if plan.advance:
            self._advance_encoding(plan.advance)
        # 3. Their rows, and further tasks of earlier frames.
        for start in plan.start:
            self._start(start)
        # 4. One pass for prompts and all that is being generated.
        if self._live:
            self._advance()
        elif self._passes.beside is not None and self._scheduler.encoding():
            time.sleep(_REST_S)

    def _encode(self, places: Sequence[Place]) -> None:
        """Encode frames and write their prefixes to their slots."""
        frames = [self._work[place.key].crops for place in places]
        slots = [place.slot for place in places]
        watch = self._passes.encode(frames, slots, max_crops=self._scheduler.max_crops)
        self._encoding = watch, [place.key for place in places]

    def _encode_beside(self, beside: Beside, places: Sequence[Place]) -> None:
        """Launch more of what is encoded beside rows, after new frames joined it."""
        ranks = {place.key: self._work[place.key].request.rank[:1] for place in places}
        for rank, own in groupby(places, key=lambda place: ranks[place.key]):
            together = list(own)
            frames = [self._work[place.key].crops for place in together]
            prompts = [self._prompt(place) for place in together]
            most = self._scheduler.max_crops
            ahead = self._passes.ahead(frames, prompts, rank, max_crops=most)
            beside.add(ahead)
            for index, place in enumerate(together):
                work = self._work[place.key]
                work.ahead, work.read_ahead = (ahead, index), None
        beside.launch()
        for place in self._scheduler.encoding():
            work = self._work[place.key]
            if work.ahead is not None and work.ahead[0].is_begun:
                self._tell_start(work)

    def _prompt(self, place: Place) -> list[Feed]:
        """Return what can be read of a task together with its frame."""
        row = row_of(self._work[place.key].request, place.task, self.tokenizer)
        return [] if row.head is Head.BRANCHES else row.feeds

    def _take_encoded(self) -> None:
        """Bring prefixes that were encoded beside rows to their slots."""
        for place in self._scheduler.encoding():
            work = self._work[place.key]
            if work.ahead is not None and work.ahead[0].is_done:
                hidden = self._passes.take(*work.ahead, place.slot)
                if hidden is not None and self._prompt(place):
                    work.read_ahead = place.task, hidden
                work.encode_seconds += work.ahead[0].seconds
                work.ahead = None
                self._scheduler.encoded(place.key)

    def _advance_encoding(self, place: Place) -> None:
        """Encode a frame further into its slot."""
        assert self._encode_limit_s is not None, "only parts are advanced"
        work = self._work[place.key]
        self._tell_start(work)
        if work.encoding is None:
            most = self._scheduler.max_crops
            work.encoding = self._passes.encoding(work.crops, max_crops=most, clock=self._clock)
        if self._passes.advance(work.encoding, place.slot, self._encode_limit_s):
            work.encode_seconds += work.encoding.seconds
            work.encoding = None
            self._scheduler.encoded(place.key)

    def _stop(self, place: Place) -> None:
        """Take a slot from a row, or from a frame that is being encoded."""
        self._live.pop(place.slot, None)
        if encoding := self._work[place.key].encoding:
            encoding.leave_slot()

    def _tell_start(self, work: Work) -> None:
        if not work.is_started:
            work.is_started = True
            self._events.append(Started(work.request.key))

    def _start(self, start: Start) -> None:
        """Put a task into its slot."""
        work = self._work[start.key]
        length = prefix_length(work.request, self.model.config.text)
        row = row_of(work.request, start.task, self.tokenizer)
        live = Live(start.key, start.task, start.slot, row, length)
        if work.read_ahead is not None and work.read_ahead[0] == start.task:
            live.hidden, work.read_ahead = work.read_ahead[1], None
            live.length += len(row.feeds)
            row.feeds = []
        self._passes.begin(start.slot, live.length, start.source)
        self._tell_start(work)
        self._live[start.slot] = live

    def _advance(self) -> None:
        """Let every row read what it has to read and decide what follows."""
        context = self.model.config.text.max_context
        for live in list(self._live.values()):
            if live.length + live.row.num_positions > context:
                self._show(live, live.row.stop("context"))
                self._end(live)
        # In the order of the slots, so that equal work is packed equally.
        lives = [self._live[slot] for slot in sorted(self._live)]
        if not lives:
            return
        self._branch([live for live in lives if live.row.head is Head.BRANCHES])
        read = [live for live in lives if live.row.feeds or live.row.branches is not None]
        given = [live for live in lives if live.hidden is not None]
        hidden, firsts = self._read(read, given)
        lives = read + given
        self._decide(lives, hidden, firsts)
        self._time_encoding()
        for live in lives:
            if live.key not in self._work:
                continue  # failed with another of its tasks
            if live.is_spoilt:
                dtype = str(self.model.dtype).removeprefix("torch.")
                text = f"the model computed no number for this frame in {dtype}, see model.dtype"
                self._fail(live.key, NotANumberError(text))
                continue
            self._work[live.key].time_first_token()
            if live.row.is_done:
                self._end(live)

    def _branch(self, lives: Sequence[Live]) -> None:
        """Let rows that weigh choices try some, in turns: a step stays short however many want."""
        context = self.model.config.text.max_context
        turns = sorted(lives, key=lambda e: (self._work[e.key].request.rank[:1], e.tried_in))
        room = _MAX_BRANCH_TOKENS
        for live in turns:
            num_feeds = len(live.row.feeds)
            if live is turns[0]:  # its longest choice at any rate
                room = max(room, live.row.num_positions - num_feeds)
            live.row.branch(min(room, context - live.length - num_feeds))
            if live.row.branches is not None:
                room -= len(live.row.branches)
                live.tried_in = self._num_steps

    def _read(self, lives: Sequence[Live], given: Sequence[Live]) -> tuple[Tensor, list[int]]:
        """Read feeds and branches of rows; others have been given what their prompt came to.

        Returns:
            Hidden states, (outputs, W), and the first place of each row, those given at the end.
        """
        readings = [
            Reading(live.slot, live.length, tuple(live.row.feeds), live.row.branches)
            for live in lives
        ]
        parts = [live.hidden for live in given if live.hidden is not None]
        if readings:
            lengths = {live.slot: live.length for live in self._live.values()}
            parts.insert(0, self._passes.read(readings, lengths))
        for live in lives:
            live.length += len(live.row.feeds)
            live.row.feeds = []
        for live in given:
            live.hidden = None
        counts = [*(each.num_outputs for each in readings), *(1 for _ in given)]
        return torch.cat(parts), list(accumulate(counts, initial=0))[:-1]

    def _decide(self, lives: Sequence[Live], hidden: Tensor, firsts: Sequence[int]) -> None:
        """Decode hidden states until every row has something to read or has ended.

        One state can give two things: the decision for another object, then its first coordinate.
        """
        for live, first in zip(lives, firsts, strict=True):
            if (branches := live.row.branches) is not None:
                own = hidden[first : first + len(branches)]
                scores = self._passes.scores(own, branches, live.row.picking)
                if live.is_sound(*scores):
                    live.row.take_scores(scores)
        for head, take in (
            (Head.TEXT, self._take_tokens),
            (Head.COORDINATE, self._take_coordinates),
            (Head.SIZE, self._take_sizes),
        ):
            places = [
                index
                for index, live in enumerate(lives)
                if live.row.head is head
                and not (live.row.feeds or live.row.is_done or live.is_spoilt)
            ]
            if places:
                index = to_device([firsts[place] for place in places], hidden.device)
                take([lives[place] for place in places], hidden[index])

    def _take_tokens(self, lives: Sequence[Live], hidden: Tensor) -> None:
        picks = self._passes.tokens(hidden, [live.row.picking for live in lives])
        for live, pick in zip(lives, picks, strict=True):
            if live.is_sound(pick.probability):
                self._show(live, live.row.take_token(pick))

    def _take_coordinates(self, lives: Sequence[Live], hidden: Tensor) -> None:
        for live, choice in zip(lives, self._passes.coordinates(hidden), strict=True):
            if live.is_sound(choice.probability):
                live.row.take_coordinate(choice)

    def _take_sizes(self, lives: Sequence[Live], hidden: Tensor) -> None:
        for live, (width, height) in zip(lives, self._passes.sizes(hidden), strict=True):
            if live.is_sound(width.probability, height.probability):
                live.row.take_size(width, height)

    def _show(self, live: Live, text: str) -> None:
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

    def _end(self, live: Live) -> None:
        """Tell the answer of a row that has ended, and of its request when it was the last."""
        del self._live[live.slot]
        work = self._work[live.key]
        answer = work.answers[live.task] = live.row.answer()
        self._events.append(TaskDone(live.key, live.task, answer))
        if not self._scheduler.finish(live.key, live.slot):
            return
        del self._work[live.key]
        answers = tuple(work.answers[index] for index in range(len(work.request.tasks)))
        self._events.append(Finished(live.key, answers, work.timings(self._num_steps)))

    def _fail(self, key: str, error: MoondreamError) -> None:
        self._forget(key)
        self._events.append(Failed(key, error))

    def _forget(self, key: str) -> None:
        ahead = self._work.pop(key).ahead
        if ahead is not None and self._passes.beside is not None:
            others = [work.ahead[0] for work in self._work.values() if work.ahead]
            if ahead[0] not in others:
                self._passes.beside.drop(ahead[0])
        self._scheduler.remove(key)
        self._live = {slot: live for slot, live in self._live.items() if live.key != key}

    def _recover(self) -> None:
        """Halve what runs at once and begin all of it again; fail what is too large even alone."""
        self._fault_in = self._num_steps
        if (self._scheduler.limit, self._scheduler.max_crops) == (1, 1):
            error = OutOfMemoryError("not enough memory on the device, even for this frame alone")
            for key in self._scheduler.running():
                self._fail(key, error)
        capacity = self.capacity
        self._encoding = None
        if self._passes.beside is not None:
            self._passes.beside.clear()
        self._live.clear()
        for work in self._work.values():
            work.encoding = work.ahead = work.read_ahead = None
        self._scheduler.restart()
        self._scheduler.narrow()
        self._make_pool()
        if self.capacity != capacity:
            self._events.append(Resized(self.capacity))

    def _widen(self) -> None:
        """Raise halved limits while no slot holds anything, so that the pool can be made anew."""
        is_due = self._num_steps - self._fault_in >= _PATIENCE
        if not (self._scheduler.is_narrowed and is_due) or self._scheduler.running():
            return
        self._fault_in = self._num_steps
        capacity = self.capacity
        self._scheduler.widen()
        self._make_pool()
        if self.capacity != capacity:
            self._events.append(Resized(self.capacity))

    def _make_pool(self) -> None:
        """Make the pool of slots anew, and halve it until it fits.

        Raises:
            torch.OutOfMemoryError: There is no memory for a single slot.
        """
        while not self._passes.resize(self.capacity):
            if self.capacity == 1:
                raise torch.OutOfMemoryError("no memory on the device for a single row")
            self._scheduler.narrow()
