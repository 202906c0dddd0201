"""Everything that is measured, at one moment: what Prometheus is told of."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.frame import Priority
from schemas.job import JobStatus, Source
from schemas.status import BridgeInfo, Metrics, Stats

#: Upper bounds in seconds: from a caption on a GPU to one on a small computer behind a queue.
BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)


@dataclass(slots=True)
class Histogram:
    """Durations, counted by size."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BOUNDS_S) + 1))
    total_s: float = 0.0

    def add(self, seconds: float) -> None:
        """Count one; a duration that equals a bound is within it."""
        self.counts[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds

    def cumulative(self) -> list[tuple[str, int]]:
        """How many are within each bound; the last has none."""
        names = [*(f"{bound:g}" for bound in BOUNDS_S), "+Inf"]
        so_far, found = 0, []
        for name, count in zip(names, self.counts, strict=True):
            so_far += count
            found.append((name, so_far))
        return found


ByPriority = Mapping[Priority, Histogram]


@dataclass(frozen=True, slots=True)
class CameraReading:
    """One camera, since it is known in this run."""

    camera_id: str
    frames: Mapping[Source, int]
    jobs: Mapping[JobStatus, int]  #: that have ended
    last_caption: float | None  #: seconds since 1970; None: none in this run


@dataclass(frozen=True, slots=True)
class Readings:
    """All of it."""

    info: BridgeInfo
    stats: Stats
    metrics: Metrics
    cameras: tuple[CameraReading, ...]
    oldest_s: Mapping[Priority, float]  #: waiting time of the oldest job of each class
    queue_wait: ByPriority
    processing: ByPriority
    job_time: ByPriority
    generated_tokens: int
    webhooks: Mapping[str, int]  #: attempts by result: delivered, failed
    is_connected: bool  #: to the broker
