"""How much is launched for a frame and for a token of the public model, in bfloat16."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from moondream2.cache import (
    PromptsAttend,
    RowsAttend,
    Segment,
    SlotCache,
    prefill,
)
from moondream2.config import public_config
from moondream2.crops import Crops
from moondream2.model import Moondream
from tests.support.launches import META, Launches

#: A pass of three frames of 1280×720: nine crops each, and the prompt of a caption.
FRAMES, CROPS, PROMPT = 3, 9, 5


@pytest.fixture(scope="module")
def model() -> Moondream:
    with META:
        return Moondream(public_config()).to(torch.bfloat16).eval()


@pytest.fixture(autouse=True)
def _inference() -> Iterator[None]:
    with torch.inference_mode():
        yield


def _pool(model: Moondream, slots: int) -> SlotCache:
    return SlotCache(model.config.text, slots, device=META, dtype=torch.bfloat16)


def _prefixes(model: Moondream) -> SlotCache:
    config = replace(model.config.text, max_context=model.config.text.prefix_length)
    return SlotCache(config, FRAMES, device=META, dtype=torch.bfloat16)


def _frames(model: Moondream) -> list[Crops]:
    side = model.config.vision.crop_size
    pixels = torch.empty(CROPS, side, side, 3, dtype=torch.uint8, device=META)
    return [Crops(pixels, (2, 4), (1280, 720))] * FRAMES


def test_frames_encoded_in_units_launch_what_whole_ones_do(model: Moondream) -> None:
    frames = _frames(model)
    model.vision.encode(frames)  # makes the map of pooling
    with Launches() as whole:
        model.vision.encode(frames)
    with Launches() as units:
        num_units = len(list(model.vision.encode_in_units(frames)))
    assert num_units == 28
    assert (units.calls, units.bytes) == (whole.calls, whole.bytes)
    assert whole.count == 288


def test_prefix_is_copied_to_its_slot_in_two_launches(model: Moondream) -> None:
    pool, prefixes = _pool(model, 4), _prefixes(model)
    with Launches() as launches:
        pool.take_prefix(prefixes, 1, 2)
    assert (launches.count, launches.bytes >> 20) == (2, 273)  # read and written


def _embeddings(model: Moondream, *shape: int) -> Tensor:
    return torch.empty(*shape, model.config.text.hidden_size, device=META, dtype=torch.bfloat16)


def test_prompts_read_with_their_frames_save_their_own_pass(model: Moondream) -> None:
    """The weights of the language model are read once less for each pass of frames."""
    length = model.config.text.prefix_length
    model.text.rotary.on(META)
    pool = _pool(model, FRAMES)
    with Launches() as frames:
        prefill(model.text, _embeddings(model, FRAMES, length), pool, range(FRAMES))
    with Launches() as prompts:
        attend = RowsAttend(pool, [Segment(slot, length, PROMPT) for slot in range(FRAMES)])
        x = _embeddings(model, 1, FRAMES * PROMPT)
        model.text(x, attend.positions[None], attend)
    both = _embeddings(model, FRAMES, length + PROMPT)
    positions = torch.arange(length + PROMPT, device=META).expand(FRAMES, -1)
    with Launches() as together:
        attend_both = PromptsAttend(pool, prefix=length, length=PROMPT)
        for _ in model.text.prefill_in_units(both, positions, attend_both):
            pass
    assert (frames.count, prompts.count, together.count) == (429, 657, 483)
    megabytes = [each.bytes // 10**6 for each in (frames, prompts, together)]
    assert megabytes == [14572, 2936, 15580]
