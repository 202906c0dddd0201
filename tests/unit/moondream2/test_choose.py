"""Choosing against a slow loop: every spelling of every choice alone, without a cache."""

import math
from collections.abc import Iterable

import pytest
import torch
from torch import Tensor

from demo.training.evaluate import MODEL as DEMO
from moondream2.config import MoondreamConfig
from moondream2.crops import Crops, prepare
from moondream2.decoding import Decoding
from moondream2.errors import MoondreamError
from moondream2.generate import Engine, NotANumberError
from moondream2.model import Moondream
from moondream2.tasks import (
    Answer,
    Caption,
    ChoiceAnswer,
    Choose,
    Detect,
    Event,
    Failed,
    Finished,
    Piece,
    Point,
    Query,
    Request,
    Resized,
    Task,
    TaskDone,
)
from moondream2.tokens import Tokenizer
from tests.support.generation import (
    RunsAgain,
    answers,
    naive_log_probability,
    odd_engine,
    odd_model,
    picture,
    request,
    run,
    tokenizer_for,
)
from tests.support.varlen import ReadsLengths

ODD = odd_model()
REPLAYED = Decoding(RunsAgain, ReadsLengths(), feedback=True)
TALKATIVE = odd_model(eos=-1000.0)
SHORT = Choose("w40 w41", ("w30", "w31"))
LONG = Choose("w42", ("w30 w31 w32 w33 w34 w35 w36", "w30 w31 w32 w50", "w60"))
#: More than the slots of any engine here, and more tokens than one step tries.
MANY = Choose("w43", tuple(f"w{50 + i} w20 w{21 + i} w22 w23 w24" for i in range(16)))
TASKS: tuple[Task, ...] = (Caption("short"), SHORT, Detect("w30"), LONG, MANY, Query("w44"))


def chosen(events: Iterable[Event]) -> dict[str, list[ChoiceAnswer]]:
    return {
        key: [answer for answer in group if isinstance(answer, ChoiceAnswer)]
        for key, group in answers(events).items()
    }


def slowly(
    model: Moondream, tokenizer: Tokenizer, crops: Crops | None, task: Choose
) -> list[float]:
    """Logarithm of the share of each choice."""
    prompt = [
        feed
        for feed in tokenizer.prompt(Query(task.question), has_image=crops is not None)
        if isinstance(feed, int)
    ]
    logs = []
    for choice in task.choices:
        spellings = {tuple(tokenizer.encode(space + choice)) for space in ("", " ")}
        ways = [naive_log_probability(model, crops, prompt, each) for each in spellings]
        logs.append(torch.tensor(ways, dtype=torch.float64).logsumexp(0))
    shares: Tensor = torch.stack(logs).log_softmax(0)
    found: list[float] = shares.tolist()
    return found


def assert_exact(answer: Answer, expected: list[float]) -> None:
    assert isinstance(answer, ChoiceAnswer)
    logs = [math.log(share) for share in answer.probabilities]
    assert logs == pytest.approx(expected, abs=1e-5, rel=0)
    assert sum(answer.probabilities) == pytest.approx(1)


@pytest.fixture(scope="module")
def expected() -> dict[str, list[list[float]]]:
    """What the slow loop says of the frames of `frames`."""
    tokenizer = tokenizer_for(ODD.config)
    with torch.inference_mode():
        return {
            each.key: [slowly(ODD, tokenizer, each.crops, task) for task in (SHORT, LONG, MANY)]
            for each in frames()
        }


def frames(*tasks: Task) -> list[Request]:
    return [request(ODD, str(seed), *(tasks or TASKS), seed=seed) for seed in range(2)]


@pytest.mark.parametrize("task", [SHORT, LONG, MANY], ids=["short", "long", "many"])
def test_probabilities_are_those_of_a_slow_loop(
    task: Choose, expected: dict[str, list[list[float]]]
) -> None:
    index = (SHORT, LONG, MANY).index(task)
    for each in frames(task):
        [answer] = chosen(run(odd_engine(ODD, slots=1), [each]))[each.key]
        assert_exact(answer, expected[each.key][index])


