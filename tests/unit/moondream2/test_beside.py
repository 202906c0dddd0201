"""Frames encoded beside what is generated: rows begin when the device says so, and not before."""

from collections.abc import Iterable
from random import Random
from typing import Any

import pytest
import torch

from moondream2.beside import _MOST_LAUNCHED, CudaQueue
from moondream2.cache import SlotCache, prefill
from moondream2.decoding import Decoding
from moondream2.generate import Engine
from moondream2.passes import Passes
from moondream2.tasks import (
    Caption,
    ChoiceAnswer,
    Choose,
    Detect,
    Event,
    Failed,
    Finished,
    Piece,
    Query,
    Request,
    Resized,
    Started,
)
from tests.support.generation import (
    RunsAgain,
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
)
from tests.support.queues import FiresAtRandom, FiresOnDemand

MODEL = odd_model(eos=-1000.0)
#: Of one frame of one crop: blocks and projector, blocks of the language model, and the last look.
NUM_UNITS = MODEL.config.vision.layers + 1 + MODEL.config.text.layers + 1


def _engine(queue: FiresOnDemand, **options: Any) -> Engine:
    return odd_engine(MODEL, queue=queue, decoding=Decoding(RunsAgain), **options)


def _steps(engine: Engine, count: int = 1) -> list[Event]:
    return [event for _ in range(count) for event in engine.step()]


def _end(engine: Engine, queue: FiresOnDemand) -> list[Event]:
    events: list[Event] = []
    while engine.has_work:
        queue.fire()
        events += engine.step()
    return events


def _keys(events: Iterable[Event], kind: type) -> list[str]:
    return [getattr(event, "key", "") for event in events if isinstance(event, kind)]


def _found(events: Iterable[Event]) -> dict[str, list[object]]:
    return {key: [discrete(answer) for answer in group] for key, group in answers(events).items()}


def _near(events: Iterable[Event]) -> dict[str, list[object]]:
    """Return what must be equal in answers, probabilities of choices to six digits."""
    found: dict[str, list[object]] = {}
    for key, group in answers(events).items():
        found[key] = [
            [round(each, 5) for each in answer.probabilities]
            if isinstance(answer, ChoiceAnswer)
            else discrete(answer)
            for answer in group
        ]
    return found


def _alone(*requests: Request) -> dict[str, list[object]]:
    found: dict[str, list[object]] = {}
    for each in requests:
        found |= _found(run(odd_engine(MODEL, slots=1), [each]))
    return found


def test_row_begins_when_the_event_of_its_frame_has_fired() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue)
    frame = request(MODEL)
    engine.submit(frame)
    events = _steps(engine, 9)
    assert (_keys(events, Started), _keys(events, Piece)) == (["a"], [])
    queue.fire(NUM_UNITS - 1)
    assert _steps(engine, 9) == []
    queue.fire()
    events += _steps(engine)
    assert _found(events + run(engine)) == _alone(frame)


def test_prompt_is_read_with_its_frame() -> None:
    """And by no pass of its own, whatever the lengths of those beside it."""
    sizes: list[tuple[str, int]] = []
    queue = FiresOnDemand()
    engine = _engine(queue, watch=lambda *each: sizes.append(each), slots=3, max_batch_crops=99)
    question = "w40 " * 9
    frames = [request(MODEL, "a"), request(MODEL, "b", Query(question), seed=1)]
    frames.append(request(MODEL, "c", Query("w12"), Choose("w50", ("w51", "w52")), seed=2))
    for each in frames:
        engine.submit(each)
    events = _end(engine, queue)
    reads = [size for kind, size in sizes if kind == "read"]
    assert reads[0] == 3  # the first token of each answer
    assert _near(events) == _near(run(odd_engine(MODEL, slots=1), frames))


def test_choice_that_comes_first_is_weighed_behind_its_frame_alone() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue, slots=3)
    frames = [request(MODEL, "a", Choose("w50", ("w51", "w52"))), request(MODEL, "b", seed=1)]
    for each in frames:
        engine.submit(each)
    assert _near(_end(engine, queue)) == _near(run(odd_engine(MODEL, slots=1), frames))


def test_prompt_without_numbers_spoils_no_frame_beside_it() -> None:
    model = odd_model(eos=-1000.0)
    model.text.wte[11] = torch.nan
    bad, good = request(model, "bad", Query("w11 w12 w13 w14")), request(model, "good", seed=1)
    engine = odd_engine(
        model, slots=2, queue=FiresAtRandom(Random(0)), decoding=Decoding(RunsAgain)
    )
    events = run(engine, [bad, good, request(model, "next", seed=3)])
    assert _keys(events, Failed) == ["bad"]
    found = [event for event in events if not isinstance(event, Failed)]
    assert _found(found) == _alone(good, request(model, "next", seed=3))


