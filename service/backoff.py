"""How long to wait before the next try of what keeps failing: engines, jobs, receivers of webhooks.

A rule without clock: who waits decides how. The connection to the broker has its own, which asks
for more than a number of failures and lies below this package.
"""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Doubles with each failure in a row."""

    first: float  #: seconds after the first failure
    longest: float  #: seconds, whatever the number

    def after(self, num_failures: int) -> float:
        """Seconds to wait after that many failures in a row."""
        return float(min(self.longest, self.first * 2.0 ** min(max(num_failures, 1) - 1, 30)))


def spread(seconds: float, share: float, rng: random.Random) -> float:
    """The same, longer or shorter by up to a share: who failed together does not come together."""
    return seconds * rng.uniform(1 - share, 1 + share)
