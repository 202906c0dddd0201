import random
from collections.abc import Iterator

import pytest

from tests.soak.slope import Slope, slope

SECONDS = [10.0 * number for number in range(361)]  # an hour


def test_slope_of_a_line_is_exact() -> None:
    found = slope(SECONDS, [90.0 + 2.5 * second / 3600 for second in SECONDS])
    assert found.per_hour == pytest.approx(2.5)
    assert found.uncertainty == pytest.approx(0.0, abs=1e-6)


def test_slope_does_not_depend_on_when_it_began() -> None:
    values = [90.0 + 2.5 * second / 3600 for second in SECONDS]
    assert slope([1e6 + second for second in SECONDS], values).per_hour == pytest.approx(2.5)


def test_slope_of_what_shrinks_is_negative() -> None:
    assert slope([0.0, 1800.0, 3600.0], [100.0, 99.0, 98.0]).per_hour == pytest.approx(-2.0)


def test_constant_has_no_slope_and_no_uncertainty() -> None:
    assert slope(SECONDS, [96.0] * len(SECONDS)) == Slope(0.0, 0.0)


def test_known_error_of_independent_noise() -> None:
    # Alternating by one: the error is 1 / sqrt(sum of squared hours), and nothing is added for
    # neighbours that are unlike.
    values = [90.0 + (-1.0) ** number for number in range(len(SECONDS))]
    spread = sum((second / 3600 - 0.5) ** 2 for second in SECONDS)
    assert slope(SECONDS, values).uncertainty == pytest.approx(1.96 / spread**0.5, rel=0.01)


def wandering(rng: random.Random, likeness: float) -> Iterator[float]:
    """Noise in which each sample resembles the one before it."""
    value = 0.0
    for _ in SECONDS:
        value = likeness * value + rng.gauss(0.0, (1 - likeness**2) ** 0.5)
        yield value


@pytest.mark.parametrize("likeness", [0.0, 0.8])
def test_interval_holds_the_truth_about_as_often_as_it_says(likeness: float) -> None:
    rng = random.Random(1)
    num_hits = 0
    for _ in range(300):
        values = [90.0 + 0.5 * second / 3600 for second in SECONDS]
        found = slope(
            SECONDS, [a + b for a, b in zip(values, wandering(rng, likeness), strict=True)]
        )
        num_hits += abs(found.per_hour - 0.5) <= found.uncertainty
    assert 0.88 * 300 <= num_hits <= 300


@pytest.mark.parametrize(
    ("per_hour", "uncertainty", "finding"),
    [
        (0.2, 0.3, "FLAT"),
        (-4.0, 1.0, "FLAT"),
        (1.0, 0.0, "FLAT"),
        (0.9, 0.3, "UNDECIDED"),
        (1.2, 0.3, "UNDECIDED"),
        (4.0, 1.0, "GROWS"),
    ],
)
def test_finding_is_said_only_where_the_samples_can_tell(
    per_hour: float, uncertainty: float, finding: str
) -> None:
    assert Slope(per_hour, uncertainty).finding == finding


@pytest.mark.parametrize("seconds", [[], [0.0, 10.0], [5.0, 5.0, 5.0]])
def test_too_few_samples_have_no_slope(seconds: list[float]) -> None:
    with pytest.raises(ValueError, match="three samples"):
        slope(seconds, [90.0] * len(seconds))
