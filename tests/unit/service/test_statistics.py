from schemas.frame import Priority
from schemas.job import JobStatus
from service.statistics import Statistics


def test_endings_are_counted_by_status_and_reason() -> None:
    statistics = Statistics()
    statistics.ended(JobStatus.DROPPED, "cooldown")
    statistics.ended(JobStatus.DROPPED, "queue_full")
    statistics.ended(JobStatus.DUPLICATE, "similar")
    assert statistics.endings[JobStatus.DROPPED] == 2
    assert statistics.dropped == {"cooldown": 1, "queue_full": 1}
    assert statistics.duplicates == {"similar": 1}


def test_latency_is_given_by_priority_with_nearest_rank() -> None:
    statistics = Statistics()
    for i in range(1, 101):
        statistics.completed(Priority.HIGH, i / 100, 0.1, now=0.0)
    assert set(statistics.latency(600.0)) == {"high"}
    high = statistics.latency(600.0)["high"]
    assert (high.p50, high.p95, high.p99) == (0.5, 0.95, 0.99)


def test_captions_per_minute_forgets_after_a_minute() -> None:
    statistics = Statistics()
    for second in range(120):
        statistics.completed(Priority.LOW, 1.0, 0.1, now=float(second))
    assert statistics.captions_per_minute(119.0) == 61.0
    assert statistics.captions_per_minute(1000.0) == 0.0


def test_captions_per_minute_of_a_fast_engine_is_not_capped_by_its_memory() -> None:
    statistics = Statistics()
    for i in range(5000):
        statistics.completed(Priority.LOW, 1.0, 0.1, now=i * 0.01)
    assert 5500 < statistics.captions_per_minute(50.0) < 6500


def test_latency_forgets_after_ten_minutes() -> None:
    statistics = Statistics()
    statistics.completed(Priority.HIGH, 100.0, 0.1, now=0.0)
    statistics.completed(Priority.HIGH, 1.0, 0.1, now=300.0)
    assert statistics.latency(600.0)["high"].p99 == 100.0
    assert statistics.latency(601.0)["high"].p99 == 1.0
    assert statistics.latency(901.0) == {}


def test_latency_over_all_weighs_every_caption_alike() -> None:
    statistics = Statistics()
    assert statistics.latency_overall(0.0) is None
    for i in range(1, 91):
        statistics.completed(Priority.HIGH, i / 100, 0.1, now=0.0)
    for i in range(91, 101):
        statistics.completed(Priority.LOW, i / 100, 0.1, now=0.0)
    overall = statistics.latency_overall(600.0)
    assert overall is not None
    assert (overall.p50, overall.p95, overall.p99) == (0.5, 0.95, 0.99)
    assert statistics.latency_overall(601.0) is None