# Slots: fewer than tasks and choices, and as many as there is work for. Replays stand for a GPU:
# its cache lies otherwise, and rows that generate go on by themselves beside what is tried.
@pytest.mark.parametrize("options", [{}, {"decoding": REPLAYED}], ids=["packed", "replayed"])
@pytest.mark.parametrize("slots", [1, 3, 16])
def test_probabilities_in_company_are_those_of_a_slow_loop(
    slots: int, options: dict[str, object], expected: dict[str, list[list[float]]]
) -> None:
    engine = odd_engine(ODD, slots=slots, **options)
    found = chosen(run(engine, frames()))
    for key, group in found.items():
        for answer, shares in zip(group, expected[key], strict=True):
            assert_exact(answer, shares)


def test_answers_beside_a_choice_are_what_they_are_alone() -> None:
    words = (Caption("short"), Detect("w30"), Query("w44"))
    [alone] = answers(
        run(odd_engine(TALKATIVE, slots=1), [request(TALKATIVE, "a", *words)])
    ).values()
    tasks = (words[0], MANY, words[1], LONG, words[2])
    for options in ({}, {"decoding": REPLAYED}):
        engine = odd_engine(TALKATIVE, slots=5, **options)
        [found] = answers(run(engine, [request(TALKATIVE, "a", *tasks)])).values()
        for mine, other in zip((found[0], found[2], found[4]), alone, strict=True):
            for name in set(mine.__slots__) - {"confidence"}:
                assert getattr(mine, name) == getattr(other, name)


def test_demo_model_spells_with_and_without_a_leading_space() -> None:
    config = MoondreamConfig.from_folder(DEMO)
    model, tokenizer = Moondream.load(DEMO), Tokenizer.load(DEMO / "tokenizer.json", config)
    crops = prepare(picture(0, 320, 240), config.vision)
    task = Choose("Is there a car?", ("Yes", "No", "Two cars"))
    assert all(len(tokenizer.spellings(choice)) == 2 for choice in task.choices)
    [found] = chosen(
        run(Engine(model, tokenizer, slots=2), [Request("a", (0.0,), crops, (task,))])
    )["a"]
    with torch.inference_mode():
        assert_exact(found, slowly(model, tokenizer, crops, task))


def test_choice_without_a_frame() -> None:
    bare = Request("a", (0.0,), None, (SHORT,))
    [answer] = chosen(run(odd_engine(ODD), [bare]))["a"]
    with torch.inference_mode():
        assert_exact(answer, slowly(ODD, tokenizer_for(ODD.config), None, SHORT))


def test_nothing_is_sampled_and_the_order_plays_no_part() -> None:
    [plain] = chosen(run(odd_engine(ODD), [request(ODD, "a", LONG)]))["a"]
    hot = request(ODD, "a", LONG, temperature=2.0, top_p=0.1, max_tokens=1, seed=0)
    assert chosen(run(odd_engine(ODD), [hot]))["a"] == [plain]
    turned = Choose(LONG.question, LONG.choices[::-1])
    [other] = chosen(run(odd_engine(ODD), [request(ODD, "a", turned)]))["a"]
    assert other.probabilities[::-1] == pytest.approx(plain.probabilities, rel=1e-5)


def test_step_is_no_longer_for_many_choices_and_captions_go_on() -> None:
    sizes: list[int] = []
    engine = odd_engine(
        TALKATIVE, slots=4, watch=lambda kind, size: sizes.append(size) if kind == "read" else None
    )
    talk = request(TALKATIVE, "talk", Caption("short"))
    engine.submit(talk)
    engine.step()
    engine.submit(request(TALKATIVE, "many", MANY, MANY, MANY, seed=1))
    sizes.clear()
    events = [event for _ in range(6) for event in engine.step()]
    pieces = [event for event in events if isinstance(event, Piece) and event.key == "talk"]
    assert len(pieces) == 6  # one token a step, as without them
    prompts = 3 * 4
    assert max(sizes) <= 1 + 64 + prompts
    assert len([size for size in sizes if size > 50]) > 2  # or nothing was bounded
    assert len(chosen(events + run(engine))["many"]) == 3


