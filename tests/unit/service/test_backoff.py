import random

from service.backoff import Backoff, spread


def test_wait_doubles_up_to_the_longest() -> None:
    backoff = Backoff(first=1.5, longest=10.0)
    assert [backoff.after(number) for number in range(1, 6)] == [1.5, 3.0, 6.0, 10.0, 10.0]


def test_wait_before_any_failure_is_the_first() -> None:
    assert Backoff(first=1.5, longest=10.0).after(0) == 1.5


def test_wait_after_very_many_failures_can_be_computed() -> None:
    assert Backoff(first=1.0, longest=60.0).after(100_000) == 60.0


def test_spread_stays_within_its_share() -> None:
    rng = random.Random(1)
    waits = [spread(10.0, 0.2, rng) for _ in range(1000)]
    assert 8.0 <= min(waits) < 8.1
    assert 11.9 < max(waits) <= 12.0
