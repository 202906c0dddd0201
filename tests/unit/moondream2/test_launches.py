"""How much is launched for a frame and for a token of the public model, in bfloat16."""

from collections.abc import Callable, Iterator, Sequence
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
from moondream2.decoding import Decoding
from moondream2.feeds import Picked, Readable
from moondream2.graphs import DecodeGraphs, Recording, SlotsAttend
from moondream2.model import Moondream
from moondream2.passes import Passes, Reading
from moondream2.sampling import Picking, Picks
from moondream2.text import Attend
from moondream2.varlen import LengthsAttend, flash
from tests.support.generation import RunsAgain
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


def _step(model: Moondream, make: Callable[[], Attend], rows: int, num_read: int) -> Launches:
    """Launch a token of each row, whose attention reads a number of positions if it may."""
    config = model.config.text
    position = 2 * config.kv_heads * config.head_dim * 2  # bytes of keys and values of a layer
    # Keys or values of a token go in and out; queries and results are as large.
    moved = rows * position
    parts = {"index_put_": moved, "_flash_attention_forward": num_read * position + moved}
    positions = torch.empty(rows, 1, dtype=torch.long, device=META)
    x = _embeddings(model, rows, 1)
    launches = Launches(parts)
    with launches:
        model.text(x, positions, make())
    return launches


@pytest.mark.parametrize(
    ("lengths", "rows", "context", "gigabytes"),
    [
        pytest.param([750] * 64, 64, 768, (12.4, 12.2), id="captions"),
        pytest.param([750] * 40, 64, 768, (12.4, 8.7), id="captions in some slots"),
        pytest.param([750] * 63 + [1100], 64, 1280, (18.9, 12.3), id="one long answer"),
    ],
)
def test_step_that_reads_lengths_launches_as_much_and_reads_less(
    model: Moondream,
    lengths: list[int],
    rows: int,
    context: int,
    gigabytes: tuple[float, float],
) -> None:
    """Idle slots below the highest, and a context as long as the longest, cost nothing."""
    pool = _pool(model, rows)
    model.text.rotary.on(META)
    places = torch.empty(rows, 1, dtype=torch.long, device=META)
    num_read = sum(lengths) + rows - len(lengths)
    masked = _step(model, lambda: SlotsAttend(pool, places, context), rows, 0)
    own = _step(model, lambda: LengthsAttend(pool, places, places[:, 0], flash), rows, num_read)
    assert masked.count == own.count == 437
    assert tuple(round(each.bytes / 1e9, 1) for each in (masked, own)) == gigabytes


def test_slot_is_cleared_only_where_contexts_are_fixed(model: Moondream) -> None:
    config = replace(model.config, text=replace(model.config.text, layers=2))
    with META:
        small = Moondream(config).to(torch.bfloat16)
    found = []
    for varlen in (None, flash):
        graphs = DecodeGraphs(small.text, _pool(small, 1), RunsAgain(), varlen)
        with Launches() as launches:
            graphs.clear(0, 735)
        found.append((launches.count, 12 * launches.bytes // 10**6))  # of 24 layers
    assert found == [(2, 258), (0, 0)]


def test_token_that_is_read_where_it_was_picked_needs_little_from_the_host(
    model: Moondream,
) -> None:
    """Around a recorded step; 21 launches, 6 of them copies to the device, when it was told."""
    rows = 4
    suppressed = model.config.tokens.answer
    assert suppressed is not None
    passes = Passes(model, decoding=Decoding(lambda: _keeps, flash, feedback=True))
    assert passes.resize(rows)
    picking = [Picking(suppressed=(suppressed,))] * rows

    def step(feeds: Sequence[Readable]) -> Picks:
        readings = [Reading(slot, 750, (feed,)) for slot, feed in enumerate(feeds)]
        return passes.heads.tokens(passes.read(readings, dict.fromkeys(range(rows), 750)), picking)

    picks = step([7] * rows)  # and the mask is there
    with Launches() as launches:
        step([Picked(picks, index) for index in range(rows)])
    # Copies are seen by the tensors they are made of: positions, and the slots of the rows.
    assert (launches.count, launches.calls["detach_"]) == (13, 2)


def _keeps(run: Callable[[], Tensor]) -> Recording:
    """Record like a graph whose replays are one launch."""
    return Recording(lambda: None, run())
