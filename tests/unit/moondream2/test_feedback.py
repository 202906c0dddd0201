"""Steps that read tokens where they were picked, while rows take them one step later."""

from collections.abc import Iterable
from random import Random

import pytest
import torch

from moondream2.decoding import Decoding
from moondream2.feeds import Picked, Readable, embed
from moondream2.generate import Engine, NotANumberError
from moondream2.model import Moondream
from moondream2.sampling import Picking
from moondream2.staging import FromDevice
from moondream2.tasks import (
    Caption,
    Detect,
    Event,
    Failed,
    Finished,
    Piece,
    Query,
    Request,
    Resized,
    TextAnswer,
)
from moondream2.tokens import Coordinate
from tests.support.checkpoints import shape
from tests.support.generation import (
    RunsAgain,
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
)
from tests.support.queues import FiresAtRandom
from tests.support.varlen import ReadsLengths

#: Some captions of the larger picture stop after a few words, others go on.
MODEL = odd_model(eos=0.6)
LARGE = (260, 130)
TALKATIVE = odd_model(eos=-1000.0)
TASKS = (Caption("short"), Detect("w30"), Query("w40", reasoning=True))
#: Launched piece by piece, replayed over fixed contexts, and with lengths.
DECODINGS = (
    Decoding(feedback=True),
    Decoding(RunsAgain, feedback=True),
    Decoding(RunsAgain, ReadsLengths(), feedback=True),
)


class Reads:
    """Tokens of every pass over the language model; chosen ones run out of memory."""

    def __init__(self, *failing: int) -> None:
        self.sizes: list[int] = []
        self._failing = failing

    def __call__(self, kind: str, size: int) -> None:
        if kind == "read":
            self.sizes.append(size)
            if len(self.sizes) in self._failing:
                raise torch.OutOfMemoryError("injected")


def _found(events: Iterable[Event]) -> dict[str, list[object]]:
    return {key: [discrete(answer) for answer in group] for key, group in answers(events).items()}


def _alone(model: Moondream, *requests: Request) -> dict[str, list[object]]:
    """What each gets in an engine of its own that waits for every token."""
    return _found([e for each in requests for e in run(odd_engine(model, slots=1), [each])])


@pytest.mark.parametrize("temperature", [0.0, 1.3])
@pytest.mark.parametrize("decoding", DECODINGS)
def test_answers_of_frames_alone_are_equal_to_the_last_bit(
    decoding: Decoding, temperature: float
) -> None:
    for seed in range(4):
        wanted = request(
            MODEL, "a", *TASKS, seed=seed, size=LARGE, temperature=temperature, top_p=0.9
        )
        waits, goes_on = (
            answers(run(odd_engine(MODEL, slots=1, decoding=each), [wanted]))
            for each in (Decoding(decoding.recorder, decoding.varlen), decoding)
        )
        assert goes_on == waits


def _told(events: Iterable[Event]) -> int:
    return sum(isinstance(event, Piece) for event in events)


def test_step_is_launched_before_the_token_it_reads_is_told() -> None:
    waits, goes_on = (
        odd_engine(TALKATIVE, slots=1, decoding=Decoding(feedback=feedback))
        for feedback in (False, True)
    )
    for engine in (waits, goes_on):
        engine.submit(request(TALKATIVE))
    at_once = [_told(waits.step()) for _ in range(6)]
    later = [_told(goes_on.step()) for _ in range(7)]
    assert later == [0, *at_once]
    assert sum(at_once) > 3


@pytest.mark.parametrize(("model", "num_more"), [(MODEL, 1), (TALKATIVE, 0)])
def test_row_that_ends_costs_one_idle_step_at_most(model: Moondream, num_more: int) -> None:
    """One when it ends with the stop token, none when its length is known before."""
    sizes, found = [], []
    for feedback in (False, True):
        reads = Reads()
        engine = odd_engine(model, slots=1, watch=reads, decoding=Decoding(feedback=feedback))
        found.append(answers(run(engine, [request(model, seed=1, size=LARGE, max_tokens=40)])))
        sizes.append(reads.sizes)
    assert found[0] == found[1]
    answer = found[0]["a"][0]
    assert isinstance(answer, TextAnswer)
    assert (answer.stop_reason == "stop_token") == bool(num_more)
    assert sizes[1] == sizes[0] + [1] * num_more


