"""Continuous batching: frames and questions in, answers out, one bounded step at a time.

Everything that is being answered advances in the same pass over the language model, whatever it is:
a prompt, a word of a caption, a coordinate of a box. Rows join and leave between steps. A row is
computed from its own keys alone, so its answer does not depend on the rows beside it, but for the
rounding of formats with fewer bits than float32: libraries choose kernels by the number of rows.

The engine knows nothing of image files, processes or queues, and is not thread-safe: one thread
submits, cancels and steps.
"""

import time
from dataclasses import replace

import torch

from moondream2.beside import Queue
from moondream2.decoding import Decoding
from moondream2.encoding import Clock
from moondream2.errors import MoondreamError
from moondream2.frames import Frames
from moondream2.limits import PREFIX_CROPS, DeviceMemory, automatic_limits
from moondream2.model import Moondream
from moondream2.outputs import Outputs
from moondream2.passes import Passes, Watch
from moondream2.rows import row_of
from moondream2.running import Running
from moondream2.scheduler import Encoding, Scheduler, Start
from moondream2.tasks import Event, Failed, Request, Resized
from moondream2.tokens import PromptError, Tokenizer
from moondream2.work import Live, Work, check, prefix_length

#: Between two looks at frames that are encoded beside rows, where there are no rows.
_REST_S = 0.0005
#: Steps without a fault before limits that were halved for want of memory are raised again.
_PATIENCE = 1000


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
        decoding: What decode steps are made of; None chooses by `graphs` and device.
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
        decoding: Decoding | None = None,
        compiled: bool = False,
        encode_limit_s: float | None = None,
        beside: bool = True,
        queue: Queue | None = None,
        clock: Clock = time.monotonic,
        watch: Watch | None = None,
    ) -> None:
        self.model, self.tokenizer = model, tokenizer
        device = model.device
        limits = automatic_limits(model.config, DeviceMemory.of(device), model.dtype)
        self._passes = Passes(
            model,
            graphs=graphs,
            decoding=decoding,
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
        self._outputs = Outputs(self._work)
        self._frames = Frames(
            self._passes,
            self._scheduler,
            tokenizer,
            self._work,
            self._outputs,
            limit_s=encode_limit_s,
            clock=clock,
        )
        context = model.config.text.max_context
        self._running = Running(self._passes, self._work, self._outputs, context)
        self._num_steps = 0
        self._fault_in = 0  # step of the last want of memory

    @property
    def has_work(self) -> bool:
        """Another step would do or tell something."""
        return bool(self._work or self._outputs)

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
            self._outputs.add(Failed(request.key, exc))
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
        return self._outputs.take()

    def _work_on(self) -> None:
        """One step of everything that runs."""
        # 1. Who runs: the most urgent, before anything else is computed.
        if self._passes.beside is not None:
            self._frames.take_encoded()
        plan = self._scheduler.plan()
        for place in plan.stop:
            self._running.stop(place)
        # 2. New frames, all in one pass, or one of them further on its way.
        if self._passes.beside is not None:
            self._frames.encode_beside(self._passes.beside, plan.encode)
        elif plan.encode:
            self._frames.encode(plan.encode)
        if plan.advance:
            self._frames.advance(plan.advance)
        # 3. Their rows, and further tasks of earlier frames.
        for start in plan.start:
            self._start(start)
        # 4. One pass for prompts and all that is being generated.
        if self._running:
            self._advance()
        elif self._passes.beside is not None and self._scheduler.encoding():
            time.sleep(_REST_S)

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
        self._outputs.tell_start(work)
        self._running.start(live)

    def _advance(self) -> None:
        """Let every row read and decide; end those that are done, fail those that went wrong."""
        for live in self._running.stop_full():
            self._end(live)
        lives = self._running.advance()
        self._frames.note_time()
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

    def _end(self, live: Live) -> None:
        """Tell the answer of a row that has ended, and the end of its request with the last."""
        self._running.end(live)
        self._outputs.tell_answer(live)
        if self._scheduler.finish(live.key, live.slot):
            self._outputs.tell_end(self._work.pop(live.key), self._num_steps)

    def _fail(self, key: str, error: MoondreamError) -> None:
        self._forget(key)
        self._outputs.add(Failed(key, error))

    def _forget(self, key: str) -> None:
        self._frames.drop(self._work.pop(key))
        self._scheduler.remove(key)
        self._running.forget(key)

    def _recover(self) -> None:
        """Halve what runs at once and begin all of it again; fail what is too large even alone."""
        self._fault_in = self._num_steps
        if (self._scheduler.limit, self._scheduler.max_crops) == (1, 1):
            error = OutOfMemoryError("not enough memory on the device, even for this frame alone")
            for key in self._scheduler.running():
                self._fail(key, error)
        capacity = self.capacity
        self._frames.clear()
        self._running.clear()
        self._scheduler.restart()
        self._scheduler.narrow()
        self._make_pool()
        if self.capacity != capacity:
            self._outputs.add(Resized(self.capacity))

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
            self._outputs.add(Resized(self.capacity))

    def _make_pool(self) -> None:
        """Make the pool of slots anew, and halve it until it fits.

        Raises:
            torch.OutOfMemoryError: There is no memory for a single slot.
        """
        while not self._passes.resize(self.capacity):
            if self.capacity == 1:
                raise torch.OutOfMemoryError("no memory on the device for a single row")
            self._scheduler.narrow()
