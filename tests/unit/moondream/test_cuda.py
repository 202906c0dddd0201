"""What only pays on CUDA. Tests marked `gpu` compare a device with the CPU."""

import pytest
import torch

from service.moondream.cache import RowsAttend, Segment, SlotCache
from service.moondream.config import MoondreamConfig
from service.moondream.crops import prepare
from service.moondream.cuda import SlotsAttend, compile_vision, stage
from service.moondream.generate import Engine
from service.moondream.model import Moondream
from service.moondream.tasks import Answer, Caption, Detect, Query, Request
from tests.unit.moondream.checkpoints import ODD_SHAPE
from tests.unit.moondream.generation import (
    answers,
    discrete,
    odd_engine,
    odd_model,
    picture,
    request,
    run,
    tokenizer_for,
)

CPU = torch.device("cpu")
gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def _cache() -> SlotCache:
    config = MoondreamConfig.from_json(ODD_SHAPE).text
    cache = SlotCache(config, 4, device=CPU, dtype=torch.float32)
    draw = torch.Generator().manual_seed(0)
    for pool in (cache.keys, cache.values):
        pool.copy_(torch.randn(pool.shape, generator=draw))
    return cache


def test_first_slots_together_equal_rows_packed() -> None:
    """The attention of replayed steps, which runs on any device, and that of the others."""
    lengths = torch.tensor([[7], [0], [30]])
    q, k, v = (torch.randn(3, heads, 1, 8) for heads in (6, 2, 2))
    together = SlotsAttend(_cache(), lengths, 64)(1, q, k, v)
    segments = [Segment(slot, int(length), 1) for slot, length in enumerate(lengths)]
    packed = RowsAttend(_cache(), segments)(1, *(each.permute(2, 1, 0, 3) for each in (q, k, v)))
    torch.testing.assert_close(together, packed.permute(2, 1, 0, 3))


def test_first_slots_write_one_position_each() -> None:
    before, after = _cache(), _cache()
    k = torch.ones(2, 2, 1, 8)
    SlotsAttend(after, torch.tensor([[7], [9]]), 64)(1, torch.ones(2, 6, 1, 8), k, k)
    changed = (before.keys != after.keys).nonzero()[:, [0, 1, 3]]  # layer, slot, position
    assert {tuple(place) for place in changed.tolist()} == {(1, 0, 7), (1, 1, 9)}


def test_stage_leaves_frames_of_a_cpu_alone() -> None:
    crops = prepare(picture(), odd_model().config.vision)
    assert stage(crops, CPU) is crops


def _requests(model: Moondream) -> list[Request]:
    tasks = (Caption("short"), Detect("w30"), Query("w40", reasoning=True))
    frames = [request(model, str(seed), *tasks, seed=seed) for seed in range(6)]
    return [*frames, Request("bare", (0.0,), None, (Query("w33"),), max_tokens=12)]


def _discrete(found: dict[str, tuple[Answer, ...]]) -> dict[str, list[object]]:
    return {key: [discrete(answer) for answer in group] for key, group in found.items()}


def _on_device(**options: object) -> dict[str, list[object]]:
    model = odd_model().to("cuda")
    engine = Engine(model, tokenizer_for(model.config), slots=5, **options)  # type: ignore[arg-type]
    requests = _requests(model)
    for each in requests[:2]:
        engine.submit(each)
    events = [event for _ in range(3) for event in engine.step()]
    return _discrete(answers([*events, *run(engine, requests[2:])]))


@pytest.mark.parametrize("graphs", [pytest.param(on, marks=gpu) for on in (False, True)])
def test_device_answers_as_cpu(graphs: bool) -> None:
    expected = _discrete(answers(run(odd_engine(slots=1), _requests(odd_model()))))
    assert _on_device(graphs=graphs) == expected


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
def test_staged_frame_is_on_the_device(device: str) -> None:
    crops = prepare(picture(), odd_model().config.vision)
    staged = stage(crops, torch.device(device))
    assert staged.pixels.device.type == "cuda"
    assert torch.equal(staged.pixels.cpu(), crops.pixels)


@pytest.mark.parametrize("device", [pytest.param("cuda", marks=gpu)])
def test_compiled_encoder_answers_alike(device: str) -> None:
    model = odd_model().to(device)
    frames = [prepare(picture(0, *size), model.config.vision) for size in ((90, 80), (260, 130))]
    plain = model.vision.encode(frames)
    compile_vision(model)
    torch.testing.assert_close(model.vision.encode(frames), plain, rtol=1e-3, atol=1e-3)
