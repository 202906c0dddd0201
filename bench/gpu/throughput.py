"""Images and tokens a second of the engine itself: as the service runs it, and what that is worth.

A run of a batch is that many 720p frames submitted at once; a steady run is many more frames than
there are slots. Nothing may be recorded and no plan built while frames are answered.
"""

import copy
import gc
import importlib
import time

import torch

from bench._machine import percentile
from bench.engine import Passes as Counts
from bench.engine import Run, measure, peak_gib
from bench.gpu.report import Note, SkippedError
from bench.gpu.setting import Setting, caption, run
from bench.gpu.timing import profiled
from moondream2.errors import QuantizeError
from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.quantize import WeightFormat, quantize_weights

#: Tokens of a short answer.
_SHORT = 3


def measure_throughput(setting: Setting, note: Note) -> None:
    """Measure every batch with short and long answers, then a steady run."""
    engine, counts, recorder = setting.counted()
    if setting.is_cuda:
        torch.cuda.reset_peak_memory_stats(setting.device)
    note("slots", engine.capacity, is_shown=True)
    note("recordings before the first frame", recorder.count, is_shown=True)
    note("numbers of rows that are recorded", (engine.capacity - 1).bit_length() + 1)
    decoding = setting.decoding(lambda: recorder)
    reads = "the length of each row" if decoding.varlen else "fixed contexts"
    note("a recorded step reads", reads, is_shown=True)
    fed = "where they were picked" if decoding.feedback else "after they were told"
    note("tokens are read", fed, is_shown=True)
    for batch in setting.batches:
        measure(engine, counts, [setting.frame] * batch, 2)  # whatever torch does at a first time
    before = recorder.count
    for tokens in (_SHORT, setting.tokens):
        for batch in setting.batches:
            found = _best(setting, engine, counts, batch, tokens)
            _tell(f"batch {batch}, {tokens} tokens", setting, found, note, tokens > _SHORT)
    steady = measure(engine, counts, [setting.frame] * setting.num_steady, setting.tokens)
    _tell(f"steady, {setting.tokens} tokens", setting, steady, note, is_shown=True)
    note("recordings while frames were answered", recorder.count - before, is_shown=True)
    note("plans while frames were answered", _plans(setting, engine), is_shown=True)
    note("peak memory, GiB", peak_gib(setting.device), is_shown=True)


def _best(setting: Setting, engine: Engine, counts: Counts, batch: int, tokens: int) -> Run:
    frames = [setting.frame] * batch
    runs = [measure(engine, counts, frames, tokens) for _ in range(2 if setting.is_cuda else 1)]
    return min(runs, key=lambda found: found.seconds)


def _tell(name: str, setting: Setting, found: Run, note: Note, is_shown: bool) -> None:
    firsts = [seconds * 1000 for seconds in found.first_tokens]
    note(f"{name}: images/s", found.images_per_s, is_shown=is_shown)
    note(f"{name}: tokens/s of full steps", found.decode_per_s)
    note(f"{name}: first token ms, p50", percentile(firsts, 50))
    note(f"{name}: first token ms, p99", percentile(firsts, 99))
    if found.batch <= setting.slots:  # the floor is that of a batch whose rows run together
        floor = setting.machine.floor(found, setting.cost)
        note(f"{name}: share of the floor", floor / found.seconds)


def _plans(setting: Setting, engine: Engine) -> int:
    """Calls of the attention that plans each shape, in a batch of its own."""
    requests = [caption(f"plan {index}", setting.frame, _SHORT) for index in range(2)]
    return profiled(lambda: run(engine, requests), setting.device).num_cudnn_attention


def measure_eager(setting: Setting, note: Note) -> None:
    """Answer frame after frame without graphs: what batching and graphs are compared with."""
    counts = Counts()
    engine = setting.engine(setting.plain_model, slots=1, graphs=False, beside=False, watch=counts)
    measure(engine, counts, [setting.frame], 2)
    count = 2 if setting.is_quick else 12
    found = measure(engine, counts, [setting.frame] * count, setting.tokens)
    note("images/s", found.images_per_s, is_shown=True)
    note("tokens/s", found.decode_per_s, is_shown=True)


def measure_formats(setting: Setting, note: Note) -> None:
    """Answer a batch with weights in fewer bits; expected to save memory, not time."""
    setting.need_cuda()
    formats: tuple[WeightFormat, ...] = ("int8", "int4")
    reasons = []
    for weights in formats:
        model = copy.deepcopy(setting.plain_model)
        try:
            quantize_weights(model, weights)
            _batches_of(setting, model, weights, note)
        except (QuantizeError, ImportError, RuntimeError) as error:  # of torchao, in many forms
            reasons.append(" ".join(str(error).split()))
            note(weights, f"not measured: {reasons[-1][:80]}", is_shown=True)
        del model
        free(setting)
    if len(reasons) == len(formats):
        raise SkippedError(reasons[0])


def measure_compiled(setting: Setting, note: Note) -> None:
    """Answer a batch with the two encoding passes compiled, and tell what the start costs."""
    setting.need_cuda()
    model = copy.deepcopy(setting.plain_model)
    _batches_of(setting, setting.model, "plain", note)
    free(setting)
    _batches_of(setting, model, "compiled", note, is_compiled=True)
    counters = importlib.import_module("torch._dynamo.utils").counters["stats"]
    note("compiled: graphs, 0 where compiling failed", counters.get("unique_graphs", 0))


def _batches_of(
    setting: Setting, model: Moondream, name: str, note: Note, *, is_compiled: bool = False
) -> None:
    counts = Counts()
    begin = time.perf_counter()
    engine = setting.engine(model, watch=counts, compiled=is_compiled)
    for batch in (1, setting.slots):
        measure(engine, counts, [setting.frame] * batch, 2)
    note(f"{name}: seconds until warm", time.perf_counter() - begin)
    for batch in (1, setting.slots):
        found = _best(setting, engine, counts, batch, setting.tokens)
        note(f"{name}: images/s at batch {batch}", found.images_per_s, is_shown=True)
    held = sum(each.numel() * each.element_size() for each in model.parameters())
    note(f"{name}: GiB of weights", held / 2**30)


def free(setting: Setting) -> None:
    """Give back what earlier engines held."""
    gc.collect()
    if setting.is_cuda:
        torch.cuda.empty_cache()
