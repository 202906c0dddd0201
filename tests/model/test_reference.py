"""Every recorded answer of the reference implementation, alone and in every company."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from moondream2.decoding import Decoding
from moondream2.generate import Engine
from moondream2.int8 import can_shrink, shrink_linears
from moondream2.model import Moondream
from moondream2.sampling import nucleus
from moondream2.tasks import (
    Answer,
    Event,
    Failed,
    Finished,
    Query,
    Request,
    TextAnswer,
)
from tests.support.checkpoints import (
    FIXTURES,
    assert_near,
    reference_model,
    reference_record,
    reference_tensors,
)
from tests.support.generation import RunsAgain
from tests.support.queues import FiresAtRandom
from tests.support.reference import (
    Case,
    answers,
    cases,
    check,
    decoding_engine,
    engine,
    grouped,
    image_crops,
    pieces,
    run,
    tokenizer,
)
from tests.support.varlen import ReadsLengths

# Up to ten seconds of arithmetic each; much more on a machine that is busy with something else.
pytestmark = pytest.mark.timeout(240)

#: Pictures of one crop, encoded in a tenth of a second.
SMALL = (0, 5, None)


def _of(*images: int | None) -> list[Case]:
    return [case for case in cases() if case.image in images]


def _check_all(groups: dict[str, list[Case]], found: dict[str, tuple[Answer, ...]]) -> None:
    assert found.keys() == groups.keys()
    for key, group in groups.items():
        for case, answer in zip(group, found[key], strict=True):
            check(case, answer)


@contextmanager
def _recorded(module: nn.Module) -> Iterator[list[Tensor]]:
    """Record the outputs of a layer."""
    outputs: list[Tensor] = []
    handle = module.register_forward_hook(lambda *args: outputs.append(args[-1].clone()))
    yield outputs
    handle.remove()


def test_fixture_has_every_skill() -> None:
    names = {case.name.rstrip("0123456789") for case in cases()}
    assert len(cases()) == 50
    assert {"reasoning", "spatial", "textonly", "gaze"} <= names
    assert {"img0.caption.long", "img5.query", "img3.detect", "img4.point"} <= {
        case.name for case in cases()
    }


@pytest.mark.parametrize("image", [0, 1, 2, 3, 4, 5, None])
def test_every_answer_alone_equals_reference(image: int | None) -> None:
    requests, groups = grouped(_of(image))
    events = run(engine(slots=1), requests)
    _check_all(groups, answers(events))


def test_everything_at_once_equals_reference() -> None:
    requests, groups = grouped(cases())
    events = run(engine(slots=len(cases()), max_batch_crops=64), requests)
    _check_all(groups, answers(events))


def test_everything_in_parts_equals_reference() -> None:
    """A step for each unit of encoding, and rows that generate between."""
    requests, groups = grouped(cases())
    _check_all(groups, answers(run(engine(slots=7, encode_limit_s=0.0), requests)))


@pytest.mark.parametrize("is_int8", [False, True])
def test_everything_in_parts_equals_whole_frames_bit_for_bit(is_int8: bool) -> None:
    """Frames alone, so that the same rows read together."""
    model = Moondream.load(FIXTURES)
    if is_int8:
        if not can_shrink():
            pytest.skip("no int8 kernels for this processor")
        shrink_linears(model)
    for request in grouped(cases())[0]:
        brief = replace(request, max_tokens=3, max_objects=1)
        whole, parts = (
            answers(run(Engine(model, tokenizer(), slots=1, encode_limit_s=limit_s), [brief]))
            for limit_s in (None, 0.0)
        )
        assert parts == whole


@pytest.mark.parametrize("varlen", [None, ReadsLengths()])
@pytest.mark.parametrize("slots", [1, 7])
def test_everything_with_replayed_steps_equals_reference(
    slots: int, varlen: ReadsLengths | None
) -> None:
    """Alone and at once, with contexts that are fixed and an operator that reads lengths."""
    requests, groups = grouped(cases())
    batch = decoding_engine(slots=slots, decoding=Decoding(RunsAgain, varlen))
    _check_all(groups, answers(run(batch, requests)))


@pytest.mark.parametrize("replayed", [False, True])
@pytest.mark.parametrize("slots", [1, 7])
def test_everything_with_tokens_fed_back_equals_reference(slots: int, replayed: bool) -> None:
    """Alone and at once, launched piece by piece and replayed with lengths."""
    requests, groups = grouped(cases())
    decoding = Decoding(feedback=True)
    if replayed:
        decoding = Decoding(RunsAgain, ReadsLengths(), feedback=True)
    events = run(decoding_engine(slots=slots, decoding=decoding), requests)
    _check_all(groups, answers(events))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("graphs", [False, True])
def test_everything_at_once_on_cuda_equals_reference(graphs: bool) -> None:
    requests, groups = grouped(cases())
    model = Moondream.load(FIXTURES, device="cuda", dtype=torch.float32)
    batch = Engine(model, tokenizer(), slots=7, graphs=graphs)
    _check_all(groups, answers(run(batch, requests)))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("index", range(6))
def test_image_in_bfloat16_on_cuda_is_as_near_as_the_reference_itself(index: int) -> None:
    """The reference in bfloat16 is 1.6 to 3.5 % away from its own float32."""
    vision = Moondream.load(FIXTURES, device="cuda", dtype=torch.bfloat16).vision
    embeddings = vision.encode([image_crops(index)])[0].float().cpu()
    assert_near(embeddings, reference_tensors()[f"img{index}.image_embeds"], bound=0.05)


@pytest.mark.parametrize(
    ("seed", "decoding", "beside"),
    [
        (0, Decoding(), False),
        (1, Decoding(), False),
        (2, Decoding(), False),
        (3, Decoding(RunsAgain), True),
        (4, Decoding(), True),
        (5, Decoding(RunsAgain, ReadsLengths()), False),
        (6, Decoding(RunsAgain, ReadsLengths()), True),
        (7, Decoding(feedback=True), False),
        (8, Decoding(RunsAgain, feedback=True), True),
        (9, Decoding(RunsAgain, ReadsLengths(), feedback=True), True),
    ],
)
def test_rows_that_join_and_leave_at_random_equal_reference(
    seed: int, decoding: Decoding, beside: bool
) -> None:
    """Requests arrive between steps in a mixed order and are partly cancelled half-way."""
    draw = random.Random(seed)
    waiting = [case.request(rank=(draw.choice((0.0, 1.0)),)) for case in _of(*SMALL)]
    decoys = [case.request(f"decoy {case.name}") for case in draw.sample(_of(*SMALL), 6)]
    draw.shuffle(order := [*waiting, *decoys])
    batch = engine(
        slots=draw.choice((3, 5, 8)),
        max_batch_crops=draw.choice((1, 3, 13)),
        decoding=decoding,
        queue=FiresAtRandom(draw) if beside else None,
    )
    events = _run_at_random(draw, batch, order)
    found = answers(events)
    for case in _of(*SMALL):
        check(case, found[case.name][0])


def _run_at_random(draw: random.Random, batch: Engine, order: list[Request]) -> list[Event]:
    """Submit up to three requests before each step; cancel each decoy a few steps later."""
    events: list[Event] = []
    doomed: list[tuple[int, str]] = []
    step = 0
    while order or batch.has_work:
        for _ in range(min(len(order), draw.choice((0, 0, 1, 3)))):
            request = order.pop()
            batch.submit(request)
            if request.key.startswith("decoy"):
                doomed.append((step + draw.randrange(8), request.key))
        for key in [key for due, key in doomed if due == step]:
            batch.cancel(key)
        events += batch.step()
        step += 1
    return events


@pytest.mark.parametrize("beside", [False, True])
def test_mixed_pictures_and_skills_equal_reference(beside: bool) -> None:
    """All pictures together, in another order, with fewer slots than tasks; pieces too."""
    requests, groups = grouped(reversed(cases()))
    queue = FiresAtRandom(random.Random(0)) if beside else None
    events = run(engine(slots=5, max_batch_crops=20, queue=queue), reversed(requests))
    _check_all(groups, answers(events))
    num_checked = 0
    for key, group in groups.items():
        for index, case in enumerate(group):
            if "chunks" in case.record:
                assert pieces(events, key, index) == case.record["chunks"], case.name
                num_checked += 1
    assert num_checked == 6 * 4 + 3 + 2


@pytest.mark.parametrize("image", [0, 1, 2, 3, 4, 5, None])
def test_logits_of_batched_rows_equal_reference(image: int | None) -> None:
    chosen = _of(image)
    requests, _ = grouped(chosen)
    with _recorded(reference_model().text.lm_head) as outputs:
        run(decoding_engine(slots=len(chosen)), requests)
    # One request in a fresh engine: task i runs in slot i, and all begin in the first step.
    for case, logits in zip(chosen, outputs[0], strict=True):
        assert_near(logits, reference_tensors()[case.logits])


@pytest.mark.parametrize("case", _of(*SMALL), ids=lambda case: case.name)
def test_answer_and_logits_of_fresh_engine_equal_reference(case: Case) -> None:
    with _recorded(reference_model().text.lm_head) as outputs:
        found = answers(run(decoding_engine(slots=1), [case.request()]))
    check(case, found[case.name][0])
    assert_near(outputs[0][0], reference_tensors()[case.logits])


@pytest.mark.parametrize("image", [0, 3])
def test_logits_of_every_step_equal_reference(image: int) -> None:
    case = next(case for case in cases() if case.name == f"img{image}.caption.normal")
    with _recorded(reference_model().text.lm_head) as outputs:
        run(decoding_engine(slots=1), [case.request()])
    assert_near(torch.cat(outputs), reference_tensors()[f"img{image}.caption_normal.step_logits"])


@pytest.mark.parametrize("skill", ["detect", "point"])
@pytest.mark.parametrize("image", [0, 2, 4, 5])
def test_logits_of_coordinates_and_sizes_equal_reference(image: int, skill: str) -> None:
    case = next(case for case in cases() if case.name == f"img{image}.{skill}")
    region = reference_model().region
    with (
        _recorded(region.coord_decoder) as coordinates,
        _recorded(region.size_decoder) as sizes,
    ):
        run(decoding_engine(slots=1), [case.request()])
    expected = reference_tensors()
    assert_near(torch.cat(coordinates[:2]), expected[f"img{image}.{skill}.coord_logits"])
    if skill == "detect":
        assert_near(sizes[0].view(2, -1), expected[f"img{image}.detect.size_logits"])


@pytest.mark.parametrize("record", reference_record()["sampling"], ids=lambda each: each["probs"])
def test_nucleus_equals_reference(record: dict[str, float | str]) -> None:
    logits = reference_tensors()[str(record["logits"])].unsqueeze(0)
    temperature, top_p = (torch.tensor([[record[key]]]) for key in ("temperature", "top_p"))
    chances, tokens = nucleus(logits, temperature, top_p)
    found = torch.zeros_like(logits).scatter(1, tokens, chances)[0]
    assert int((found > 0).sum()) == record["kept"]
    assert_near(found, reference_tensors()[str(record["probs"])])


@pytest.mark.parametrize("record", reference_record()["streaming"], ids=lambda each: each["text"])
def test_stream_equals_reference(record: dict[str, Any]) -> None:
    stream = tokenizer().stream()
    chunks = [stream.push(token) for token in record["token_ids"]]
    assert [chunk for chunk in [*chunks, stream.finish()] if chunk] == record["chunks"]


def test_samples_do_not_depend_on_company() -> None:
    """With a temperature, equal seeds give equal answers in any batch."""
    chosen = [
        case.request() for case in _of(*SMALL) if "caption" in case.name or "query" in case.name
    ]
    warm = [_warm(request, seed) for seed, request in enumerate(chosen)]
    alone = {request.key: answers(run(engine(slots=1), [request]))[request.key] for request in warm}
    together = answers(run(engine(slots=len(warm)), warm))
    assert _ids(together) == _ids(alone)
    assert _ids(alone) != _ids(answers(run(engine(slots=len(chosen)), chosen)))


def _warm(request: Request, seed: int) -> Request:
    return replace(request, temperature=1.5, top_p=0.95, seed=seed)


def _ids(found: dict[str, tuple[Answer, ...]]) -> dict[str, list[tuple[int, ...]]]:
    return {
        key: [answer.token_ids for answer in group if isinstance(answer, TextAnswer)]
        for key, group in found.items()
    }


def test_request_that_fails_leaves_others_alone() -> None:
    case = next(case for case in cases() if case.name == "img0.caption.normal")
    endless = replace(case.request("endless"), tasks=(Query("car " * 2000),))
    events = run(engine(slots=2), [endless, case.request()])
    failed = [event for event in events if isinstance(event, Failed)]
    assert [event.key for event in failed] == ["endless"]
    assert "room for 1318" in str(failed[0].error)
    found = {event.key: event.answers for event in events if isinstance(event, Finished)}
    check(case, found[case.name][0])
