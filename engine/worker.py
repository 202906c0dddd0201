"""The engine process: `python -m engine.worker`, one for each device.

The main thread owns the model and does nothing but step it. Messages come in on a thread of their
own, images are decoded and cut on two more, and all of them leave what they have in one inbox that
the main thread empties between steps. A job lives here in `_jobs` from `Submit` to its ending,
which is exactly one of `Done`, `Failed`, `Similar` and `Cancelled`.

What cannot be told from a broken device ends the process; the service starts another.
"""

import argparse
import logging
import os
import queue
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import NoReturn, assert_never

import psutil
import torch

from engine.answers import make_request, to_protocol
from engine.channel import Channel, die_with_parent
from engine.codec import Codec
from engine.drawing import draw
from engine.errors import ImageError
from engine.images import ImageLimits
from engine.loading import DeviceError, Loaded, load, name_of
from engine.pool import RankedPool
from engine.preparation import Job, Preparation
from engine.protocol import (
    VERSION,
    Alive,
    Cancel,
    Cancelled,
    Capacity,
    Done,
    Failed,
    Hello,
    LoadFailed,
    Loading,
    Message,
    ModelOptions,
    Piece,
    Ready,
    Similar,
    Started,
    Submit,
)
from engine.requirements import may_shrink
from moondream2 import tasks
from moondream2.crops import Crops
from moondream2.errors import DownloadError, MoondreamError
from moondream2.generate import OutOfMemoryError
from moondream2.passes import Watch
from moondream2.tokens import PromptError

logger = logging.getLogger(__name__)

_ALIVE_EVERY_S = 1.0
#: Between two pieces of a job that is streamed: quicker than anybody reads, and a small part of
#: what the service does for a job, however fast the device is.
_SAY_EVERY_S = 0.1
#: Jobs in a row for which the device had no memory even alone, until a fresh process is tried.
_MOST_OUT_OF_MEMORY = 3
_EXIT_FAILED_LOAD, _EXIT_OVERDUE, _EXIT_OUT_OF_MEMORY = 3, 4, 5
#: All that is said outside of an error nobody foresaw: its own text may be anything.
_UNEXPECTED = "An unexpected error in the engine; the log has it"
_NO_MEMORY = "The device has not enough free memory for the model"
_MOST_CHARACTERS = 500  # of a message for people

_OPTIONS: Codec[ModelOptions] = Codec(ModelOptions)
_LIMITS: Codec[ImageLimits] = Codec(ImageLimits)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """From the pool: the frame is new, here are its crops."""

    job: Job
    crops: Crops


@dataclass(frozen=True, slots=True)
class _Ended:
    """From the pool: the job ends with this message."""

    job: Job
    message: Done | Failed | Similar


Inbox = queue.SimpleQueue[Message | _Prepared | _Ended]


