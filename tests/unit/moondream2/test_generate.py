"""The engine's own rules, on random models; exactness is held in tests/model."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
import torch

from moondream2.generate import Engine, NotANumberError, OutOfMemoryError
from moondream2.tasks import (
    Answer,
    Caption,
    Detect,
    Event,
    Failed,
    Finished,
    ObjectsAnswer,
    Piece,
    Point,
    PointsAnswer,
    Query,
    Request,
    Resized,
    Started,
    Task,
    TaskDone,
    TextAnswer,
)
from tests.support.generation import (
    answers,
    discrete,
    odd_engine,
    odd_model,
    request,
    run,
)

MODEL = odd_model()
TALKATIVE = odd_model(eos=-1000.0)
SILENT = odd_model(eos=1000.0)
TASKS = (Caption("short"), Detect("w30"), Query("w40"), Point("w31"), Caption("normal"))


class Passes:
    """Counts the engine's passes, and lets chosen ones run out of memory like a device would."""

    def __init__(self, *failing: tuple[str, int]) -> None:
        self.sizes: dict[str, list[int]] = {"encode": [], "read": []}
        self._failing = set(failing)

    def __call__(self, kind: str, size: int) -> None:
        self.sizes[kind].append(size)
        if (kind, len(self.sizes[kind])) in self._failing:
            raise torch.OutOfMemoryError("injected")


def alone(*requests: Request) -> dict[str, list[object]]:
    """Return what each request gets in an engine of its own."""
    found: dict[str, tuple[Answer, ...]] = {}
    for each in requests:
        found |= answers(run(odd_engine(TALKATIVE, slots=1), [each]))
    return {key: [discrete(answer) for answer in group] for key, group in found.items()}


def held(events: Iterable[Event]) -> dict[str, list[object]]:
    return {key: [discrete(answer) for answer in group] for key, group in answers(events).items()}


def joined(events: Iterable[Event], key: str, task: int = 0) -> str:
    return "".join(
        event.text
        for event in events
        if isinstance(event, Piece) and (event.key, event.task_index) == (key, task)
    )


def kinds(events: Iterable[Event], kind: type) -> list[str]:
    return [getattr(event, "key", "") for event in events if isinstance(event, kind)]


def test_events_of_one_request_come_in_order() -> None:
    events = run(odd_engine(TALKATIVE), [request(TALKATIVE, "a")])
    order = [type(event) for event in events]
    assert order[0] is Started
    assert order[-2:] == [TaskDone, Finished]
    assert set(order[1:-2]) == {Piece}
    finished = events[-1]
    assert isinstance(finished, Finished)
    (answer,) = finished.answers
    assert isinstance(answer, TextAnswer)
    assert (joined(events, "a"), answer.stop_reason) == (answer.text, "max_tokens")
    assert len(answer.token_ids) == 12


def test_idle_engine_has_nothing_to_do() -> None:
    engine = odd_engine()
    assert not engine.has_work
    assert engine.step() == []
    assert (engine.free, engine.capacity) == (2, 2)


def test_frame_is_encoded_once_for_all_its_tasks() -> None:
    for slots in (1, 2, 8):
        passes = Passes()
        run(odd_engine(MODEL, slots=slots, watch=passes), [request(MODEL, "a", *TASKS)])
        assert passes.sizes["encode"] == [1]


