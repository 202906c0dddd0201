"""An engine without a model: a real child process that speaks the real protocol.

It starts in a tenth of a second and needs a set time for a job, so that hundreds of crashes fit
into a test run. What it says about a picture is the SHA-256 of its bytes, so that a caption can be
held against its frame. The model's own tests use the real engine.

The first part of a job id can order a fault:

    poison-…  the child dies, every time            crash-…  it dies the first time
    hang-…    it stops answering the first time     memory-… it runs out of memory the first time
    worn-…    the job fails for now, every time     flaky-…  it fails for now the first time
    fail-…    the job fails for good
    waver-…   it dies the first time, when a job that is streamed has been answered otherwise

Of a job that is streamed it says half the text at once, and the other half when its time is over.

What happened "the first time" is remembered in files in `--scratch`: the child itself does not live
to remember it.
"""

import argparse
import hashlib
import heapq
import json
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from engine import protocol

_BEAT_S = 0.1
_STEP_S = 0.002  # how soon a running job notices that it is cancelled


#: What is said about a picture. Raises `UnreadableError`.
Describe = Callable[[bytes], str]


class UnreadableError(Exception):
    """The picture cannot be described; arguments are a code and a message."""


class Peer:
    """The socket to the service; several threads write."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._stream = self._socket.makefile("rb")
        self._turn = threading.Lock()

    def send(self, message: protocol.Message) -> None:
        with self._turn:
            try:
                self._socket.sendall(protocol.encode(message))
            except OSError:  # the service has gone
                os._exit(0)

    def receive(self) -> protocol.Message | None:
        """The next message; None when the service has gone."""
        try:
            preamble = self._stream.read(protocol.PREAMBLE_BYTES)
            if len(preamble) < protocol.PREAMBLE_BYTES:
                return None
            header, body = protocol.lengths(preamble)
            return protocol.decode(self._stream.read(header), self._stream.read(body))
        except (OSError, ValueError):
            return None


class QuickEngine:
    """Does the jobs one after the other, the most urgent first."""

    def __init__(self, arguments: argparse.Namespace, describe: Describe) -> None:
        self._describe = describe
        self._pace_s = arguments.pace_ms / 1e3
        self._capacity = arguments.capacity
        self._scratch = Path(arguments.scratch) if arguments.scratch else None
        self._options: dict[str, Any] = json.loads(arguments.options)
        self._peer = Peer(arguments.socket)
        self._waiting: list[tuple[tuple[float, ...], int, protocol.Submit]] = []
        self._numbers = count()
        self._cancelled: set[str] = set()
        self._changed = threading.Condition()
        self._is_hanging = False

    def run(self) -> None:
        self._peer.send(protocol.Hello(protocol.VERSION))
        if "broken" in self._options["name"]:
            self._peer.send(protocol.LoadFailed("model_file", "its weights are damaged"))
            return
        self._peer.send(
            protocol.Ready(
                self._options["name"],
                self._options["revision"],
                "none",
                "none",
                capacity=self._capacity,
                load_seconds=0.0,
                vram_mb=0.0,
                ram_mb=0.0,
            )
        )
        for target in (self._beat, self._work):
            threading.Thread(target=target, daemon=True).start()
        while message := self._peer.receive():
            with self._changed:
                if isinstance(message, protocol.Submit):
                    entry = (message.rank, next(self._numbers), message)
                    heapq.heappush(self._waiting, entry)
                elif isinstance(message, protocol.Cancel):
                    self._cancelled.add(message.key)
                self._changed.notify()
        os._exit(0)  # whatever the other threads are doing

    def _beat(self) -> None:
        while not self._is_hanging:
            self._peer.send(protocol.Alive(0, 0, vram_mb=0.0, ram_mb=0.0))
            time.sleep(_BEAT_S)

    def _work(self) -> None:
        while True:
            with self._changed:
                while not self._waiting:
                    self._changed.wait()
                job = heapq.heappop(self._waiting)[2]
            self._peer.send(protocol.Started(job.key))
            self._peer.send(self._cancel_or_do(job))

    def _cancel_or_do(self, job: protocol.Submit) -> protocol.Message:
        began = time.monotonic()
        if job.streamed_task is not None:
            self._say_half(job)
        while (left := began + self._pace_s - time.monotonic()) > 0:
            if job.key in self._cancelled:
                break
            time.sleep(min(_STEP_S, left))
        if job.key in self._cancelled:
            self._cancelled.discard(job.key)
            return protocol.Cancelled(job.key)
        if failure := self._obey(job.key):
            return failure
        return self._answer(job, time.monotonic() - began)

    def _say_half(self, job: protocol.Submit) -> None:
        text = digest(job.body)
        if job.key.rpartition("/")[2].startswith("waver-") and self._is_first_time(job.key):
            self._peer.send(protocol.Piece(job.key, "Something else"))
            os._exit(3)
        self._peer.send(protocol.Piece(job.key, f" {text[:32]}"))

    def _obey(self, key: str) -> protocol.Message | None:
        """Carry out the fault that the job's id orders."""
        match key.rpartition("/")[2].split("-")[0]:
            case "poison":
                os.kill(os.getpid(), signal.SIGKILL)
            case "crash" if self._is_first_time(key):
                sys.stderr.write("ERROR ordered to crash\n")
                sys.stderr.flush()
                os._exit(3)
            case "hang" if self._is_first_time(key):
                self._is_hanging = True
                time.sleep(3600)
            case "memory" if self._is_first_time(key):
                self._peer.send(protocol.Capacity(1, "out of memory"))
                return protocol.Failed(key, "out_of_memory", "no room", can_retry=True)
            case "worn":
                return protocol.Failed(key, "engine", "ordered to fail", can_retry=True)
            case "flaky" if self._is_first_time(key):
                return protocol.Failed(key, "engine", "ordered to fail once", can_retry=True)
            case "fail":
                return protocol.Failed(key, "image_corrupt", "ordered to fail", can_retry=False)
        return None

    def _is_first_time(self, key: str) -> bool:
        assert self._scratch is not None
        try:
            (self._scratch / key.replace("/", ".")).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def _answer(self, job: protocol.Submit, seconds: float) -> protocol.Message:
        try:
            text = self._describe(job.body)
        except UnreadableError as error:
            code, message = error.args
            return protocol.Failed(job.key, code, message, can_retry=False)
        answers = tuple(answer(task, text) for task in job.tasks)
        return protocol.Done(job.key, answers, seconds)


def answer(task: protocol.TaskSpec, text: str) -> protocol.Answer:
    match task.kind:
        case "choose":
            return protocol.ChoiceAnswer((1.0, *(0.0 for _ in task.choices[1:])))
        case "detect":
            return protocol.BoxesAnswer((), 1.0)
        case "point":
            return protocol.PointsAnswer((), 1.0)
    return protocol.TextAnswer(text, (), 1.0)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--pace-ms", type=float, default=1.0)
    parser.add_argument("--capacity", type=int, default=8)
    parser.add_argument("--scratch")
    parser.add_argument("--options", required=True)
    parser.add_argument("--image-limits", required=True)
    parser.add_argument("--socket", type=int, required=True)
    return parser.parse_args()


if __name__ == "__main__":
    QuickEngine(read_arguments(), digest).run()
