"""The engine process: `python -m engine.worker`, one for each device.

The main thread owns the model and does nothing but step it. Messages come in on a thread of their
own, images are decoded and cut on two more, and all of them leave what they have in one inbox that
the main thread empties between steps. A job lives here in `_jobs` from `Submit` to its ending,
which is exactly one of `Done`, `Failed`, `Similar` and `Cancelled`.

What cannot be told from a broken device ends the process; the service starts another.
"""

import argparse
import json
import logging
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import NoReturn, assert_never

import psutil
import torch
from PIL import Image

from engine.answers import make_request, to_protocol
from engine.channel import Link, die_with_parent
from engine.drawing import draw
from engine.errors import ImageError
from engine.faults import Faults
from engine.fingerprint import Scenes, Seen, fingerprint, from_bytes, to_bytes
from engine.images import ImageLimits
from engine.loading import DeviceError, Loaded, load, name_of
from engine.pixels import decode
from engine.pool import RankedPool
from engine.protocol import (
    Alive,
    Cancel,
    Cancelled,
    Capacity,
    Done,
    Failed,
    LoadFailed,
    Loading,
    Message,
    ModelOptions,
    Ready,
    Similar,
    Started,
    Submit,
)
from moondream2 import tasks
from moondream2.crops import Crops, prepare
from moondream2.errors import DownloadError, MoondreamError
from moondream2.generate import OutOfMemoryError
from moondream2.passes import Watch
from moondream2.staging import pin
from moondream2.tokens import PromptError

logger = logging.getLogger(__name__)

_ALIVE_EVERY_S = 1.0
#: Seconds; an image that passed the limits takes 0.3, ten times that on a busy small machine. A
#: thread cannot be stopped, a process can.
_DECODE_LIMIT_S = 30.0
#: Jobs in a row for which the device had no memory even alone, until a fresh process is tried.
_MOST_OUT_OF_MEMORY = 3
_EXIT_FAILED_LOAD, _EXIT_OVERDUE, _EXIT_OUT_OF_MEMORY = 3, 4, 5


@dataclass(slots=True, eq=False)
class _Job:
    submit: Submit
    arrived_at: float
    image: Image.Image | None = None  # kept when it is to be returned
    fingerprint: bytes | None = None  # when it is compared with others
    timings: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Prepared:
    """From the pool: the frame is new, here are its crops."""

    job: _Job
    crops: Crops


@dataclass(frozen=True, slots=True)
class _Ended:
    """From the pool: the job ends with this message."""

    job: _Job
    message: Done | Failed | Similar


