"""Frames encoded in parts: the same bits wherever they are cut, and the urgent go first."""

import random
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from moondream2.bags import BagCache
from moondream2.cache import SlotCache, prefill
from moondream2.crops import Crops, prepare
from moondream2.encoding import Encoding
from moondream2.generate import Engine
from moondream2.int8 import can_shrink, shrink_linears
from moondream2.model import Moondream
from moondream2.tasks import Event, Finished, Request, Resized, Started
from tests.support.generation import (
    answers,
    discrete,
    odd_engine,
    odd_model,
    picture,
    request,
    run,
)

EXACT = odd_model(eos=-1000.0)
CHUNK = 2
LARGE, SMALL = (260, 130), (90, 80)


class Ticks:
    """A clock that moves by one second whenever it is read, so by one second a unit."""

    def __init__(self) -> None:
        self._now = 0.0

    def __call__(self) -> float:
        self._now += 1.0
        return self._now


def _models() -> dict[str, Moondream]:
    found = {"float32": EXACT}
    if can_shrink():
        found["int8"] = odd_model(eos=-1000.0)
        shrink_linears(found["int8"])
    return found


MODELS = _models()


def _crops(size: tuple[int, int], seed: int = 0) -> Crops:
    return prepare(picture(seed, *size), EXACT.config.vision)


def _pool(model: Moondream) -> SlotCache:
    return BagCache(model.config.text, 2, dtype=model.dtype)


def _held(model: Moondream, pool: SlotCache, slot: int) -> list[Tensor]:
    """Return the prefix that lies in a slot."""
    length = model.config.text.prefix_length
    keys = pool.keys[:, slot].transpose(-1, -2).flatten(2, 3)[:, :, :length]
    return [keys.clone(), pool.values[:, slot, :, :length].clone()]


def _whole(model: Moondream, crops: Crops) -> list[Tensor]:
    pool = _pool(model)
    images = model.vision.encode([crops], chunk=CHUNK)
    prefill(model.text, model.prefix_embeddings(images), pool, [0])
    return _held(model, pool, 0)


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("size", [LARGE, SMALL])
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 1 << 32))
@torch.inference_mode()
def test_frame_in_parts_is_the_same_bit_for_bit(
    kind: str, size: tuple[int, int], seed: int
) -> None:
    """Cut at random places, with slots that are lost on the way, and another frame between."""
    draw, model = random.Random(seed), MODELS[kind]
    frames = [_crops(size, 0), _crops(SMALL, 1)]
    pools = [_pool(model), _pool(model)]
    encodings = [Encoding(model, crops, chunk=CHUNK, clock=Ticks()) for crops in frames]
    slots, waiting = [0, 0], [0, 1]
    while waiting:
        index = draw.choice(waiting)
        if draw.random() < 0.05:
            encodings[index].leave_slot()
            slots[index] ^= 1
        limit_s = draw.choice((0.0, 3.0, 10.0))
        if encodings[index].advance(pools[index], slots[index], limit_s):
            waiting.remove(index)
    for crops, pool, slot in zip(frames, pools, slots, strict=True):
        found = _held(model, pool, slot)
        assert all(map(torch.equal, found, _whole(model, crops)))


@torch.inference_mode()
def test_part_ends_before_the_unit_that_would_pass_the_limit() -> None:
    layers = EXACT.config.vision.layers, EXACT.config.text.layers
    num_units = layers[0] + 1 + layers[1]  # of one crop: blocks, projector, blocks
    for limit_s, units_each in ((0.0, 1), (1.0, 1), (4.0, 4)):
        encoding, pool = Encoding(EXACT, _crops(SMALL), clock=Ticks()), _pool(EXACT)
        num_parts = 1
        while not encoding.advance(pool, 0, limit_s):
            num_parts += 1
        assert num_parts == 1 + num_units // units_each


def _engine(**options: Any) -> Engine:
    """Return an engine that does one unit a step."""
    return odd_engine(EXACT, max_batch_crops=CHUNK, encode_limit_s=0.0, clock=Ticks(), **options)


def _events(requests: Iterable[Request], **options: Any) -> list[Event]:
    return run(_engine(**options), requests)


def _found(events: Iterable[Event]) -> dict[str, list[object]]:
    return {key: [discrete(answer) for answer in group] for key, group in answers(events).items()}


