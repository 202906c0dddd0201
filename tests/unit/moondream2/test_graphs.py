"""Replayed decode steps: their arithmetic on any device, CUDA graphs where there is one."""

from collections.abc import Iterator

import pytest
import torch

from moondream2.cache import RowsAttend, Segment, SlotCache
from moondream2.config import MoondreamConfig
from moondream2.generate import Engine, NotANumberError
from moondream2.graphs import DecodeGraphs, SlotsAttend
from moondream2.model import Moondream
from moondream2.tasks import Answer, Caption, Detect, Failed, Query, Request
from tests.support.checkpoints import ODD_SHAPE
from tests.support.generation import (
    RunsAgain,
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
)

CPU = torch.device("cpu")


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


@pytest.fixture
def numbers_nobody_wrote() -> Iterator[None]:
    """Make new memory hold no numbers, as memory of earlier users of a device may."""
    torch.use_deterministic_algorithms(True)  # which fills what `torch.empty` returns
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("numbers_nobody_wrote")
def test_replayed_steps_answer_as_packed_ones() -> None:
    """Rows of every skill join and leave, slots are idle, prompts are read beside replays."""
    model = odd_model()
    expected = _discrete(answers(run(odd_engine(model, slots=1), _requests(model))))
    engine = odd_engine(model, slots=5, recorder=RunsAgain)
    assert _discrete(_staggered(engine)) == expected


@pytest.mark.usefixtures("numbers_nobody_wrote")
def test_row_that_went_wrong_does_not_spoil_the_next_user_of_its_slot() -> None:
    model = odd_model()
    good = request(model, "good", Detect("w30"))
    expected = _discrete(answers(run(odd_engine(model), [good])))
    engine = odd_engine(model, slots=1, recorder=RunsAgain)
    weight = model.text.wte[11].clone()
    model.text.wte[11] = torch.nan
    (failed,) = (
        each
        for each in run(engine, [request(model, "bad", Query("w11"))])
        if isinstance(each, Failed)
    )
    assert isinstance(failed.error, NotANumberError)
    model.text.wte[11] = weight
    assert _discrete(answers(run(engine, [good]))) == expected


def test_steps_are_recorded_once_for_each_size() -> None:
    model = odd_model(eos=-1000.0)
    recorders: list[RunsAgain] = []

    def recorder() -> RunsAgain:
        recorders.append(RunsAgain())
        return recorders[-1]

    engine = odd_engine(model, slots=4, recorder=recorder, max_batch_crops=99)
    for _ in range(2):
        run(engine, [request(model, str(seed), seed=seed) for seed in range(4)])
    assert [each.num_recordings for each in recorders] == [1]
    run(engine, [request(model)])
    assert [each.num_recordings for each in recorders] == [2]


def test_recorded_step_reads_nothing_back_and_stays_on_its_device() -> None:
    """What would stop a capture fails on a device that has shapes and no numbers."""
    config = MoondreamConfig.from_json(ODD_SHAPE)
    meta = torch.device("meta")
    with meta:
        model = Moondream(config)
    cache = SlotCache(config.text, 4, device=meta, dtype=torch.float32)
    graphs = DecodeGraphs(model.text, cache, RunsAgain())
    width = config.text.hidden_size
    with torch.inference_mode():
        hidden = graphs.read(torch.empty(2, width, device=meta), [0, 2], {0: 20, 1: 3, 2: 40})
    assert hidden.device == meta
    assert hidden.shape == (2, width)


def _requests(model: Moondream) -> list[Request]:
    tasks = (Caption("short"), Detect("w30"), Query("w40", reasoning=True))
    frames = [request(model, str(seed), *tasks, seed=seed) for seed in range(6)]
    return [*frames, Request("bare", (0.0,), None, (Query("w33"),), max_tokens=12)]


def _discrete(found: dict[str, tuple[Answer, ...]]) -> dict[str, list[object]]:
    return {key: [discrete(answer) for answer in group] for key, group in found.items()}


def _staggered(engine: Engine) -> dict[str, tuple[Answer, ...]]:
    """Answer `_requests`, most of which come when the first are under way."""
    requests = _requests(engine.model)
    for each in requests[:2]:
        engine.submit(each)
    events = [event for _ in range(3) for event in engine.step()]
    return answers([*events, *run(engine, requests[2:])])


@pytest.mark.parametrize("options", [{"graphs": False}, {}, {"compiled": True}])
@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.timeout(600)
def test_device_answers_as_cpu(options: dict[str, bool]) -> None:
    expected = _discrete(answers(run(odd_engine(slots=1), _requests(odd_model()))))
    engine = odd_engine(odd_model().to("cuda"), slots=5, **options)
    assert _discrete(_staggered(engine)) == expected