class Worker:
    """Feeds the model and reports what it says.

    Args:
        channel: To the service.
        loaded: The model.
        options: It was loaded with.
        limits: Of images.
        inbox: What the other threads leave for the main one.
    """

    #: Seconds for one image, after which the process ends: a thread cannot be stopped. One that
    #: passed the limits takes 0.3, ten times that on a busy small machine.
    decode_limit_s = 30.0

    def __init__(
        self,
        channel: Channel,
        loaded: Loaded,
        options: ModelOptions,
        limits: ImageLimits,
        inbox: "Inbox",
    ) -> None:
        self._channel = channel
        self._engine = loaded.engine
        self._loaded = loaded
        self._inbox = inbox
        self._pool = RankedPool()
        self._preparation = Preparation(loaded, limits)
        self._jobs: dict[str, Job] = {}
        self._num_steps = 0
        self._num_out_of_memory = 0
        self._alive_at = 0.0

    @property
    def capacity(self) -> int:
        """Jobs to be held at once: the model's rows, and some whose images are being decoded."""
        return self._engine.capacity + max(1, self._engine.capacity // 8)

    def run(self) -> NoReturn:
        """Work until the process is ended."""
        while True:
            self._receive()
            if self._engine.has_work:
                self._num_steps += 1
                for event in self._engine.step():
                    self._tell(event)
            self.show_life()

    def show_life(self) -> None:
        """Tell the service, every few seconds, that the loop turns."""
        if time.monotonic() - self._alive_at < _ALIVE_EVERY_S:
            return
        self._alive_at = time.monotonic()
        vram, ram = memory_mb(self._loaded.device)
        self._channel.send(Alive(len(self._jobs), self._num_steps, vram, ram))
        if name := self._pool.overdue(self.decode_limit_s):
            _exit(_EXIT_OVERDUE, f"the image of {name} took over {self.decode_limit_s:g} s")

    def watch(self, _kind: str, _size: int) -> None:
        """Called before each pass of the model: a long step is no silence."""
        self.show_life()

    def _receive(self) -> None:
        """Empty the inbox; wait for it when there is nothing else to do."""
        is_idle = not self._engine.has_work
        while True:
            try:
                item = self._inbox.get(block=is_idle, timeout=_ALIVE_EVERY_S)
            except queue.Empty:
                return
            self._take(item)
            is_idle = False

    def _take(self, item: "Message | _Prepared | _Ended") -> None:
        match item:
            case Submit():
                self._accept(item)
            case Cancel(key=key):
                self._cancel(key)
            case _Prepared(job=job):
                if self._is_held(job):
                    self._feed(job, item.crops)
                else:  # cancelled after it was compared with others
                    self._preparation.forget(job)
            case _Ended(job=job):
                if self._is_held(job):
                    self._end(item.message)
            case _:
                logger.warning("unexpected %s", type(item).__name__)

    def _is_held(self, job: Job) -> bool:
        """Whether it is still wanted: it may have been cancelled, and even submitted again."""
        return self._jobs.get(job.submit.key) is job

    def _accept(self, submit: Submit) -> None:
        job = self._jobs[submit.key] = Job(submit, time.monotonic())
        self._pool.add(submit.rank, submit.key, self._guarded(job, self._prepare))

    def _cancel(self, key: str) -> None:
        if key in self._jobs:
            self._engine.cancel(key)
            self._end(Cancelled(key))

    def _end(self, message: Done | Failed | Similar | Cancelled) -> None:
        """Forget a job and say why."""
        job = self._jobs.pop(message.key)
        if not isinstance(message, Done):
            self._preparation.forget(job)
        self._channel.send(message)

    # On the threads of the pool

    def _guarded(
        self, job: Job, work: Callable[[Job], _Prepared | _Ended | None]
    ) -> Callable[[], None]:
        """Make work of the pool that never raises and leaves its result in the inbox."""

        def run() -> None:
            try:
                result = work(job)
            except ImageError as error:
                result = _Ended(job, _failed(job, error.code, str(error), can_retry=False))
            except Exception:
                # A mistake fails its job; the thread and the jobs of the others go on.
                logger.exception("%s cannot be prepared", job.submit.key)
                result = _Ended(job, _failed(job, "internal", _UNEXPECTED, can_retry=True))
            if result is not None:
                self._inbox.put(result)

        return run

    def _prepare(self, job: Job) -> _Prepared | _Ended | None:
        if not self._is_held(job):
            return None
        result = self._preparation.prepare(job)
        return _Ended(job, result) if isinstance(result, Similar) else _Prepared(job, result)

    # On the main thread: to and from the model

    def _feed(self, job: Job, crops: Crops) -> None:
        try:
            self._engine.submit(make_request(job.submit, crops))
        except Exception as error:  # noqa: BLE001 - logged there; it ends this job, not the process
            self._fail(job.submit.key, error)

    def _tell(self, event: tasks.Event) -> None:
        if not isinstance(event, tasks.Resized) and event.key not in self._jobs:
            return  # cancelled
        match event:
            case tasks.Started(key=key):
                self._channel.send(Started(key, self._jobs[key].fingerprint))
            case tasks.Finished():
                self._num_out_of_memory = 0
                self._finish(event)
            case tasks.Failed(key=key, error=error):
                self._fail(key, error)
            case tasks.Resized():
                message = f"{event.capacity} frames at once, as far as memory goes"
                logger.warning("the device is short of memory or has enough again: %s", message)
                self._channel.send(Capacity(self.capacity, message))
            case tasks.Piece():
                self._say(self._jobs[event.key], event)
            case tasks.TaskDone():
                pass
            case _:
                assert_never(event)

    def _say(self, job: Job, piece: tasks.Piece) -> None:
        """Tell what is generated, of the one task that somebody hears."""
        if piece.task_index != job.submit.streamed_task:
            return
        job.unsaid += piece.text
        now = time.monotonic()
        if now - job.said_at >= _SAY_EVERY_S:
            self._channel.send(Piece(piece.key, job.unsaid))
            job.unsaid, job.said_at = "", now

    def _finish(self, event: tasks.Finished) -> None:
        """Send the answers, by way of the pool if a picture goes with them."""
        job = self._jobs[event.key]
        job.timings.update(asdict(event.timings))
        answers = tuple(to_protocol(answer) for answer in event.answers)

        def conclude(job: Job) -> _Ended:
            body = b"" if job.image is None else draw(job.image, job.submit.tasks, answers)
            seconds = time.monotonic() - job.arrived_at
            return _Ended(job, Done(event.key, answers, seconds, job.timings, body))

        if job.image is None:
            self._end(conclude(job).message)
        else:
            self._pool.add(job.submit.rank, event.key, self._guarded(job, conclude))

    def _fail(self, key: str, error: Exception) -> None:
        if isinstance(error, MoondreamError):
            can_retry = not isinstance(error, PromptError)
            self._end(Failed(key, error.code, _one_line(error), can_retry))
        else:
            logger.error("%s cannot be answered", key, exc_info=error)
            self._end(Failed(key, "engine", _UNEXPECTED, can_retry=True))
        if isinstance(error, OutOfMemoryError):
            self._num_out_of_memory += 1
            if self._num_out_of_memory >= _MOST_OUT_OF_MEMORY:
                _exit(_EXIT_OUT_OF_MEMORY, "no memory on the device, time and again")


def _failed(job: Job, code: str, message: str, *, can_retry: bool) -> Failed:
    return Failed(job.submit.key, code, message, can_retry)


def memory_mb(device: torch.device) -> tuple[float, float]:
    """What this process holds of the device and of the machine, in MiB."""
    vram = 0
    if device.type == "cuda":
        vram = torch.cuda.memory_reserved(device)
    elif device.type == "mps":
        vram = torch.mps.driver_allocated_memory()
    return vram / 2**20, psutil.Process().memory_info().rss / 2**20


def _exit(code: int, reason: str) -> NoReturn:
    """End the process now; threads that hang are no obstacle."""
    logger.error("%s", reason)
    sys.stderr.flush()
    os._exit(code)


def _end_on_error(arguments: threading.ExceptHookArgs) -> None:
    """A thread that dies takes the process with it: half an engine would lose jobs in silence."""
    threading.__excepthook__(arguments)
    _exit(1, _UNEXPECTED)


def _one_line(error: Exception) -> str:
    """What an error says, for people: some quote a library, over many lines."""
    text = " ".join(str(error).split())
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"


def _load(channel: Channel, options: ModelOptions, watch: Watch) -> Loaded:
    """Load the model, or tell the service why not and end."""
    try:
        return load(
            options,
            lambda message: channel.send(Loading(message)),
            watch,
            lambda message, share: channel.send(Loading(message, share)),
        )
    except MoondreamError as error:
        can_retry = isinstance(error, DownloadError)
        failure = LoadFailed(error.code, _one_line(error), can_retry)
    except DeviceError as error:
        failure = LoadFailed(error.code, _one_line(error), can_retry=True)
    except (torch.OutOfMemoryError, MemoryError):
        logger.exception("no memory for the model")
        failure = LoadFailed("out_of_memory", _NO_MEMORY, can_retry=True)
    except Exception:  # whatever a library finds wrong with a model is said in one sentence
        logger.exception("the model cannot be loaded")
        failure = LoadFailed("model_error", _UNEXPECTED, can_retry=True)
    channel.send(failure)  # the service logs it, and how often
    sys.stderr.flush()
    os._exit(_EXIT_FAILED_LOAD)


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="engine.worker")
    parser.add_argument("--socket", type=int, required=True, help="inherited file descriptor")
    parser.add_argument(
        "--options", type=_OPTIONS.decode, required=True, help="ModelOptions as JSON"
    )
    parser.add_argument(
        "--image-limits", type=_LIMITS.decode, required=True, help="ImageLimits as JSON"
    )
    return parser.parse_args()


