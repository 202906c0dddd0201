"""Estimates, held against a simulated engine."""

import pytest

from schemas.frame import Priority
from service.delivery.place import Place
from service.queue.pace import Pace


def alone(pace: Pace, seconds: float, now: float = 100.0) -> None:
    """One job was captioned in an empty house."""
    pace.ended(now, num_behind=0, alone_s=seconds)


def busy(pace: Pace, intervals: list[float]) -> None:
    """Ends that follow each other while others wait."""
    now = 1000.0
    pace.ended(now, num_behind=100)
    for interval in intervals:
        now += interval
        pace.ended(now, num_behind=100)


def test_nothing_is_estimated_before_anything_is_known() -> None:
    assert Pace(capacity=8).place(1) == Place(1, None, "Next")


@pytest.mark.parametrize(
    ("position", "message"),
    [(1, "Next"), (2, "Waiting, 1 is ahead"), (4, "Waiting, 3 are ahead")],
)
def test_message_counts_those_ahead(position: int, message: str) -> None:
    assert Pace(capacity=1).place(position).message == message


def test_message_without_an_engine_names_the_model() -> None:
    pace = Pace()
    alone(pace, 0.07)
    assert pace.place(3) == Place(3, None, "Waiting for the model to load")
    pace.loading = "downloading model: 43 % of 3.8 GB"
    message = "Waiting for the model to load: downloading model: 43 % of 3.8 GB"
    assert pace.place(3) == Place(3, None, message)


def test_message_while_paused_says_so() -> None:
    pace = Pace(capacity=8, is_paused=True)
    alone(pace, 0.07)
    assert pace.place(1) == Place(1, None, "Waiting, processing is paused")


def test_empty_queue_waits_as_long_as_one_job_takes() -> None:
    pace = Pace(capacity=8)
    for number in range(20):  # a frame a minute: rare captions are no slow captions
        alone(pace, 0.07, now=60.0 * number)
    assert pace.place(1).wait_s == pytest.approx(0.07)


def test_slow_first_job_is_soon_forgotten() -> None:
    pace = Pace(capacity=8)
    for seconds in (18.0, 0.07, 0.08):
        alone(pace, seconds)
    assert pace.place(1).wait_s == pytest.approx(0.08)


def test_long_queue_waits_for_all_before_it() -> None:
    pace = Pace(capacity=4, running={Priority.NORMAL: 4})
    busy(pace, [0.5] * 30)
    assert pace.place(16).wait_s == pytest.approx(10.0)


def test_batches_are_counted_by_their_mean() -> None:
    pace = Pace(capacity=8, running={Priority.LOW: 8})
    busy(pace, [0.8, *[0.0] * 7] * 8)  # eight at once, every 0.8 s
    assert pace.place(72).wait_s == pytest.approx(8.0)


def test_burst_teaches_nothing_about_one_alone() -> None:
    pace = Pace(capacity=8)
    alone(pace, 0.5)
    busy(pace, [0.5, *[0.0] * 7] * 8)
    assert pace.place(1).wait_s == pytest.approx(0.5)


def test_time_without_work_is_no_interval() -> None:
    pace = Pace(capacity=2)
    busy(pace, [0.1] * 5)
    pace.ended(1000.6, num_behind=0)  # the last of them
    alone(pace, 0.1, now=5000.0)
    assert pace.place(10).wait_s == pytest.approx(1.0)


def test_important_job_does_not_wait_for_less_important_ones_that_run() -> None:
    """On a CPU an engine holds 18 frames of half a minute, and a critical one goes before them."""
    pace = Pace(capacity=18, running={Priority.LOW: 16, Priority.HIGH: 1})
    alone(pace, 33.0)
    busy(pace, [30.0] * 8)
    assert pace.place(1, Priority.CRITICAL).wait_s == pytest.approx(33.0)
    assert pace.place(1, Priority.HIGH).wait_s == pytest.approx(60.0)
    assert pace.place(1, Priority.LOW).wait_s == pytest.approx(540.0)