def test_frames_of_one_step_are_bounded_by_crops_and_prefixes() -> None:
    requests = [request(MODEL, str(seed), seed=seed, size=(260, 130)) for seed in range(6)]
    assert requests[0].crops is not None
    crops = len(requests[0].crops)
    for most, frames in ((2 * crops + 5, 1), (2 * crops + 6, 2), (3 * crops + 9, 3)):
        passes = Passes()
        run(odd_engine(MODEL, slots=6, max_batch_crops=most, watch=passes), requests)
        assert passes.sizes["encode"] == [frames * crops] * (6 // frames)


def test_prompts_join_the_pass_of_those_who_generate() -> None:
    passes = Passes()
    engine = odd_engine(TALKATIVE, watch=passes)
    engine.submit(request(TALKATIVE, "a"))
    engine.step()
    engine.submit(request(TALKATIVE, "b"))
    engine.step()
    assert passes.sizes["read"] == [3, 1 + 3]  # the caption prompt has three tokens


def test_most_urgent_starts_first() -> None:
    ranks = {"low": 2.0, "high": 0.0, "normal": 1.0}
    requests = [request(MODEL, key, rank=(rank,)) for key, rank in ranks.items()]
    events = run(odd_engine(MODEL, slots=1), requests)
    assert kinds(events, Started) == ["high", "normal", "low"]


def test_urgent_class_interrupts_and_the_other_loses_nothing() -> None:
    low = request(TALKATIVE, "low", rank=(2.0,), seed=1)
    critical = request(TALKATIVE, "critical", rank=(0.0,), seed=2)
    engine = odd_engine(TALKATIVE, slots=1)
    engine.submit(low)
    events = [event for _ in range(5) for event in engine.step()]
    engine.submit(critical)
    events += engine.step()
    assert kinds(events, Started) == ["low", "critical"]
    events += run(engine)
    assert kinds(events, Finished) == ["critical", "low"]
    assert held(events) == alone(critical, low)
    assert kinds(events, Started).count("low") == 1
    answer = answers(events)["low"][0]
    assert isinstance(answer, TextAnswer)
    assert joined(events, "low") == answer.text


def test_cancelled_request_ends_without_a_word() -> None:
    engine = odd_engine(TALKATIVE)
    engine.submit(request(TALKATIVE, "a"))
    engine.submit(request(TALKATIVE, "b", seed=1))
    engine.step()
    assert engine.cancel("a")
    assert engine.free == 1
    events = run(engine)
    assert {getattr(event, "key", "") for event in events} == {"b"}
    assert not engine.cancel("a")


def test_cancelled_request_that_waits_never_starts() -> None:
    engine = odd_engine(TALKATIVE, slots=1)
    engine.submit(request(TALKATIVE, "a"))
    engine.submit(request(TALKATIVE, "b", seed=1))
    engine.cancel("b")
    assert kinds(run(engine), Started) == ["a"]


def test_key_that_is_held_is_refused() -> None:
    engine = odd_engine()
    engine.submit(request(MODEL, "a"))
    with pytest.raises(ValueError, match="'a' is already held"):
        engine.submit(request(MODEL, "a"))


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"tasks": (Query("w20 " * 70),)}, "the prompt has 74 tokens, there is room for 63"),
        ({"tasks": (Caption("short"), Caption("long"))}, "no caption length 'long'"),
        ({"tasks": ()}, "needs a task"),
        ({"crops": None}, "caption needs a frame"),
        ({"max_tokens": 0}, "at least 1"),
        ({"temperature": -1.0}, "negative"),
    ],
)
def test_request_that_cannot_be_answered_fails_alone(
    changes: dict[str, object], fault: str
) -> None:
    bad = replace(request(TALKATIVE, "bad"), **changes)  # type: ignore[arg-type]
    good = request(TALKATIVE, "good")
    engine = odd_engine(TALKATIVE)
    engine.submit(bad)
    engine.submit(good)
    events = run(engine)
    failed = [event for event in events if isinstance(event, Failed)]
    assert [event.key for event in failed] == ["bad"]
    assert fault in str(failed[0].error)
    assert kinds(events, Finished) == ["good"]


def test_generation_stops_at_end_of_context() -> None:
    tasks: tuple[Task, ...] = (Caption("short"), Detect("w30"), Query("w40", reasoning=True))
    events = run(
        odd_engine(TALKATIVE, slots=3),
        [request(TALKATIVE, "a", *tasks, max_tokens=999, max_objects=99)],
    )
    text, objects, thoughts = answers(events)["a"]
    assert isinstance(text, TextAnswer)
    assert isinstance(objects, ObjectsAnswer)
    assert isinstance(thoughts, TextAnswer)
    # 128 positions: 65 of the frame, 3 of the prompt, and the last token needs none.
    assert (len(text.token_ids), text.stop_reason) == (128 - 65 - 3 + 1, "context")
    assert joined(events, "a") == text.text
    assert objects.stop_reason == "context"
    assert (
        len(objects.boxes) == len(objects.size_bins) == (128 - 65 - 4 + 1) // 3
    )  # nor does the last size
    assert thoughts.stop_reason == "context"


def test_nothing_found_is_an_empty_answer() -> None:
    tasks = (Detect("w30"), Point("w31"), Caption("short"))
    boxes, points, text = answers(run(odd_engine(SILENT), [request(SILENT, "a", *tasks)]))["a"]
    assert isinstance(boxes, ObjectsAnswer)
    assert isinstance(points, PointsAnswer)
    assert isinstance(text, TextAnswer)
    assert (boxes.boxes, boxes.stop_reason) == ((), "eos")
    assert (points.points, points.stop_reason) == ((), "eos")
    assert (text.text, text.stop_reason) == ("", "stop_token")
    assert [round(answer.confidence, 6) for answer in (boxes, points, text)] == [1, 1, 1]