def test_rows_go_on_while_a_frame_is_encoded() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue)
    first, second = request(MODEL, "a"), request(MODEL, "b", seed=1)
    engine.submit(first)
    _steps(engine, 2)
    queue.fire()
    engine.submit(second)
    events = _steps(engine, 30)
    assert _keys(events, Finished) == ["a"]
    assert queue.num_done == NUM_UNITS
    assert _found(events + _end(engine, queue)) == _alone(first, second)


def test_no_more_is_launched_than_lasts_until_the_next_step() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue, slots=8, max_batch_crops=4)
    for index in range(8):
        engine.submit(request(MODEL, str(index)))
    for _ in range(20):
        engine.step()
        assert queue.num_launched - queue.num_done <= _MOST_LAUNCHED
        queue.fire(5)
    assert queue.num_launched > 2 * _MOST_LAUNCHED


def test_critical_frame_goes_before_all_that_is_not_launched() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue, slots=4, max_batch_crops=4)
    low = [request(MODEL, f"low{i}", rank=(2.0,), seed=i, size=(260, 130)) for i in range(3)]
    for each in low:
        engine.submit(each)
    _steps(engine, 3)
    critical = request(MODEL, "critical", rank=(0.0,), seed=9)
    engine.submit(critical)
    launched = queue.num_launched
    queue.fire(1)
    events = _steps(engine)
    assert _keys(events, Started) == ["critical"]  # with the first unit that could be launched
    while "critical" not in _keys(events, Finished):
        queue.fire(1)
        events += engine.step()
    assert queue.num_done <= launched + NUM_UNITS + 12  # of its tokens' steps
    assert _found(events + _end(engine, queue)) == _alone(critical, *low)


def test_urgent_frames_take_the_slot_of_one_being_encoded_and_nothing_is_done_twice() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue, slots=1)
    low, critical = request(MODEL, "low", rank=(2.0,)), request(MODEL, "critical", seed=1)
    engine.submit(low)
    _steps(engine)
    engine.submit(critical)
    events = _steps(engine) + _end(engine, queue)
    assert _keys(events, Finished) == ["critical", "low"]
    assert queue.num_launched == 2 * NUM_UNITS
    assert _found(events) == _alone(low, critical)


@pytest.mark.parametrize("launched", [0, 4, NUM_UNITS])
def test_slot_of_a_cancelled_frame_is_free_at_once(launched: int) -> None:
    """The device may still be at work on it; it does not write into the slot."""
    queue = FiresOnDemand()
    engine = _engine(queue, slots=1)
    engine.submit(request(MODEL, "a"))
    for _ in range(3):
        engine.step()
        queue.fire(max(0, launched - queue.num_done))
    assert engine.cancel("a")
    question = Request("q", (0.0,), None, (Query("w33"),), max_tokens=12)
    engine.submit(question)
    events = _steps(engine, 30)
    assert _found(events) == _alone(question)
    assert not engine.has_work


def test_frames_nobody_wants_any_more_are_launched_no_further() -> None:
    queue = FiresOnDemand()
    engine = _engine(queue, max_batch_crops=2)
    for key in "ab":
        engine.submit(request(MODEL, key, size=(260, 130)))
    engine.step()
    launched = queue.num_launched
    assert launched == _MOST_LAUNCHED
    engine.cancel("a")
    engine.cancel("b")
    queue.fire()
    _steps(engine, 3)
    assert queue.num_launched == launched


@pytest.mark.parametrize("failing", [("encode", 1), ("encode", 2), ("read", 1), ("read", 5)])
def test_want_of_memory_begins_anew(failing: tuple[str, int]) -> None:
    counts = {"encode": 0, "read": 0}

    def fail(kind: str, _size: int) -> None:
        counts[kind] += 1
        if (kind, counts[kind]) == failing:
            raise torch.OutOfMemoryError("injected")

    frames = [request(MODEL, str(seed), seed=seed) for seed in range(4)]
    engine = _engine(FiresAtRandom(Random(0)), slots=4, max_batch_crops=2, watch=fail)
    events = run(engine, frames)
    assert [event.capacity for event in events if isinstance(event, Resized)] == [2]
    assert _found(events) == _alone(*frames)