def test_rows_of_long_choices_take_turns_and_keep_no_short_one_waiting() -> None:
    sizes: list[int] = []
    engine = odd_engine(
        ODD, slots=5, watch=lambda kind, size: sizes.append(size) if kind == "read" else None
    )
    wordy = Choose("w40", tuple(" ".join([f"w{30 + i}"] * 50) for i in range(4)))
    events = run(engine, [request(ODD, "a", *[wordy] * 4, SHORT)])
    prompts = 5 * 4
    assert max(sizes) <= 64 + prompts
    ends = [event.task_index for event in events if isinstance(event, TaskDone)]
    assert ends.index(4) == 0
    group = chosen(events)["a"]
    for answer in group[1:4]:
        assert answer.probabilities == pytest.approx(group[0].probabilities)
    with torch.inference_mode():
        frame, words = request(ODD), tokenizer_for(ODD.config)
        assert_exact(group[0], slowly(ODD, words, frame.crops, wordy))


@pytest.mark.parametrize("options", [{}, {"decoding": REPLAYED}], ids=["packed", "replayed"])
def test_urgent_choice_goes_before_those_that_came_first(options: dict[str, object]) -> None:
    engine = odd_engine(ODD, slots=3, **options)
    engine.submit(request(ODD, "low", MANY, MANY, rank=(2.0,)))
    engine.step()
    events = run(engine, [request(ODD, "high", LONG, rank=(0.0,), seed=1)])
    assert [event.key for event in events if isinstance(event, Finished)] == ["high", "low"]


@pytest.mark.parametrize("fault", [1, 2, 4])
def test_want_of_memory_halves_the_batch_and_changes_no_choice(
    fault: int, expected: dict[str, list[list[float]]]
) -> None:
    num_reads = 0

    def fail_once(kind: str, _size: int) -> None:
        nonlocal num_reads
        num_reads += kind == "read"
        if kind == "read" and num_reads == fault:
            raise torch.OutOfMemoryError("injected")

    events = run(odd_engine(ODD, slots=8, watch=fail_once), frames())
    assert [event.capacity for event in events if isinstance(event, Resized)] == [4]
    for key, group in chosen(events).items():
        for answer, shares in zip(group, expected[key], strict=True):
            assert_exact(answer, shares)


def test_choice_that_fills_the_context_is_weighed_and_a_longer_one_refused() -> None:
    room = ODD.config.text.max_context - ODD.config.text.prefix_length
    prompt = len(tokenizer_for(ODD.config).prompt(Query("w40")))
    fitting = " ".join(["w30"] * (room - prompt))
    [answer] = chosen(run(odd_engine(ODD), [request(ODD, "a", Choose("w40", (fitting, "w31")))]))[
        "a"
    ]
    assert sum(answer.probabilities) == pytest.approx(1)
    assert refusal(Choose("w40", (fitting + " w30", "w31"))).code == "prompt"


@pytest.mark.parametrize("choices", [(), ("w30", ""), ("w30", " \t")])
def test_what_cannot_be_chosen_is_refused(choices: tuple[str, ...]) -> None:
    assert refusal(Choose("w40", choices)).code == "prompt"


def refusal(task: Choose) -> MoondreamError:
    bad, good = request(ODD, "bad", task), request(ODD, "good")
    [failed] = [each for each in run(odd_engine(ODD), [bad, good]) if isinstance(each, Failed)]
    assert failed.key == "bad"
    assert isinstance(failed.error, MoondreamError)
    return failed.error


def test_choice_that_is_no_number_fails_its_frame_alone() -> None:
    model = odd_model()
    model.text.wte[11] = torch.nan
    bad = request(model, "bad", Choose("w40", ("w30", "w11")), Point("w31"))
    good = request(model, "good", SHORT, seed=1)
    events = run(odd_engine(model, slots=4), [bad, good])
    [failed] = [event for event in events if isinstance(event, Failed)]
    assert (failed.key, type(failed.error)) == ("bad", NotANumberError)
    finished = [event for event in events if not isinstance(event, Failed)]
    assert list(chosen(finished)) == ["good"]
