"""The engine process with real JPEGs through its socket, against the bare engine."""

import io
import json
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

import torch
from PIL import Image, ImageFilter

from bench.engine import DEMO, measure, noise
from bench.engine import Passes as Counts
from bench.gpu.report import Note
from bench.gpu.setting import Setting
from bench.gpu.throughput import free
from bench.loading import write
from engine.images import ImageLimits
from engine.protocol import (
    PREAMBLE_BYTES,
    Done,
    Failed,
    LoadFailed,
    Message,
    ModelOptions,
    Ready,
    Submit,
    TaskSpec,
    decode,
    encode,
    lengths,
)
from moondream2.config import DEFAULT_REVISION
from moondream2.crops import prepare
from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.tokens import Tokenizer

#: Different pictures; the others are these again.
_NUM_PICTURES = 16
_QUIET_S = 120.0  # of a worker that is loading
_STOP_S = 5.0


class _Child:
    """An engine process, and our end of its socket.

    Args:
        options: What it loads.
    """

    def __init__(self, options: ModelOptions) -> None:
        self._ours, theirs = socket.socketpair()
        self._ours.settimeout(_QUIET_S)
        self._stream = self._ours.makefile("rb")
        settings = {"--options": asdict(options), "--image-limits": asdict(ImageLimits())}
        command = [sys.executable, "-m", "engine.worker"]
        for name, value in settings.items():
            command += [name, json.dumps(value)]
        with theirs:
            command += ["--socket", str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])

    def __enter__(self) -> "_Child":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
        self._ours.close()  # which ends it
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def send(self, message: Submit) -> None:
        """Write one message."""
        self._ours.sendall(encode(message))

    def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            RuntimeError: The process has ended or could not load.
        """
        header_size, body_size = lengths(self._read(PREAMBLE_BYTES))
        message = decode(self._read(header_size), self._read(body_size))
        if isinstance(message, LoadFailed):
            raise RuntimeError(f"the worker cannot load: {message.message}")
        return message

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise RuntimeError(f"the worker has ended with {self._process.poll()}")
        return data


def measure_worker(setting: Setting, note: Note) -> None:
    """Answer the same frames with the bare engine and through the worker."""
    pictures = _pictures(2 if setting.is_quick else _NUM_PICTURES)
    note("KB of a JPEG", sum(map(len, pictures)) / len(pictures) / 1000)
    with tempfile.TemporaryDirectory(prefix="moondream2mqtt-bench-") as name:
        folder = DEMO if setting.is_quick else Path(name)
        if not setting.is_quick:
            write(folder, setting.model)
        bare = _bare(setting, folder, pictures)
        free(setting)
        note("bare engine, images/s", bare, is_shown=True)
        found = _through_worker(setting, folder, pictures, note)
    note("worker with JPEGs, images/s", found, is_shown=True)
    note("worker, share of the bare engine", found / bare, is_shown=True)


def _pictures(count: int) -> list[bytes]:
    """JPEGs about as large as a camera's: noise that is not as sharp as noise."""
    torch.manual_seed(1)
    found = []
    for _ in range(count):
        buffer = io.BytesIO()
        picture = noise(1280, 720).filter(ImageFilter.GaussianBlur(1))
        picture.save(buffer, "JPEG", quality=85)
        found.append(buffer.getvalue())
    return found


def _bare(setting: Setting, folder: Path, pictures: list[bytes]) -> float:
    """Images a second of the engine alone, with the frames decoded and cut beforehand."""
    counts, model = Counts(), setting.model
    tokenizer = setting.tokenizer
    if setting.is_quick:  # as the worker has it: captions end where they end
        model = Moondream.load(folder, device=setting.device, dtype=setting.dtype)
        tokenizer = Tokenizer.load(folder / "tokenizer.json", model.config)
    engine = Engine(model, tokenizer, slots=setting.slots, watch=counts)
    crops = [prepare(Image.open(io.BytesIO(each)), model.config.vision) for each in pictures]
    measure(engine, counts, crops[: setting.slots], 2)
    frames = [crops[index % len(crops)] for index in range(setting.num_steady)]
    return measure(engine, counts, frames, setting.tokens).images_per_s


def _through_worker(setting: Setting, folder: Path, pictures: list[bytes], note: Note) -> float:
    """Images a second from the first submission to the last answer."""
    dtype = str(setting.dtype).removeprefix("torch.")
    options = ModelOptions(
        str(folder),
        DEFAULT_REVISION,
        str(setting.device),
        dtype,
        slots=setting.slots,
        threads=1 if setting.is_quick else None,
        quantization="none",
        download=False,
    )
    begin = time.perf_counter()
    with _Child(options) as child:
        while not isinstance(message := child.receive(), Ready):
            pass
        note("seconds until ready", time.perf_counter() - begin)
        capacity = message.capacity
        _answer(child, pictures, capacity, setting.slots, setting.tokens)
        begin = time.perf_counter()
        _answer(child, pictures, capacity, setting.num_steady, setting.tokens)
        return setting.num_steady / (time.perf_counter() - begin)


def _answer(child: _Child, pictures: list[bytes], capacity: int, count: int, tokens: int) -> None:
    """Keep the worker as full as the service would until so many frames are answered.

    Raises:
        RuntimeError: A frame failed.
    """
    task = TaskSpec("caption", "normal")
    num_sent = num_done = 0
    while num_done < count:
        while num_sent < count and num_sent - num_done < capacity:
            body = pictures[num_sent % len(pictures)]
            key, rank = str(num_sent), (0.0, float(num_sent))
            child.send(Submit(key, "camera", rank, (task,), max_tokens=tokens, body=body))
            num_sent += 1
        message = child.receive()
        if isinstance(message, Failed):
            raise RuntimeError(f"a frame failed: {message.message}")
        num_done += isinstance(message, Done)
