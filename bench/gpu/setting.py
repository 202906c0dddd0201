"""What all blocks have in common: the device, the model, the frames, and the size of the runs."""

import copy
import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from bench.engine import DEMO, Cost, Machine, Wordless, noise, random_model
from bench.engine import Passes as Counts
from bench.gpu.report import SkippedError
from moondream2.config import public_config
from moondream2.crops import Crops, prepare
from moondream2.decoding import Decoding
from moondream2.fused import can_fuse, fuse_layers
from moondream2.generate import Engine
from moondream2.graphs import CudaRecorder, Recorder, Recording
from moondream2.model import Moondream
from moondream2.tasks import Caption, Event, Finished, Request
from moondream2.tokens import Tokenizer

#: The operator of a GPU in pieces belongs to the tests, which nothing of ours imports.
_VARLEN = "tests.support.varlen"


class CountedRecorder:
    """Records decode steps as the engine would, and counts them.

    Without CUDA, what was recorded is run again at each replay: the same memory in, the same out.

    Args:
        device: Where the steps run.
    """

    def __init__(self, device: torch.device) -> None:
        self._record: Recorder = CudaRecorder(device) if device.type == "cuda" else _again
        self.count = 0

    def __call__(self, run: Callable[[], Tensor]) -> Recording:
        """Record one."""
        self.count += 1
        return self._record(run)


def _again(run: Callable[[], Tensor]) -> Recording:
    output = run()
    return Recording(lambda: output.copy_(run()), output)


@dataclass
class Setting:
    """What is measured, and how much of it."""

    device: torch.device
    #: A demonstration model and short runs: shows that the report works, and nothing of a device.
    is_quick: bool

    @property
    def is_cuda(self) -> bool:
        """There is a CUDA device to measure."""
        return self.device.type == "cuda"

    @property
    def dtype(self) -> torch.dtype:
        """What the model computes in."""
        return torch.bfloat16 if self.is_cuda else torch.float32

    @property
    def slots(self) -> int:
        """Rows at once where the device is to be full."""
        return 3 if self.is_quick else 64

    @property
    def batches(self) -> tuple[int, ...]:
        """Frames that are submitted at once."""
        return (1, 3) if self.is_quick else (1, 2, 4, 8, 16, 32, 64)

    @property
    def tokens(self) -> int:
        """Of a caption."""
        return 4 if self.is_quick else 30

    @property
    def num_steady(self) -> int:
        """Frames of a long run."""
        return 6 if self.is_quick else 256

    @cached_property
    def model(self) -> Moondream:
        """The model as the service has it; nobody changes it."""
        if not can_fuse(self.device, self.dtype):
            return self.plain_model
        model = copy.deepcopy(self.plain_model)
        fuse_layers(model)
        return model

    @cached_property
    def plain_model(self) -> Moondream:
        """The model as its weights are read; nobody changes it."""
        if self.is_quick:
            model = Moondream.load(DEMO, device=self.device, dtype=self.dtype)
            model.text.lm_head.bias[model.config.tokens.eos] = -1e4  # captions of equal length
            return model
        return random_model(public_config(), self.device, self.dtype)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """Of the model."""
        if self.is_quick:
            return Tokenizer.load(DEMO / "tokenizer.json", self.model.config)
        return Wordless(self.model.config)

    @cached_property
    def frame(self) -> Crops:
        """A 1280×720 frame, ready for the model."""
        return self.frames(1)[0]

    @cached_property
    def machine(self) -> Machine:
        """Rates of the device in one large product and one large read."""
        return Machine.probe(self.device, self.dtype, is_rough=self.is_quick)

    @property
    def cost(self) -> Cost:
        """Arithmetic and traffic of the model."""
        return Cost(self.model.config, self.model.dtype.itemsize)

    def frames(self, count: int) -> list[Crops]:
        """Different 1280×720 frames, the same ones at each call."""
        torch.manual_seed(0)
        return [prepare(noise(1280, 720), self.model.config.vision) for _ in range(count)]

    def engine(self, model: Moondream | None = None, **options: Any) -> Engine:
        """Make an engine of the model, with all its slots unless told otherwise."""
        options = {"slots": self.slots} | options
        return Engine(model or self.model, self.tokenizer, **options)

    def counted(self, **options: Any) -> tuple[Engine, Counts, CountedRecorder]:
        """Make an engine whose passes and recordings are counted."""
        counts, recorder = Counts(), CountedRecorder(self.device)
        decoding = self.decoding(lambda: recorder)
        return self.engine(watch=counts, decoding=decoding, **options), counts, recorder

    def decoding(
        self, recorder: Callable[[], Recorder] | None, model: Moondream | None = None
    ) -> Decoding:
        """Decode as the engine would on CUDA, with recordings of one's own; also without CUDA."""
        decoding = Decoding.of(model or self.model)
        if not self.is_cuda:
            varlen = importlib.import_module(_VARLEN).ReadsLengths()
            decoding = Decoding(varlen=varlen, feedback=True)
        return replace(decoding, recorder=recorder)

    def need_cuda(self) -> None:
        """Leave a block that measures CUDA alone.

        Raises:
            SkippedError: There is none.
        """
        if not self.is_cuda:
            raise SkippedError("needs CUDA")


def caption(
    key: str, crops: Crops, tokens: int, rank: tuple[float, ...] = (0.0,), seed: int = 0
) -> Request:
    """Ask for a caption of one frame."""
    return Request(key, rank, crops, (Caption("normal"),), max_tokens=tokens, seed=seed)


def run(engine: Engine, requests: list[Request]) -> list[Event]:
    """Submit all and step to the end."""
    for request in requests:
        engine.submit(request)
    events: list[Event] = []
    while engine.has_work:
        events += engine.step()
    return events


def token_ids(events: list[Event]) -> dict[str, tuple[int, ...]]:
    """The tokens of every caption by its key."""
    return {
        event.key: getattr(event.answers[0], "token_ids", ())
        for event in events
        if isinstance(event, Finished)
    }