def _keys(events: Iterable[Event], kind: type) -> list[str]:
    return [getattr(event, "key", "") for event in events if isinstance(event, kind)]


def test_frames_in_parts_get_the_answers_of_whole_ones() -> None:
    frames = [request(EXACT, str(seed), seed=seed, size=LARGE) for seed in range(3)]
    whole = run(odd_engine(EXACT, slots=3, max_batch_crops=CHUNK), frames)
    for slots in (1, 3):
        assert _found(_events(frames, slots=slots)) == _found(whole)


@pytest.mark.parametrize("slots", [1, 2])
def test_critical_frame_starts_with_the_next_step_and_ends_first(slots: int) -> None:
    """Whatever is being encoded waits, with what is done of it, and goes on afterwards."""
    low = request(EXACT, "low", rank=(2.0,), seed=1, size=LARGE)
    critical = request(EXACT, "critical", rank=(0.0,), seed=2)
    engine = _engine(slots=slots)
    engine.submit(low)
    events = [event for _ in range(5) for event in engine.step()]
    engine.submit(critical)
    events += engine.step()
    assert _keys(events, Started) == ["low", "critical"]
    events += run(engine)
    assert _keys(events, Finished) == ["critical", "low"]
    alone = [run(odd_engine(EXACT, slots=1), [each]) for each in (low, critical)]
    assert _found(events) == _found(alone[0]) | _found(alone[1])


def test_crops_that_are_encoded_are_not_encoded_again() -> None:
    """A frame that lost its slot needs as many steps as one that did not."""
    low = request(EXACT, "low", rank=(2.0,), size=LARGE, max_tokens=1)
    critical = request(EXACT, "critical", rank=(0.0,), max_tokens=1)

    def num_steps(*requests: Request) -> int:
        engine = _engine(slots=1)
        steps = 0
        for each in requests:
            engine.submit(each)
            for _ in range(5):
                engine.step()
                steps += 1
        while engine.has_work:
            engine.step()
            steps += 1
        return steps

    assert num_steps(low, critical) == num_steps(low) + num_steps(critical)


def test_inside_a_class_one_frame_after_the_other() -> None:
    """An earlier rank does not take over, so only one frame of a class is half encoded."""
    engine = _engine(slots=2)
    engine.submit(request(EXACT, "begun", rank=(1.0, 9.0), size=LARGE))
    engine.step()
    engine.submit(request(EXACT, "earlier", rank=(1.0, 3.0)))
    events = run(engine)
    assert _keys(events, Started) == ["earlier"]
    assert _keys(events, Finished)[-1] == "earlier"


def test_rows_of_the_same_class_generate_between_the_parts() -> None:
    engine = _engine(slots=2)
    events = run(engine, [request(EXACT, "a", max_tokens=4), request(EXACT, "b", size=LARGE)])
    assert events.index(next(e for e in events if isinstance(e, Finished))) < len(events) - 10


def test_cancelled_frame_leaves_its_slot_and_the_next_one_begins() -> None:
    engine = _engine(slots=1)
    engine.submit(request(EXACT, "a", size=LARGE))
    engine.submit(request(EXACT, "b", seed=1))
    for _ in range(4):
        engine.step()
    assert engine.cancel("a")
    events = run(engine)
    assert _keys(events, Finished) == ["b"]
    assert _found(events) == _found(run(odd_engine(EXACT), [request(EXACT, "b", seed=1)]))


@pytest.mark.parametrize("number", [1, 4, 30])
def test_want_of_memory_begins_anew(number: int) -> None:
    num_passes = 0

    def fail(kind: str, _size: int) -> None:
        nonlocal num_passes
        num_passes += kind == "encode"
        if num_passes == number:
            num_passes += 1
            raise torch.OutOfMemoryError("injected")

    frames = [request(EXACT, str(seed), seed=seed, size=LARGE) for seed in range(2)]
    events = _events(frames, slots=2, watch=fail)
    assert [event.capacity for event in events if isinstance(event, Resized)] == [1]
    assert _found(events) == _found(run(odd_engine(EXACT), frames))


def test_timings_of_a_frame_in_parts_add_up() -> None:
    (finished,) = (e for e in _events([request(EXACT, "a")]) if isinstance(e, Finished))
    assert finished.timings.encode_seconds > 10  # of the clock that moves with each unit
    assert finished.timings.steps > 12