def _greet() -> Channel:
    """Say our version, before anything is read that another version may have written."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--socket", type=int, required=True)
    channel = Channel(parser.parse_known_args()[0].socket)
    channel.send(Hello(VERSION))
    return channel


def _configure_log() -> None:
    """Our own lines, and the errors of libraries.

    Theirs below that are whole URLs of requests, tokens included, retries that we tell of as a
    download that does not get on, and Python's `warnings`, which are for who writes programs.
    """
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(message)s")
    for name in ("__main__", "engine", "moondream2"):
        logging.getLogger(name).setLevel(logging.INFO)
    huggingface = logging.getLogger("huggingface_hub")  # brings a handler of its own
    huggingface.handlers, huggingface.propagate = [], True
    huggingface.setLevel(logging.ERROR)
    warnings.simplefilter("ignore")


def main(make_worker: Callable[..., Worker] = Worker) -> None:
    """Load the model and serve the socket named on the command line."""
    die_with_parent()
    threading.excepthook = _end_on_error
    _configure_log()
    channel = _greet()
    arguments = _read_arguments()
    inbox: Inbox = queue.SimpleQueue()
    channel.listen(inbox.put)
    worker: Worker | None = None

    def watch(kind: str, size: int) -> None:
        if worker is not None:
            worker.watch(kind, size)

    begin = time.monotonic()
    loaded = _load(channel, arguments.options, watch)
    worker = make_worker(channel, loaded, arguments.options, arguments.image_limits, inbox)
    vram, ram = memory_mb(loaded.device)
    channel.send(
        Ready(
            model=loaded.name,
            revision=loaded.revision,
            device=str(loaded.device),
            dtype=name_of(loaded.dtype),
            capacity=worker.capacity,
            load_seconds=time.monotonic() - begin,
            vram_mb=vram,
            ram_mb=ram,
            quantization=loaded.quantization,
            max_crops=loaded.max_crops,
            seconds_per_frame=loaded.seconds_per_frame,
            can_shrink=may_shrink(arguments.options, loaded.device),
        )
    )
    worker.run()


if __name__ == "__main__":
    main()