def test_confidence_is_geometric_mean_of_token_probabilities() -> None:
    with torch.inference_mode():
        each = request(TALKATIVE, "a", max_tokens=1)
        short = answers(run(odd_engine(TALKATIVE), [each]))["a"][0]
        long = answers(run(odd_engine(TALKATIVE), [replace(each, max_tokens=2)]))["a"][0]
    assert isinstance(short, TextAnswer)
    assert isinstance(long, TextAnswer)
    assert short.token_ids == long.token_ids[:1]
    assert 0 < short.confidence < 1
    assert 0 < long.confidence**2 / short.confidence <= 1  # the second token's probability


def test_samples_depend_on_seed_and_not_on_company() -> None:
    requests = [
        request(TALKATIVE, str(seed), *TASKS, seed=0, temperature=1.0, top_p=0.95)
        for seed in range(4)
    ]
    requests = [replace(each, seed=int(each.key)) for each in requests]
    together = held(run(odd_engine(TALKATIVE, slots=20), requests))
    assert together == alone(*requests)
    assert len({str(group[0]) for group in together.values()}) == 4


def test_timings_add_up() -> None:
    finished = run(odd_engine(TALKATIVE), [request(TALKATIVE, "a")])[-1]
    assert isinstance(finished, Finished)
    times = finished.timings
    assert 0 < times.encode_seconds <= times.first_token_seconds <= times.total_seconds
    assert times.steps == 12


@pytest.mark.parametrize("fault", [("encode", 1), ("encode", 2), ("read", 1), ("read", 5)])
def test_want_of_memory_halves_the_batch_and_loses_nothing(fault: tuple[str, int]) -> None:
    requests = [request(TALKATIVE, str(seed), *TASKS[:3], seed=seed) for seed in range(4)]
    engine = odd_engine(TALKATIVE, slots=4, max_batch_crops=2, watch=Passes(fault))
    events = run(engine, requests)
    assert [event.capacity for event in events if isinstance(event, Resized)] == [2]
    assert (engine.capacity, engine.free) == (2, 2)
    assert held(events) == alone(*requests)
    for key, group in answers(events).items():
        for task, answer in enumerate(group):
            if isinstance(answer, TextAnswer):
                assert joined(events, key, task) == answer.text
    assert sorted(kinds(events, Started)) == ["0", "1", "2", "3"]


def test_frame_that_never_fits_fails_and_others_go_on() -> None:
    faults = Passes(*(("encode", number) for number in (1, 2)))
    engine = odd_engine(TALKATIVE, slots=2, max_batch_crops=2, watch=faults)
    requests = [request(TALKATIVE, key, seed=seed) for seed, key in enumerate("abc")]
    events = run(engine, requests)
    failed = [event for event in events if isinstance(event, Failed)]
    assert [event.key for event in failed] == ["a"]
    assert isinstance(failed[0].error, OutOfMemoryError)
    assert [event.capacity for event in events if isinstance(event, Resized)] == [1]
    assert kinds(events, Finished) == ["b", "c"]
    assert not engine.has_work


@pytest.mark.parametrize("task", [Query("w11"), Detect("w11"), Point("w11")])
def test_frame_whose_numbers_fail_ends_alone(task: Task) -> None:
    """One task reads an embedding that is no number; its frame's other task ends with it."""
    model = odd_model()
    model.text.wte[11] = torch.nan
    good = request(model, "good", Caption("short"), Detect("w30"), seed=1)
    bad = request(model, "bad", Caption("short"), task)
    events = run(odd_engine(model, slots=4), [bad, good])
    (failed,) = (event for event in events if isinstance(event, Failed))
    assert (failed.key, type(failed.error)) == ("bad", NotANumberError)
    assert "float32" in str(failed.error)
    finished = [event for event in events if isinstance(event, Finished)]
    assert held(finished) == held(run(odd_engine(model), [good]))


def test_coordinate_that_is_no_number_fails_its_frame() -> None:
    model = odd_model(eos=-1000.0)
    model.region.coord_decoder.fc2.bias[0] = torch.nan
    events = run(odd_engine(model), [request(model, "a", Detect("w30"))])
    assert kinds(events, Failed) == ["a"]
    assert kinds(events, Finished) == []


def test_limit_rises_again_when_memory_suffices() -> None:
    engine = odd_engine(MODEL, slots=4, watch=Passes(("read", 1)))
    run(engine, [request(MODEL, "a")])
    assert engine.capacity == 2
    events = [event for _ in range(1000) for event in engine.step()]
    assert [event.capacity for event in events if isinstance(event, Resized)] == [4]
    requests = [request(MODEL, str(seed), seed=seed) for seed in range(4)]
    assert len(answers(run(engine, requests))) == 4


def test_engine_sizes_itself_by_free_memory() -> None:
    engine = Engine(MODEL, odd_engine(MODEL).tokenizer)
    assert engine.capacity == 16
