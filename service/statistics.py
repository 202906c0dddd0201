"""Counts and rates of what happened since the start; every counter has one writer.

Plain memory: what must survive a restart is in the store.
"""

from collections import Counter, deque
from dataclasses import dataclass, field

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.readings import Histogram
from schemas.status import Figures, Latency

_MOST_SAMPLES = 1000  # enough for a mean
_LATENCY_S = 600.0  # of captions that count: an hour-old flood says nothing of now
_MOST_LATENCIES = 4096  # of one class: seven a second for ten minutes, some 400 KB


@dataclass(slots=True)
class Statistics:
    """What `bridge/stats` reports."""

    endings: Counter[JobStatus] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)  #: by reason
    duplicates: Counter[str] = field(default_factory=Counter)  #: by rule
    rejected: Counter[str] = field(default_factory=Counter)  #: by error code
    num_preempted: int = 0
    num_tokens: int = 0  #: generated for texts
    queue_wait: dict[Priority, Histogram] = field(default_factory=lambda: _histograms())
    processing: dict[Priority, Histogram] = field(default_factory=lambda: _histograms())
    job_time: dict[Priority, Histogram] = field(default_factory=lambda: _histograms())
    _latencies: dict[Priority, deque[tuple[float, float]]] = field(
        default_factory=lambda: {each: deque(maxlen=_MOST_LATENCIES) for each in Priority}
    )  # when, and how long
    _engine_seconds: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_SAMPLES))
    _captions: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_SAMPLES))

    def ended(self, status: JobStatus, reason: str | None) -> None:
        """Count a final status; `reason` is the error code, or the rule that found a duplicate."""
        self.endings[status] += 1
        if status is JobStatus.DROPPED:
            self.dropped[reason or "unknown"] += 1
        elif status is JobStatus.DUPLICATE:
            self.duplicates[reason or "unknown"] += 1
        elif status is JobStatus.REJECTED:
            self.rejected[reason or "unknown"] += 1

    def completed(
        self,
        priority: Priority,
        latency: float,
        engine_seconds: float,
        now: float,
        num_tokens: int = 0,
    ) -> None:
        """Count a caption: seconds from arrival to the end, and the engine's share of them."""
        self.num_tokens += num_tokens
        self.queue_wait[priority].add(max(0.0, latency - engine_seconds))
        self.processing[priority].add(engine_seconds)
        self.job_time[priority].add(latency)
        self._latencies[priority].append((now, latency))
        self._engine_seconds.append(engine_seconds)
        self._captions.append(now)

    def figures(self, now: float) -> Figures:
        """For `bridge/stats`."""
        return {
            "average_processing_time": self.average_processing_time(),
            "captions_per_minute": self.captions_per_minute(now),
            "latency": self.latency(now),
            "latency_overall": self.latency_overall(now),
            "dropped": dict(self.dropped),
            "duplicates": dict(self.duplicates),
            "rejected": dict(self.rejected),
            "preempted": self.num_preempted,
        }

    def captions_per_minute(self, now: float) -> float:
        """Captions of the last minute; scaled up when the kept samples do not reach back so far."""
        recent = [moment for moment in self._captions if now - moment <= 60.0]
        if len(recent) == _MOST_SAMPLES and now > recent[0]:
            return round(60.0 * len(recent) / (now - recent[0]), 1)
        return float(len(recent))

    def average_processing_time(self) -> float:
        """Mean seconds in the engine of recent captions; 0 before the first."""
        samples = self._engine_seconds
        return round(sum(samples) / len(samples), 4) if samples else 0.0

    def latency(self, now: float) -> dict[str, Latency]:
        """Percentiles of the last ten minutes per priority, for those with captions."""
        recent = {priority.wire: self._recent(priority, now) for priority in Priority}
        return {name: _percentiles(samples) for name, samples in recent.items() if samples}

    def latency_overall(self, now: float) -> Latency | None:
        """Percentiles of all captions of the last ten minutes; None without any."""
        recent = [took for priority in Priority for took in self._recent(priority, now)]
        return _percentiles(recent) if recent else None

    def _recent(self, priority: Priority, now: float) -> list[float]:
        return [took for moment, took in self._latencies[priority] if now - moment <= _LATENCY_S]


def _histograms() -> dict[Priority, Histogram]:
    return {each: Histogram() for each in Priority}


def _percentiles(samples: list[float]) -> Latency:
    ordered = sorted(samples)
    p50, p95, p99 = (_percentile(ordered, percent) for percent in (50, 95, 99))
    return Latency(p50=p50, p95=p95, p99=p99)


def _percentile(ordered: list[float], percent: int) -> float:
    """Nearest rank."""
    return round(ordered[max(0, -(-len(ordered) * percent // 100) - 1)], 4)
