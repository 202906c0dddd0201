"""How long a critical frame waits on a device that is full of lesser ones.

All slots generate and what ends is replaced at once, so lesser frames are encoded all the time.
Critical ones are due by the clock, wherever the engine is in a step then: what they wait is counted
from that time, not from when the loop came round to them.
"""

import time
from dataclasses import dataclass, field
from itertools import count

from bench._machine import percentile
from bench.gpu.report import Note
from bench.gpu.setting import CountedRecorder, Setting, caption
from moondream2.generate import Engine
from moondream2.tasks import Event, Finished

_LESSER, _CRITICAL = (1.0,), (0.0,)
_CRITICAL_TOKENS = 3


@dataclass
class _Load:
    """What was submitted, and what critical frames waited."""

    #: Due times of critical frames whose encoding has not begun.
    waiting: list[float] = field(default_factory=list)
    #: Seconds from when a critical frame was due to its submission.
    late_s: dict[str, float] = field(default_factory=dict)
    starts_ms: list[float] = field(default_factory=list)
    firsts_ms: list[float] = field(default_factory=list)
    num_lesser: int = 0

    def watch(self, kind: str, _size: int) -> None:
        """Before each pass: the first encoding after a critical frame was submitted is its own."""
        if kind == "encode" and self.waiting:
            now = time.perf_counter()
            self.starts_ms += [(now - due_at) * 1000 for due_at in self.waiting]
            self.waiting.clear()

    def note_event(self, event: Event) -> None:
        """Book the end of a frame."""
        if not isinstance(event, Finished):
            return
        if event.key in self.late_s:
            seconds = self.late_s[event.key] + event.timings.first_token_seconds
            self.firsts_ms.append(seconds * 1000)
        else:
            self.num_lesser += 1


def measure_critical(setting: Setting, note: Note) -> None:
    """Submit a critical frame every so often under full load."""
    load = _Load()
    recorder = CountedRecorder(setting.device)
    engine = setting.engine(watch=load.watch, decoding=setting.decoding(lambda: recorder))
    lesser_tokens = 10 if setting.is_quick else 100
    every_s, total_s = (0.2, 1.0) if setting.is_quick else (0.5, 20.0)
    names = count()

    def fill() -> None:
        while engine.free > 0 and len(held) < setting.slots:
            held.add(key := f"lesser {next(names)}")
            engine.submit(caption(key, setting.frame, lesser_tokens, _LESSER))

    held: set[str] = set()
    fill()
    while len(held) == setting.slots and load.num_lesser == 0:  # until it runs as it will
        _step(engine, load, held)
        fill()
    begin = due_at = time.perf_counter()
    recorded, done = recorder.count, load.num_lesser
    while (now := time.perf_counter()) < begin + total_s:
        if now >= due_at:
            key = f"critical {next(names)}"
            load.waiting.append(due_at)
            load.late_s[key] = now - due_at
            engine.submit(caption(key, setting.frame, _CRITICAL_TOKENS, _CRITICAL))
            due_at += every_s
        _step(engine, load, held)
        fill()
    _tell(load, (load.num_lesser - done) / total_s, recorder.count - recorded, note)


def _step(engine: Engine, load: _Load, held: set[str]) -> None:
    for event in engine.step():
        load.note_event(event)
        if isinstance(event, Finished):
            held.discard(event.key)


def _tell(load: _Load, lesser_per_s: float, recorded: int, note: Note) -> None:
    note("critical frames", len(load.firsts_ms))
    for name, samples in (("encoding begins", load.starts_ms), ("first token", load.firsts_ms)):
        for percent in (50, 99):
            note(f"{name}, ms, p{percent}", percentile(samples, percent), is_shown=True)
        note(f"{name}, ms, longest", max(samples), is_shown=True)
    note("lesser frames a second meanwhile", lesser_per_s)
    note("recordings meanwhile", recorded)
