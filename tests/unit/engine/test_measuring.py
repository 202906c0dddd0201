import pytest
from torch import Tensor, nn

from engine.measuring import settle
from tests.support.generation import answers, odd_engine, odd_model, request, run

OWN = 6  # of the model's configuration


@pytest.mark.parametrize(
    ("wanted", "target_s", "may_choose", "expected"),
    [
        (None, 1e-9, False, OWN),  # exact where it is not in int8, however long it takes
        (None, 1e-9, True, 1),
        (None, 1e9, True, OWN),
        (4, 1e-9, True, 4),
        (100, 1.0, False, OWN),
    ],
)
def test_crops_are_what_is_wanted_or_what_the_target_allows(
    wanted: int | None, target_s: float, may_choose: bool, expected: int
) -> None:
    engine = odd_engine(odd_model())
    measured = settle(engine, wanted, target_s, may_choose=may_choose, in_units=True)
    assert measured.max_crops == expected
    assert measured.seconds_per_frame is not None
    assert 0 < measured.seconds_per_frame < 10
    assert not engine.has_work


@pytest.mark.parametrize("eos", [-1000.0, 1000.0])
def test_a_frame_that_is_really_answered_tells_the_seconds(eos: float) -> None:
    """Also when its caption ends at once."""
    engine = odd_engine(odd_model(eos=eos))
    measured = settle(engine, None, 20.0, may_choose=True, in_units=False)
    assert measured.max_crops == OWN
    assert measured.seconds_per_frame is not None
    assert 0 < measured.seconds_per_frame < 10
    assert not engine.has_work


class Broken(nn.Module):
    def forward(self, *_: object) -> Tensor:
        raise RuntimeError("can't allocate memory")


@pytest.mark.parametrize("in_units", [True, False])
def test_frame_that_cannot_be_measured_leaves_the_engine_to_its_work(in_units: bool) -> None:
    model = odd_model()
    block = model.text.blocks[0]
    model.text.blocks[0] = Broken()
    engine = odd_engine(model)
    measured = settle(engine, None, 20.0, may_choose=True, in_units=in_units)
    assert (measured.max_crops, measured.seconds_per_frame) == (OWN, None)
    assert not engine.has_work
    model.text.blocks[0] = block
    assert answers(run(engine, [request(model, "a")]))