class Worker:
    """Feeds the model and reports what it says.

    Args:
        link: To the service.
        loaded: The model.
        options: It was loaded with.
        limits: Of images.
        faults: On demand.
        inbox: What the other threads leave for the main one.
        decode_limit_s: Seconds for one image, after which the process ends.
    """

    def __init__(
        self,
        link: Link,
        loaded: Loaded,
        options: ModelOptions,
        limits: ImageLimits,
        faults: Faults,
        inbox: "queue.SimpleQueue[Message | _Prepared | _Ended]",
        decode_limit_s: float,
    ) -> None:
        self._link = link
        self._engine = loaded.engine
        self._loaded = loaded
        self._max_crops = options.max_crops
        self._limits = limits
        self._faults = faults
        self._inbox = inbox
        self._decode_limit_s = decode_limit_s
        self._pool = RankedPool()
        self._scenes = Scenes()
        self._jobs: dict[str, _Job] = {}
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
        self._link.send(Alive(len(self._jobs), self._num_steps, vram, ram))
        if name := self._pool.overdue(self._decode_limit_s):
            _exit(_EXIT_OVERDUE, f"the image of {name} took over {self._decode_limit_s:g} s")

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
                    self._scenes.forget(job.submit.camera_id, job.submit.key)
            case _Ended(job=job):
                if self._is_held(job):
                    self._end(item.message)
            case _:
                logger.warning("unexpected %s", type(item).__name__)

    def _is_held(self, job: _Job) -> bool:
        """Whether it is still wanted: it may have been cancelled, and even submitted again."""
        return self._jobs.get(job.submit.key) is job

    def _accept(self, submit: Submit) -> None:
        job = self._jobs[submit.key] = _Job(submit, time.monotonic())
        self._pool.add(submit.rank, submit.key, self._guarded(job, self._prepare))

    def _cancel(self, key: str) -> None:
        if key in self._jobs:
            self._engine.cancel(key)
            self._end(Cancelled(key))

    def _end(self, message: Done | Failed | Similar | Cancelled) -> None:
        """Forget a job and say why."""
        job = self._jobs.pop(message.key)
        if not isinstance(message, Done):
            self._scenes.forget(job.submit.camera_id, message.key)
        self._link.send(message)

    # On the threads of the pool

    def _guarded(
        self, job: _Job, work: Callable[[_Job], _Prepared | _Ended | None]
    ) -> Callable[[], None]:
        """Make work of the pool that never raises and leaves its result in the inbox."""

        def run() -> None:
            try:
                result = work(job)
            except ImageError as error:
                result = _Ended(job, _failed(job, error.code, str(error), can_retry=False))
            except Exception as error:
                # A mistake fails its job; the thread and the jobs of the others go on.
                logger.exception("%s cannot be prepared", job.submit.key)
                result = _Ended(job, _failed(job, "internal", repr(error), can_retry=True))
            if result is not None:
                self._inbox.put(result)

        return run

    def _prepare(self, job: _Job) -> _Prepared | _Ended | None:
        """Decode an image, compare it with the camera's last, cut it into crops."""
        submit = job.submit
        if not self._is_held(job):
            return None
        begin = time.monotonic()
        self._faults.before_decode(submit.key)
        image = decode(submit.body, self._limits)
        if match := self._match(job, image):
            return _Ended(job, Similar(submit.key, *match))
        crops = prepare(image, self._engine.model.config.vision, self._max_crops)
        if submit.want_image:
            job.image = image
        job.timings["prepare"] = time.monotonic() - begin
        return _Prepared(job, pin(crops, self._loaded.device))

    def _match(self, job: _Job, image: Image.Image) -> tuple[str, float] | None:
        submit = job.submit
        if submit.similarity <= 0:
            return None
        print_ = fingerprint(image)
        job.fingerprint = to_bytes(print_)
        return self._scenes.match_or_add(
            submit.camera_id,
            submit.key,
            print_,
            similarity=submit.similarity,
            window_s=submit.similarity_window,
            importance=submit.importance,
            last=_last_seen(job),
        )

    # On the main thread: to and from the model

    def _feed(self, job: _Job, crops: Crops) -> None:
        self._engine.submit(make_request(job.submit, crops))

    def _tell(self, event: tasks.Event) -> None:
        if not isinstance(event, tasks.Resized) and event.key not in self._jobs:
            return  # cancelled
        match event:
            case tasks.Started(key=key):
                self._faults.before_run(key)
                self._link.send(Started(key, self._jobs[key].fingerprint))
            case tasks.Finished():
                self._num_out_of_memory = 0
                self._finish(event)
            case tasks.Failed(key=key, error=error):
                self._fail(key, error)
            case tasks.Resized():
                message = f"{event.capacity} frames at once, as far as memory goes"
                logger.warning("the device is short of memory or has enough again: %s", message)
                self._link.send(Capacity(self.capacity, message))
            case tasks.Piece() | tasks.TaskDone():
                pass
            case _:
                assert_never(event)

    def _finish(self, event: tasks.Finished) -> None:
        """Send the answers, by way of the pool if a picture goes with them."""
        job = self._jobs[event.key]
        job.timings.update(asdict(event.timings))
        answers = tuple(to_protocol(answer) for answer in event.answers)

        def conclude(job: _Job) -> _Ended:
            body = b"" if job.image is None else draw(job.image, job.submit.tasks, answers)
            seconds = time.monotonic() - job.arrived_at
            return _Ended(job, Done(event.key, answers, seconds, job.timings, body))

        if job.image is None:
            self._end(conclude(job).message)
        else:
            self._pool.add(job.submit.rank, event.key, self._guarded(job, conclude))

    def _fail(self, key: str, error: Exception) -> None:
        code = error.code if isinstance(error, MoondreamError) else "engine"
        can_retry = not isinstance(error, PromptError)
        self._end(Failed(key, code, str(error), can_retry))
        if isinstance(error, OutOfMemoryError):
            self._num_out_of_memory += 1
            if self._num_out_of_memory >= _MOST_OUT_OF_MEMORY:
                _exit(_EXIT_OUT_OF_MEMORY, "no memory on the device, time and again")


