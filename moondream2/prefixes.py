"""The prefixes of frames, with a prompt behind each: in units, into a small pool of their own.

For frames that are encoded beside rows, see `beside`.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from moondream2.beside import Encoded
from moondream2.cache import PrefixAttend, PromptsAttend, SlotCache, prefill_in_units
from moondream2.crops import Crops
from moondream2.feeds import embed
from moondream2.model import Moondream
from moondream2.staging import to_device
from moondream2.text import TextModel
from moondream2.tokens import Feed

#: What runs (F, T, W) prefixes through the language model and keeps them in F slots of a pool.
Prefill = Callable[[TextModel, Tensor, SlotCache, Sequence[int]], None]


def encode_in_units(
    model: Moondream,
    frames: Sequence[Crops],
    prompts: Sequence[Sequence[Feed]],
    *,
    chunk: int,
    compiled: Prefill | None,
) -> Iterator[Encoded | None]:
    """Encode frames and read their prompts, pausing after each unit.

    Args:
        model: Ready for inference.
        frames: F, on its device.
        prompts: One for each; all are empty, or it does not matter what is made of an empty one.
        chunk: Most crops in one pass through the encoder.
        compiled: That of the language model, where both passes are compiled: each is then one unit,
            and prompts are not read.

    Yields:
        None at each pause; at the last what came out.
    """
    image = None
    if compiled:
        image = model.vision.encode(frames, chunk=chunk)  # (F, T - 1, W)
        yield None
    else:
        for image in model.vision.encode_in_units(frames, chunk=chunk):  # noqa: B007 - the last
            yield None
    assert image is not None, "the last unit gives the embeddings"
    prefix = model.prefix_embeddings(image)  # (F, T, W)
    if compiled is None and any(prompts):
        yield from _with_prompts(model, prefix, prompts)
        return
    F, T, _ = prefix.shape
    cache = _pool(model, F, T)
    if compiled:
        compiled(model.text, prefix, cache, range(F))
    else:
        for _ in prefill_in_units(model.text, prefix, PrefixAttend(cache, range(F))):
            yield None
    yield Encoded(cache)


def _with_prompts(
    model: Moondream, prefix: Tensor, prompts: Sequence[Sequence[Feed]]
) -> Iterator[Encoded | None]:
    """Run prefixes, (F, T, W), with a prompt behind each, in units."""
    F, T, _ = prefix.shape
    P = max(map(len, prompts))
    padded = [[*prompt, *[0] * (P - len(prompt))] for prompt in prompts]
    tokens = embed(model, [feed for prompt in padded for feed in prompt]).view(F, P, -1)
    x = torch.cat((prefix, tokens), dim=1)  # (F, T + P, W)
    cache = _pool(model, F, T + P)
    attend = PromptsAttend(cache, prefix=T, length=P)
    positions = torch.arange(T + P, device=x.device).expand(F, -1)
    out = None
    for out in model.text.prefill_in_units(x, positions, attend):  # noqa: B007 - the last
        yield None
    assert out is not None, "the last unit gives the output"
    lasts = to_device([max(0, len(prompt) - 1) for prompt in prompts], x.device)
    yield Encoded(cache, out[torch.arange(F, device=x.device), lasts])


def _pool(model: Moondream, frames: int, length: int) -> SlotCache:
    config = replace(model.config.text, max_context=length)
    return SlotCache(config, frames, device=model.device, dtype=model.dtype)
