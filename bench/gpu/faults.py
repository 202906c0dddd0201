"""What the engine does when memory is short: real shortage on CUDA, planted elsewhere.

Whatever is planted, every frame has to be answered, and a caption is the same as without it where
arithmetic is float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import torch
from torch import Tensor

from bench.gpu.report import Note
from bench.gpu.setting import CountedRecorder, Setting, caption, run, token_ids
from bench.gpu.throughput import free
from moondream2.generate import Engine
from moondream2.graphs import Recording

_FRAMES = 8
#: Slots where the pool itself is not what is tried: fewer are recorded sooner.
_FEW = 4


class _RunsShort:
    """Lets one pass run out of memory."""

    def __init__(self, failing: int) -> None:
        self._left = failing

    def __call__(self, _kind: str, _size: int) -> None:
        self._left -= 1
        if self._left == 0:
            raise torch.OutOfMemoryError("planted")


class _FailsToRecord:
    """Lets one recording fail."""

    def __init__(self, device: torch.device, error: Exception) -> None:
        self._record, self._error = CountedRecorder(device), error

    def __call__(self, run: Callable[[], Tensor]) -> Recording:
        if self._record.count == 1:
            raise self._error
        return self._record(run)


def measure_faults(setting: Setting, note: Note) -> None:
    """Plant faults one after the other and count the answers."""
    faults: dict[str, Callable[[Setting], tuple[Engine, int]]] = {
        "out of memory in a step": _in_a_step,
        "out of memory in a capture": _in_a_capture,
        "capture fails": _capture_fails,
    }
    if setting.is_cuda:
        faults |= {"pool nearly full": _pool_nearly_full, "out of memory in staging": _in_staging}
    wrong = []
    for name, fault in faults.items():
        try:
            engine, answered = fault(setting)
            note(f"{name}: answers of 8", answered, is_shown=True)
            note(f"{name}: slots after", engine.capacity)
            del engine
        except Exception as error:  # noqa: BLE001 - the other faults are planted all the same
            answered = -1
            note(f"{name}: failed", f"{type(error).__name__}: {error}"[:120], is_shown=True)
        if answered != _FRAMES:
            wrong.append(name)
        free(setting)
    if not setting.is_cuda:
        note("pool nearly full, staging", "needs CUDA")
    if wrong:
        raise RuntimeError(f"not every frame was answered: {', '.join(wrong)}")


def _answered(setting: Setting, engine: Engine) -> int:
    frames = [caption(str(index), setting.frame, 4) for index in range(_FRAMES)]
    return len(token_ids(run(engine, frames)))


def _in_a_step(setting: Setting) -> tuple[Engine, int]:
    engine = setting.engine(slots=_FEW, watch=_RunsShort(4))
    return engine, _answered(setting, engine)


def _in_a_capture(setting: Setting) -> tuple[Engine, int]:
    shortages: Iterator[Exception | None] = iter([torch.OutOfMemoryError("planted")])

    def recorder() -> _FailsToRecord | CountedRecorder:
        error = next(shortages, None)
        device = setting.device
        return CountedRecorder(device) if error is None else _FailsToRecord(device, error)

    engine = setting.engine(slots=_FEW, decoding=setting.decoding(recorder))
    return engine, _answered(setting, engine)


def _capture_fails(setting: Setting) -> tuple[Engine, int]:
    error = RuntimeError("planted: operation not permitted when stream is capturing")
    decoding = setting.decoding(lambda: _FailsToRecord(setting.device, error))
    engine = setting.engine(slots=_FEW, decoding=decoding)
    return engine, _answered(setting, engine)


def _pool_nearly_full(setting: Setting) -> tuple[Engine, int]:
    """Room for a few slots where many are wanted."""
    with _room_for(setting, 3 << 30):
        engine = setting.engine()
        return engine, _answered(setting, engine)


def _in_staging(setting: Setting) -> tuple[Engine, int]:
    """Frames come while the device has no byte left, and are answered when it has."""
    engine = setting.engine(slots=_FEW)
    free(setting)
    with _room_for(setting, 0), _no_room_inside(setting):
        for index in range(_FRAMES):
            engine.submit(caption(str(index), setting.frame, 4))
    return engine, len(token_ids(run(engine, [])))


@contextmanager
def _no_room_inside(setting: Setting) -> Iterator[None]:
    """Take what is left between the blocks that torch holds already."""
    taken = []
    with suppress(torch.OutOfMemoryError):
        while True:
            taken.append(torch.empty(1 << 20, dtype=torch.uint8, device=setting.device))
    yield
    taken.clear()


@contextmanager
def _room_for(setting: Setting, size: int) -> Iterator[None]:
    """Let torch take so many bytes more than it holds now, and no others."""
    free(setting)
    device = setting.device
    total = torch.cuda.get_device_properties(device).total_memory
    share = (torch.cuda.memory_reserved(device) + size) / total
    torch.cuda.set_per_process_memory_fraction(min(1.0, share), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