def _last_seen(job: _Job) -> Seen | None:
    """The frame that came with a job to be compared with."""
    last = job.submit.last_frame
    if last is None or (print_ := from_bytes(last.fingerprint)) is None:
        return None
    return Seen(last.key, job.arrived_at - last.age_s, last.importance, print_)


def _failed(job: _Job, code: str, message: str, *, can_retry: bool) -> Failed:
    return Failed(job.submit.key, code, message, can_retry)


def memory_mb(device: torch.device) -> tuple[float, float]:
    """What this process holds of the device and of the machine, in MiB."""
    vram = torch.cuda.memory_reserved(device) if device.type == "cuda" else 0
    return vram / 2**20, psutil.Process().memory_info().rss / 2**20


def _exit(code: int, reason: str) -> NoReturn:
    """End the process now; threads that hang are no obstacle."""
    logger.error("%s", reason)
    sys.stderr.flush()
    os._exit(code)


def _end_on_error(arguments: threading.ExceptHookArgs) -> None:
    """A thread that dies takes the process with it: half an engine would lose jobs in silence."""
    threading.__excepthook__(arguments)
    _exit(1, f"a thread ended by {arguments.exc_value!r}")


def _load(link: Link, options: ModelOptions, faults: Faults, watch: Watch) -> Loaded:
    """Load the model, or tell the service why not and end."""
    try:
        faults.before_load()
        return load(options, lambda message: link.send(Loading(message)), watch)
    except MoondreamError as error:
        failure = LoadFailed(error.code, str(error), can_retry=isinstance(error, DownloadError))
    except DeviceError as error:
        failure = LoadFailed(error.code, str(error), can_retry=True)
    except (torch.OutOfMemoryError, MemoryError) as error:
        failure = LoadFailed("out_of_memory", str(error), can_retry=True)
    link.send(failure)
    _exit(_EXIT_FAILED_LOAD, failure.message)


def main() -> None:
    """Load the model and serve the socket named on the command line."""
    parser = argparse.ArgumentParser(prog="engine.worker")
    parser.add_argument("--socket", type=int, required=True, help="inherited file descriptor")
    parser.add_argument("--options", type=json.loads, required=True, help="ModelOptions as JSON")
    parser.add_argument("--image-limits", type=json.loads, required=True, help="ImageLimits, JSON")
    parser.add_argument("--decode-limit", type=float, default=_DECODE_LIMIT_S, help="seconds")
    arguments = parser.parse_args()

    die_with_parent()
    threading.excepthook = _end_on_error
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    link = Link(arguments.socket)
    inbox: queue.SimpleQueue[Message | _Prepared | _Ended] = queue.SimpleQueue()
    link.listen(inbox.put)

    options = ModelOptions(**arguments.options)
    limits = ImageLimits(**arguments.image_limits)
    faults = Faults(os.environ)
    worker: Worker | None = None

    def watch(_kind: str, _size: int) -> None:
        if worker is not None:
            worker.show_life()
            faults.before_pass()

    begin = time.monotonic()
    loaded = _load(link, options, faults, watch)
    worker = Worker(link, loaded, options, limits, faults, inbox, arguments.decode_limit)
    vram, ram = memory_mb(loaded.device)
    link.send(
        Ready(
            model=loaded.name,
            revision=loaded.revision,
            device=str(loaded.device),
            dtype=name_of(loaded.dtype),
            capacity=worker.capacity,
            load_seconds=time.monotonic() - begin,
            vram_mb=vram,
            ram_mb=ram,
        )
    )
    worker.run()


if __name__ == "__main__":
    main()