def test_pool_made_anew_loses_no_frame_that_is_encoded_without_a_slot() -> None:
    """One that lost its slot to a row which has ended: nothing runs, and it is half encoded."""
    queue = FiresOnDemand()
    shortage = iter([True])

    def fail(_kind: str, _size: int) -> None:
        if next(shortage, False):
            raise torch.OutOfMemoryError("injected")

    engine = _engine(queue, slots=2, max_batch_crops=2, watch=fail)
    run_short = request(MODEL, "short", max_tokens=1)
    engine.submit(run_short)
    events = _end(engine, queue)
    low = request(MODEL, "low", rank=(2.0,), seed=1, size=(260, 130))
    engine.submit(low)
    _steps(engine)
    question = Request("q", (0.0,), None, (Query("w33"),), max_tokens=12)
    engine.submit(question)
    while "q" not in _keys(events, Finished):
        events += engine.step()
    engine._fault_in = -10_000  # as if memory had sufficed for long
    events += _steps(engine)
    assert engine.capacity == 2
    for _ in range(60):
        queue.fire()
        events += engine.step()
    assert not engine.has_work
    assert _found(events) == _alone(run_short, low, question)


class RunsShort(FiresAtRandom):
    """Has no memory for some launches."""

    def __init__(self, *failing: int) -> None:
        super().__init__(Random(0))
        self._failing = failing
        self._num_tried = 0

    def launch(self, run: Any) -> Any:
        self._num_tried += 1
        if self._num_tried in self._failing:
            raise torch.OutOfMemoryError("injected")
        return super().launch(run)


@pytest.mark.parametrize("failing", [1, 3, NUM_UNITS, NUM_UNITS + 2])
def test_want_of_memory_in_a_unit_begins_anew(failing: int) -> None:
    frames = [request(MODEL, str(seed), seed=seed) for seed in range(4)]
    events = run(_engine(RunsShort(failing), slots=4, max_batch_crops=1), frames)
    assert [event.capacity for event in events if isinstance(event, Resized)] == [2]
    assert _found(events) == _alone(*frames)


def test_frame_for_which_there_is_never_memory_fails() -> None:
    engine = _engine(RunsShort(*range(1, 99)), slots=2, max_batch_crops=2)
    events = run(engine, [request(MODEL)])
    assert _keys(events, Failed) == ["a"]


@pytest.mark.parametrize(("seed", "compiled"), [(0, False), (1, True), (2, False), (4, False)])
def test_frames_that_join_and_leave_at_random_get_the_answers_of_frames_alone(
    seed: int, compiled: bool
) -> None:
    """Of every class, with replayed steps, cancelled half-way, on a device of any speed."""
    draw = Random(seed)
    tasks = (Caption("short"), Detect("w30"), Query("w40", reasoning=True))
    engine = _engine(
        FiresAtRandom(draw), slots=draw.choice((1, 3, 5)), max_batch_crops=draw.choice((1, 5, 20))
    )
    engine._passes._compiled = prefill if compiled else None  # one unit, as what is compiled
    frames = [
        request(MODEL, str(i), *tasks, rank=(float(draw.randrange(3)),), seed=i, size=size)
        for i, size in enumerate([(90, 80), (260, 130), (90, 80), (220, 120), (90, 80)])
    ]
    frames.append(Request("bare", (1.0,), None, (Query("w33"),), max_tokens=12))
    decoys = [request(MODEL, f"decoy{i}", *tasks, rank=(1.0,), seed=i) for i in range(3)]
    draw.shuffle(order := [*frames, *decoys])
    events: list[Event] = []
    while order or engine.has_work:
        if order and draw.random() < 0.4:
            engine.submit(order.pop())
        if draw.random() < 0.1:
            engine.cancel(draw.choice(decoys).key)
        events += engine.step()
    wanted = [event for event in events if "decoy" not in getattr(event, "key", "")]
    assert _found(wanted) == _alone(*frames)


def test_pool_of_prefixes_lies_position_by_position() -> None:
    config = MODEL.config.text
    small, large = (
        SlotCache(config, slots, device=torch.device("cpu"), dtype=torch.float32)
        for slots in (2, 3)
    )
    for cache, value in ((small, 1.0), (large, 0.0)):
        cache.keys.fill_(value)
        cache.values.fill_(value)
    large.take_prefix(small, 1, 2)
    assert large.keys[:, 2].eq(1).all()
    assert large.values[:, 2].eq(1).all()
    assert large.keys[:, :2].eq(0).all()


def test_a_device_without_streams_encodes_whole_frames() -> None:
    assert Passes(MODEL).beside is None


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_device_answers_as_cpu_whether_it_encodes_beside_or_not() -> None:
    frames = [request(MODEL, str(seed), seed=seed, size=(260, 130)) for seed in range(6)]
    model = odd_model(eos=-1000.0).to("cuda")
    for beside in (True, False):
        assert _found(run(odd_engine(model, slots=3, beside=beside), frames)) == _alone(*frames)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_event_fires_after_what_was_launched() -> None:
    device = torch.device("cuda", 0)
    queue = CudaQueue(device)
    event = queue.launch(lambda: torch.cuda._sleep(10_000_000))  # type: ignore[no-untyped-call]
    assert not event.is_done()
    torch.cuda.synchronize(device)
    assert event.is_done()
