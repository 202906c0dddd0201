"""Whether the device computes what the model means: recorded answers, formats, graphs, company."""

import copy
import importlib
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor

from bench.engine import DEMO
from bench.gpu.report import Note
from bench.gpu.setting import CountedRecorder, Setting, caption, run, token_ids
from demo.scenes.render import render
from demo.scenes.scene import EVALUATION_SEEDS, draw_scene
from moondream2.crops import Crops, prepare
from moondream2.generate import Engine
from moondream2.model import Moondream
from moondream2.tasks import Finished
from moondream2.tokens import Tokenizer

#: The recorded answers and their checks belong to the tests, which nothing of ours imports; that
#: they hold on a new device is asked here too.
_REFERENCE = "tests.support.reference"
#: Images of one crop, for a quick look.
_SMALL = (5,)


def measure_parity(setting: Setting, note: Note) -> None:
    """Compare with recorded answers, and the paths of the engine with each other."""
    _fixture(setting, note)
    _trained(setting, note)
    full = setting.model
    precise = copy.deepcopy(full).float()
    frames = setting.frames(2 if setting.is_quick else 16)
    _logits(setting, precise, frames, note)
    _paths(setting, precise, frames, "float32", note)
    del precise
    if setting.dtype != torch.float32:
        _paths(setting, full, frames, str(setting.dtype).removeprefix("torch."), note)


def _fixture(setting: Setting, note: Note) -> None:
    """Answer everything that is recorded of the reference, packed and replayed, in float32."""
    reference = importlib.import_module(_REFERENCE)
    cases = [case for case in reference.cases() if not setting.is_quick or case.image in _SMALL]
    model = Moondream.load(reference.FIXTURES, device=setting.device, dtype=torch.float32)
    wrong: list[str] = []
    for is_replayed in (False, True):
        recorder = partial(CountedRecorder, setting.device)
        decoding = setting.decoding(recorder, model) if is_replayed else None
        engine = Engine(
            model,
            reference.tokenizer(),
            slots=7,
            graphs=is_replayed,
            decoding=decoding,
        )
        requests, groups = reference.grouped(cases)
        events = run(engine, requests)
        found = {event.key: event.answers for event in events if isinstance(event, Finished)}
        for key, group in groups.items():
            for index, case in enumerate(group):
                try:
                    reference.check(case, found[key][index])
                except (AssertionError, KeyError):
                    wrong.append(f"{case.name} {'replayed' if is_replayed else 'packed'}")
    num = 2 * len(cases)
    note("recorded answers equal in float32", (num - len(wrong)) / num, is_shown=True)
    note("recorded answers", num)
    if wrong:
        note("answers that differ", ", ".join(wrong)[:300], is_shown=True)


def _trained(setting: Setting, note: Note) -> None:
    """Caption drawn scenes with the demonstration model, which was trained, in both formats."""
    precise = Moondream.load(DEMO, device=setting.device, dtype=torch.float32)
    coarse = Moondream.load(DEMO, device=setting.device, dtype=torch.bfloat16)
    tokenizer = Tokenizer.load(DEMO / "tokenizer.json", precise.config)
    frames = [
        prepare(render(draw_scene(EVALUATION_SEEDS + index)), precise.config.vision)
        for index in range(2 if setting.is_quick else 128)
    ]
    answers = [
        token_ids(
            run(
                Engine(model, tokenizer, slots=2 if setting.is_quick else 32),
                [
                    caption(str(index), crops, 8 if setting.is_quick else 60)
                    for index, crops in enumerate(frames)
                ],
            )
        )
        for model in (precise, coarse)
    ]
    note("trained model: bfloat16 captions as in float32", _equal(*answers), is_shown=True)


def _logits(setting: Setting, precise: Moondream, frames: list[Crops], note: Note) -> None:
    """Compare the scores of first tokens in bfloat16 with those in float32."""
    # Of equal weights, so that only the arithmetic differs.
    coarse = copy.deepcopy(precise).to(torch.bfloat16)
    exact, rounded = (_first_logits(setting, model, frames) for model in (precise, coarse))
    apart = (exact - rounded).abs() / exact.std()
    is_same = exact.argmax(-1) == rounded.argmax(-1)
    note("bfloat16 first tokens as in float32", float(is_same.float().mean()), is_shown=True)
    note("bfloat16 logits apart, mean / std", float(apart.mean()), is_shown=True)
    note("bfloat16 logits apart, most / std", float(apart.max()), is_shown=True)


def _first_logits(setting: Setting, model: Moondream, frames: Sequence[Crops]) -> Tensor:
    """Scores of the first token of each frame, alone: (F, vocabulary)."""
    engine = setting.engine(model, slots=1, graphs=False)
    outputs: list[Tensor] = []
    hook = model.text.lm_head.register_forward_hook(
        lambda _module, _inputs, output: outputs.append(output.float().cpu())
    )
    firsts = []
    for index, crops in enumerate(frames):
        outputs.clear()
        run(engine, [caption(str(index), crops, 1)])
        firsts.append(outputs[0][0])
    hook.remove()
    scores = torch.stack(firsts)
    scores[:, model.config.tokens.eos] = 0  # is put far away, so that captions go on
    return scores


def _paths(setting: Setting, model: Moondream, frames: list[Crops], kind: str, note: Note) -> None:
    """Answer the same frames alone, packed together, and replayed together with others."""
    # Slots of four bytes a value are twice as large, and two models are held besides.
    slots = min(setting.slots, 32) if model.dtype == torch.float32 else setting.slots
    wanted = [caption(str(index), crops, 16) for index, crops in enumerate(frames)]
    others = [
        caption(f"other {index}", frames[index % len(frames)], 24, rank=(1.0,))
        for index in range(slots - len(wanted))
    ]
    alone = setting.engine(model, slots=1, graphs=False)
    single = token_ids([event for each in wanted for event in run(alone, [each])])
    del alone
    packed = token_ids(run(setting.engine(model, slots=slots, graphs=False), wanted + others))
    recorder = CountedRecorder(setting.device)
    decoding = setting.decoding(lambda: recorder, model)
    engine = setting.engine(model, slots=slots, decoding=decoding)
    replayed = token_ids(run(engine, wanted + others))
    is_shown = {"is_shown": True}
    note(f"{kind}: replayed as packed, captions", _equal(packed, replayed), **is_shown)
    note(f"{kind}: in a full batch as alone, captions", _equal(single, replayed), **is_shown)
    note(f"{kind}: in a full batch as alone, tokens in front", _alike(single, replayed))


def _equal(one: dict[str, tuple[int, ...]], other: dict[str, tuple[int, ...]]) -> float:
    """Share of equal captions among those in both."""
    keys = one.keys() & other.keys()
    return sum(one[key] == other[key] for key in keys) / max(1, len(keys))


def _alike(one: dict[str, tuple[int, ...]], other: dict[str, tuple[int, ...]]) -> float:
    """Mean share of tokens before the first that differs."""
    shares = []
    for key in one.keys() & other.keys():
        pairs = list(zip(one[key], other[key], strict=False))
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), len(pairs))
        shares.append(first / max(1, len(pairs)))
    return sum(shares) / max(1, len(shares))