def test_row_reads_on_to_the_end_of_its_context() -> None:
    model = odd_model(shape(text={"max_context": 80}), eos=-1000.0)
    wanted = request(model, max_tokens=60)
    found = _found(run(odd_engine(model, decoding=DECODINGS[2]), [wanted]))
    assert found == _alone(model, wanted)
    assert "context" in str(found)


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("seed", range(4))
def test_rows_that_join_leave_and_are_cancelled_get_the_answers_of_rows_alone(
    seed: int, decoding: Decoding
) -> None:
    """Of every class and skill, some of which are waited for; what is cancelled comes again."""
    draw = Random(seed)
    engine = odd_engine(
        MODEL,
        slots=draw.choice((1, 3, 5)),
        decoding=decoding,
        queue=FiresAtRandom(draw) if draw.random() < 0.5 else None,
    )
    frames = [
        request(
            MODEL,
            str(i),
            *TASKS[: 1 + i % 3],
            rank=(float(draw.randrange(3)),),
            seed=i,
            size=draw.choice(((90, 80), LARGE)),
        )
        for i in range(6)
    ]
    frames.append(Request("bare", (1.0,), None, (Query("w33"),), max_tokens=12))
    decoys = [request(MODEL, f"decoy{i}", Caption("short"), seed=i) for i in range(4)]
    draw.shuffle(order := [*frames, *decoys, *decoys])
    held: set[str] = set()
    events: list[Event] = []
    while order or engine.has_work:
        if order and order[-1].key not in held and draw.random() < 0.6:
            engine.submit(each := order.pop())
            held.add(each.key)
        if draw.random() < 0.3 and engine.cancel(key := draw.choice(decoys).key):
            held.discard(key)
        events += engine.step()
        held -= {event.key for event in events[-20:] if isinstance(event, Finished)}
    wanted = [event for event in events if "decoy" not in getattr(event, "key", "")]
    assert _found(wanted) == _alone(MODEL, *frames)


def test_slot_of_a_cancelled_row_has_another_in_the_next_step() -> None:
    """Its token is on the device then, and is nobody's."""
    engine = odd_engine(TALKATIVE, slots=1, decoding=DECODINGS[2])
    engine.submit(request(TALKATIVE, "gone"))
    for _ in range(3):
        engine.step()
    assert engine.cancel("gone")
    wanted = request(TALKATIVE, "next", seed=3)
    events = run(engine, [wanted])
    assert {getattr(event, "key", None) for event in events} == {"next"}
    assert _found(events) == _alone(TALKATIVE, wanted)


def test_interrupted_row_tells_no_piece_twice() -> None:
    slow, urgent = request(TALKATIVE, "slow", rank=(1.0,)), request(TALKATIVE, "urgent", seed=3)
    engine = odd_engine(TALKATIVE, slots=1, decoding=DECODINGS[2])
    engine.submit(slow)
    events = [event for _ in range(4) for event in engine.step()]
    events += run(engine, [urgent])
    assert _found(events) == _alone(TALKATIVE, slow, urgent)
    (answer,) = answers(events)["slow"]
    assert isinstance(answer, TextAnswer)
    assert answer.text == "".join(
        event.text for event in events if isinstance(event, Piece) and event.key == "slow"
    )


@pytest.mark.parametrize("failing", [2, 3, 5])
def test_step_without_memory_forgets_tokens_that_nobody_took(failing: int) -> None:
    frames = [request(TALKATIVE, str(seed), seed=seed) for seed in range(4)]
    engine = odd_engine(TALKATIVE, slots=4, decoding=DECODINGS[1], watch=Reads(failing))
    events = run(engine, frames)
    assert [event.capacity for event in events if isinstance(event, Resized)] == [2]
    assert _found(events) == _alone(TALKATIVE, *frames)


def test_row_that_goes_wrong_fails_one_step_late_and_alone() -> None:
    model = odd_model(eos=-1000.0)
    bad, good = request(model, "bad", Query("w11")), request(model, "good", seed=1)
    expected = _alone(model, good)
    engine = odd_engine(model, slots=2, decoding=DECODINGS[2])
    model.text.wte[11] = torch.nan
    events = run(engine, [bad, good])
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.key, type(failed.error)) == ("bad", NotANumberError)
    assert _found(event for event in events if event is not failed) == expected


@torch.inference_mode()
def test_picked_tokens_are_read_like_told_ones() -> None:
    model = odd_model()
    heads = Engine(model, odd_engine(model).tokenizer, slots=1)._passes.heads
    picks = heads.tokens(torch.randn(3, model.config.text.hidden_size), [Picking()] * 3)
    told = [pick.token for pick in picks.told()]
    assert torch.equal(picks.tokens, torch.tensor(told))
    for order in ((0, 1, 2), (2, 0), (1,)):
        waiting = [Picked(picks, index) for index in order]
        assert torch.equal(embed(model, waiting), embed(model, [told[index] for index in order]))
    mixed: list[Readable] = [5, Picked(picks, 2), Coordinate(0.3), Picked(picks, 0)]
    known: list[Readable] = [5, told[2], Coordinate(0.3), told[0]]
    assert torch.equal(embed(model, mixed), embed(model, known))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_numbers_come_from_a_device_while_it_goes_on() -> None:
    numbers = torch.arange(6, device="cuda", dtype=torch.float32).view(2, 3)
    coming = FromDevice(numbers * 2)
    torch.cuda._sleep(10_000_000)  # type: ignore[no-untyped-call]
    assert coming.wait() == (numbers * 2).tolist()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_tokens_are_fed_back_on_cuda_alone() -> None:
    assert not Decoding.of(MODEL).feedback
    assert Decoding.of(odd_model().to("cuda")).feedback
