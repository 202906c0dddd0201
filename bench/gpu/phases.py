"""Where the time of a frame goes, pass by pass, and what each pass launches."""

from collections.abc import Callable

import torch

from bench.gpu.report import Note
from bench.gpu.setting import CountedRecorder, Setting
from bench.gpu.timing import profiled, timed
from moondream2.feeds import Picked
from moondream2.passes import Passes, Reading
from moondream2.sampling import Picking

_PROMPT = (1, 2, 3, 4, 5)  # as long as that of a caption
#: Frames that are encoded together on a GPU.
_TOGETHER = 2


def measure_phases(setting: Setting, note: Note) -> None:
    """Time the passes one by one and hold them against the floor of their arithmetic."""
    recorder = CountedRecorder(setting.device)
    passes = Passes(setting.model, decoding=setting.decoding(lambda: recorder))
    passes.resize(setting.slots)
    note("recordings at the start", recorder.count)
    with torch.inference_mode():
        _encoding(setting, passes, 1 if setting.is_quick else _TOGETHER, note)
        for rows in (1, setting.slots):
            _generating(setting, passes, rows, note)


def _encoding(setting: Setting, passes: Passes, together: int, note: Note) -> None:
    """A frame into its slot: encoder, projector and pooling, prefix."""
    model, device = setting.model, setting.device
    frames = [passes.stage(setting.frame) for _ in range(together)]
    crops = sum(map(len, frames))
    config = model.config

    def encode() -> None:
        passes.encode(frames, list(range(together)), max_crops=36)

    repeats = 5 if setting.is_cuda else 1
    whole = timed(encode, device, repeats) / together
    vision = timed(lambda: model.vision.encode(frames), device, repeats) / together
    size = config.vision.crop_size
    pixels = torch.randn(crops, 3, size, size, device=device).to(model.dtype)
    tower = timed(lambda: model.vision(pixels), device, repeats) / together
    floor = setting.cost.encode_flops(crops, together) / setting.machine.flops / together
    note("encode, ms a frame", whole * 1000, is_shown=True)
    note("of that the encoder's blocks", tower * 1000, is_shown=True)
    note("of that pooling and projector", max(0.0, vision - tower) * 1000, is_shown=True)
    note("of that the prefix", max(0.0, whole - vision) * 1000, is_shown=True)
    note("encode, share of the floor", floor / whole, is_shown=True)
    note("staging, ms a frame", timed(lambda: passes.stage(setting.frame), device) * 1000)
    _launches("encode", encode, setting, note)


def _generating(setting: Setting, passes: Passes, rows: int, note: Note) -> None:
    """One token of each row, and the prompts before it."""
    device, config = setting.device, setting.model.config.text
    start = config.prefix_length + len(_PROMPT)
    for slot in range(rows):
        passes.begin(slot, config.prefix_length, 0 if slot else None)
    prompts = [Reading(slot, config.prefix_length, _PROMPT) for slot in range(rows)]
    singles = [Reading(slot, start, (7,)) for slot in range(rows)]
    picking = [Picking()] * rows
    begun = dict.fromkeys(range(rows), config.prefix_length)
    generating = dict.fromkeys(range(rows), start)

    def step() -> None:
        passes.heads.tokens(passes.read(singles, generating), picking).told()

    picks = passes.heads.tokens(passes.read(singles, generating), picking)

    def step_on() -> None:
        nonlocal picks
        feeds = [Picked(picks, index) for index in range(rows)]
        own = [Reading(slot, start, (feed,)) for slot, feed in enumerate(feeds)]
        picks = passes.heads.tokens(passes.read(own, generating), picking)

    repeats = 10 if setting.is_cuda else 2
    prompt = timed(lambda: passes.read(prompts, begun), device, repeats)
    read = timed(lambda: passes.read(singles, generating), device, repeats)
    whole = timed(step, device, repeats)
    fed_back = timed(step_on, device, repeats)
    cost, machine = setting.cost, setting.machine
    floor = max(
        cost.decode_bytes(rows, start) / machine.bytes_per_s,
        cost.decode_flops(rows, start) / machine.flops,
    )
    note(f"prompts of {rows} rows, ms", prompt * 1000, is_shown=True)
    note(f"token of {rows} rows, ms", whole * 1000, is_shown=True)
    note(f"token of {rows} rows, read where it was picked, ms", fed_back * 1000, is_shown=True)
    note(f"of that the replayed step, {rows} rows", read * 1000)
    note(f"token of {rows} rows, share of the floor", floor / whole, is_shown=True)
    _launches(f"prompts of {rows} rows", lambda: passes.read(prompts, begun), setting, note)
    _launches(f"token of {rows} rows", step, setting, note)


def _launches(name: str, work: Callable[[], object], setting: Setting, note: Note) -> None:
    seen = profiled(work, setting.device)
    note(f"{name}: launches", seen.num_launches)
    note(f"{name}: kernels", seen.num_kernels)
    note(f"{name}: attention by", ", ".join(seen.attention) or "no kernel of that name")
