"""The real engine process, in which one thing goes wrong: it really dies, hangs, or runs short.

Run as `python -m tests.support.faulty_worker FAULT` and the options of `engine.worker`. FAULT is

    crash:PREFIX   the process ends when a job whose id begins so is about to run
    segv:PREFIX    the same by a segmentation fault
    hang:PREFIX    the model's loop stops there
    stuck:PREFIX   decoding its image never ends
    oom:N          the first N passes run out of memory
    odd:PREFIX     preparing its image raises what nobody foresaw
    slow:SECONDS   each block of the image encoder takes so much longer
"""

import os
import signal
import sys
import time
from functools import partial
from typing import Any, NoReturn

import torch

from engine.worker import Worker, main
from moondream2 import tasks

SECRET = "s3cret"  # noqa: S105 - the text of an error that must not get outside


def command(fault: str) -> tuple[str, ...]:
    """The program for an `EngineProcess`."""
    return sys.executable, "-m", "tests.support.faulty_worker", fault


class FaultyWorker(Worker):
    """Does what it is told to at the moments that a subclass can reach."""

    decode_limit_s = 1.0

    def __init__(self, fault: str, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._kind, _, self._argument = fault.partition(":")
        self._num_passes = 0
        if self._kind == "slow":
            for block in self._engine.model.vision.blocks:
                block.register_forward_pre_hook(lambda *_: time.sleep(float(self._argument)))

    def _prepare(self, job: Any) -> Any:
        if self._is_at("stuck", job.submit.key):
            _sleep_for_ever()
        if self._is_at("odd", job.submit.key):
            raise RuntimeError(SECRET)
        return super()._prepare(job)

    def _tell(self, event: tasks.Event) -> None:
        if isinstance(event, tasks.Started):
            if self._is_at("crash", event.key):
                os._exit(70)
            if self._is_at("segv", event.key):
                os.kill(os.getpid(), signal.SIGSEGV)
            if self._is_at("hang", event.key):
                _sleep_for_ever()
        super()._tell(event)

    def watch(self, kind: str, size: int) -> None:
        super().watch(kind, size)
        self._num_passes += 1
        if self._kind == "oom" and self._num_passes <= int(self._argument):
            raise torch.OutOfMemoryError("ordered by a test")

    def _is_at(self, kind: str, key: str) -> bool:
        return kind == self._kind and key.rpartition("/")[2].startswith(self._argument)


def _sleep_for_ever() -> NoReturn:
    while True:
        time.sleep(3600)


if __name__ == "__main__":
    main(partial(FaultyWorker, sys.argv.pop(1)))
