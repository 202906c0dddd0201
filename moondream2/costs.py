"""What a frame costs on this device, in seconds, worked out from a few units of one.

A whole frame takes half a minute on a small machine, which nobody wants to wait for at every start.
All blocks of a network cost the same, so some of each kind tell the rest. The least time of several
counts: what else the machine does while it starts must not look like slowness.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import repeat
from math import inf
from statistics import median

import torch

from moondream2.bags import BagCache
from moondream2.cache import PrefixAttend, RowsAttend, Segment
from moondream2.config import VisionConfig
from moondream2.crops import Crops, tiling
from moondream2.encoding import Clock
from moondream2.model import Moondream
from moondream2.sampling import Picking, Suppression, pick_tokens

#: The frame that estimates are about: height and width of what most cameras send.
FRAME = (720, 1280)
#: Tokens of a caption of normal length, roughly: 25 to 60 were seen.
CAPTION_TOKENS = 40
#: Tokens of its prompt, roughly.
_PROMPT_TOKENS = 8
#: Blocks of a kind that are measured, and passes of tokens.
_NUM_BLOCKS, _NUM_PASSES = 5, 3
#: How much longer than the shortest a unit may be that agrees with it, and seconds spent on a kind.
_AGREE, _LONGEST_S = 1.5, 1.0


@dataclass(frozen=True, slots=True)
class Costs:
    """Seconds of the parts of a frame that has the device to itself."""

    crop_s: float  #: one crop through the encoder
    prefix_s: float  #: projector, prefix and prompt through the language model
    token_s: float  #: one token that is generated

    def frame_s(self, num_crops: int) -> float:
        """Of a frame with a caption of normal length."""
        return num_crops * self.crop_s + self.prefix_s + CAPTION_TOKENS * self.token_s


def num_crops(config: VisionConfig, max_crops: int) -> int:
    """Return how many crops the frame that estimates are about is cut into."""
    rows, columns = tiling(*FRAME, config, max_crops)
    return 1 if rows * columns == 1 else 1 + rows * columns


def choose_max_crops(costs: Costs, config: VisionConfig, target_s: float) -> int:
    """Choose the most local crops with which a frame takes at most `target_s`, at least 1."""
    for most in range(config.max_crops, 1, -1):
        if costs.frame_s(num_crops(config, most)) <= target_s:
            return most
    return 1


@torch.inference_mode()
def measure(model: Moondream, clock: Clock = time.monotonic) -> Costs:
    """Measure on a CPU, in about a third of the time of a frame of one crop."""
    vision, text = model.vision, model.text
    chunk = min(vision.crops_per_pass(), 1 + vision.config.max_crops)
    side = vision.config.crop_size
    pixels = torch.randint(256, (chunk, side, side, 3), dtype=torch.uint8)
    crops = [Crops(pixels, (1, 1), (side, side))]
    encoding = partial(vision.encode_in_units, crops, chunk=chunk)
    crop_s = vision.config.layers * _least(encoding, _NUM_BLOCKS, clock) / chunk

    joined = torch.randn(1, vision.config.tokens, 2 * vision.config.hidden_size).to(model.dtype)
    projecting = partial(map, vision.project, repeat(joined))
    length = text.config.prefix_length
    prefix = torch.randn(1, length, text.config.hidden_size).to(model.dtype)
    cache = BagCache(text.config, 1, dtype=model.dtype)
    attend = PrefixAttend(cache, [0])
    blocks = partial(text.prefill_in_units, prefix, torch.arange(length)[None], attend)
    prefix_s = _least(projecting, _NUM_PASSES, clock)
    # Not the last one, which is only half computed.
    whole = max(1, min(_NUM_BLOCKS, text.config.layers - 1))
    prefix_s += text.config.layers * _least(blocks, whole, clock)

    read = _reader(model)
    prompts = partial(map, read, repeat(_PROMPT_TOKENS))
    tokens = partial(map, read, repeat(1))
    prefix_s += _least(prompts, _NUM_PASSES, clock)
    return Costs(crop_s, prefix_s, _least(tokens, _NUM_PASSES, clock))


def _reader(model: Moondream) -> Callable[[int], None]:
    """Return what reads so many tokens behind a prefix, as one row does."""
    config = model.text.config
    cache = BagCache(config, 1, dtype=model.dtype)
    start = config.prefix_length + _PROMPT_TOKENS
    for layer in range(config.layers):  # what is read has to be there: memory nobody wrote is fast
        shape = (config.kv_heads, start, config.head_dim)
        cache.write(layer, Segment(0, 0, start), torch.ones(shape), torch.ones(shape))
    embedding = torch.randn(1, _PROMPT_TOKENS, config.hidden_size).to(model.dtype)

    suppress = Suppression()

    def read(num: int) -> None:
        attend = RowsAttend(cache, [Segment(0, start, num)])
        hidden = model.text(embedding[:, :num], attend.positions[None], attend)
        logits, stop = model.text.logits(hidden[0, -1:]), model.config.tokens.eos
        pick_tokens(logits, [Picking()], stop, suppress).told()

    return read


def _least(units: Callable[[], Iterator[object]], most: int, clock: Clock) -> float:
    """Return the shortest of some units, in seconds.

    The first ones, again and again until most agree or a second is spent: where the machine is busy
    with something else, each can take many times as long as it would. Not all: the first of an
    encoding embeds the patches too, and is always longer.
    """
    least, spent = inf, 0.0
    while True:
        times = []
        begin = clock()
        for _, _unit in zip(range(most), units(), strict=False):
            now = clock()
            times.append(now - begin)
            begin = now
        least, spent = min(least, *times), spent + sum(times)
        if median(times) < _AGREE * least or spent > _LONGEST_S:
            return least
