"""Does the memory of a process grow? A line through its samples, and what may be said of it.

The resident set moves in steps (the allocators of Python and C take and give back whole arenas), so
neighbouring samples resemble each other and tell less than as many independent ones would. The
uncertainty allows for that.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Finding = Literal["FLAT", "GROWS", "UNDECIDED"]

#: MiB an hour; more would be seen in a month.
MOST_PER_HOUR = 1.0
_CONFIDENCE = 1.96  # standard errors, 95 %
_MOST_ALIKE = 0.99
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True)
class Slope:
    """How fast something grows."""

    per_hour: float
    uncertainty: float  #: half of the 95 % interval, per hour

    def __str__(self) -> str:
        return f"{self.per_hour:+.2f} ± {self.uncertainty:.2f} MiB an hour"

    @property
    def finding(self) -> Finding:
        """Whether it is at most `MOST_PER_HOUR`, as far as the samples can tell."""
        if self.per_hour + self.uncertainty <= MOST_PER_HOUR:
            return "FLAT"
        if self.per_hour - self.uncertainty > MOST_PER_HOUR:
            return "GROWS"
        return "UNDECIDED"


def slope(seconds: Sequence[float], values: Sequence[float]) -> Slope:
    """The least-squares line through values at moments.

    Raises:
        ValueError: Fewer than three samples, or all at one moment.
    """
    num_samples = len(seconds)
    if num_samples < 3 or len(set(seconds)) < 2:
        raise ValueError("a slope needs three samples, at different moments")
    hours = [each / _HOUR_S for each in seconds]
    mid_hour, mid_value = sum(hours) / num_samples, sum(values) / num_samples
    spread = sum((hour - mid_hour) ** 2 for hour in hours)
    pairs = list(zip(hours, values, strict=True))
    per_hour = sum((hour - mid_hour) * (value - mid_value) for hour, value in pairs) / spread
    rests = [value - mid_value - per_hour * (hour - mid_hour) for hour, value in pairs]
    squares = sum(rest * rest for rest in rests)
    error = math.sqrt(squares / (num_samples - 2) / spread)
    return Slope(per_hour, _CONFIDENCE * error * _inflation(rests, squares))


def _inflation(rests: Sequence[float], squares: float) -> float:
    """By what the error grows because neighbours are alike (first-order autocorrelation)."""
    if squares == 0.0:
        return 1.0
    likeness = sum(one * other for one, other in pairwise(rests)) / squares
    likeness = min(max(likeness, 0.0), _MOST_ALIKE)
    return math.sqrt((1 + likeness) / (1 - likeness))
