"""Readings as the families of metrics that Prometheus collects.

Names and units follow https://prometheus.io/docs/practices/naming/: base units, `_total` for what
only grows, no ids as labels. A camera that is forgotten takes its series with it.
"""

from collections.abc import Iterator, Mapping

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)

from schemas.frame import Priority
from schemas.readings import ByPriority, CameraReading, Readings
from schemas.status import Gpu, Stats

_P = "moondream2mqtt_"


class Families:
    """A collector of one moment.

    Args:
        readings: Of the service.
        requests: Answers over HTTP so far, by route and status code.
    """

    def __init__(self, readings: Readings, requests: Mapping[tuple[str, str], int]) -> None:
        self._readings = readings
        self._requests = requests

    def describe(self) -> list[Metric]:
        """Nothing is known before it is collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every family there is."""
        readings = self._readings
        yield _build(readings)
        yield from _of_cameras(readings.cameras)
        yield from _of_queue(readings.stats, readings.oldest_s)
        yield _histogram("queue_wait", "Seconds a captioned job waited", readings.queue_wait)
        yield _histogram("processing", "Seconds a job was in the engine", readings.processing)
        yield _histogram("job", "Seconds from a frame's arrival to its caption", readings.job_time)
        yield _counter("generated_tokens", "Tokens generated for texts", readings.generated_tokens)
        yield _counters("webhooks", "Attempts to deliver a result", "result", readings.webhooks)
        yield _gauge("mqtt_connected", "1 while the broker is reached", readings.is_connected)
        yield from _of_gpus(readings.metrics.gpus)
        yield self._of_requests()

    def _of_requests(self) -> Metric:
        family = CounterMetricFamily(
            f"{_P}http_requests", "Answers over HTTP", labels=("route", "code")
        )
        for labels, count in sorted(self._requests.items()):
            family.add_metric(labels, count)
        return family


def _build(readings: Readings) -> Metric:
    model = readings.info.model
    labels = {
        "version": readings.info.version,
        "model": model.name,
        "revision": model.revision,
        "device": model.device,
    }
    return InfoMetricFamily(f"{_P}build", "What runs here", labels)


def _of_cameras(cameras: tuple[CameraReading, ...]) -> Iterator[Metric]:
    frames = CounterMetricFamily(
        f"{_P}frames", "Frames that became jobs", labels=("camera", "source")
    )
    jobs = CounterMetricFamily(f"{_P}jobs", "Jobs that have ended", labels=("camera", "status"))
    last = GaugeMetricFamily(
        f"{_P}last_caption_timestamp_seconds",
        "When it was captioned last",
        labels=("camera",),
    )
    for camera in cameras:
        for source, count in camera.frames.items():
            frames.add_metric((camera.camera_id, source), count)
        for status, count in camera.jobs.items():
            jobs.add_metric((camera.camera_id, status.value), count)
        if camera.last_caption is not None:
            last.add_metric((camera.camera_id,), camera.last_caption)
    yield from (frames, jobs, last)


def _of_queue(stats: Stats, oldest_s: Mapping[Priority, float]) -> Iterator[Metric]:
    rejected = stats.rejected or {}
    yield _counters("rejected", "Frames that became no job", "reason", rejected)
    yield _gauges("queue_jobs", "Jobs that wait", "priority", stats.queue_by_priority)
    oldest = {rank.wire: oldest_s.get(rank, 0.0) for rank in Priority}
    yield _gauges("queue_oldest_seconds", "How long the oldest has waited", "priority", oldest)
    yield _gauge("running_jobs", "Jobs in the engines", stats.active_jobs)


def _of_gpus(gpus: tuple[Gpu, ...]) -> Iterator[Metric]:
    found: dict[tuple[str, str], dict[str, float]] = {}

    def note(name: str, description: str, gpu: Gpu, value: float | None) -> None:
        readings = found.setdefault((name, description), {})
        if value is not None:
            readings[str(gpu.id)] = value

    for gpu in gpus:
        share = None if gpu.utilization is None else gpu.utilization.gpu / 100
        note("gpu_utilization_ratio", "Share of the time it works", gpu, share)
        note("gpu_memory_used_bytes", "Memory in use", gpu, gpu.memory.used)
        note("gpu_memory_total_bytes", "Memory it has", gpu, gpu.memory.total)
        note("gpu_temperature_celsius", "Temperature", gpu, gpu.temperature)
        note("gpu_power_watts", "Power it draws", gpu, gpu.power)
    for (name, description), readings in found.items():
        yield _gauges(name, description, "gpu", readings)


def _histogram(name: str, description: str, by_priority: ByPriority) -> Metric:
    family = HistogramMetricFamily(f"{_P}{name}_seconds", description, labels=("priority",))
    for rank, histogram in by_priority.items():
        family.add_metric((rank.wire,), histogram.cumulative(), histogram.total_s)
    return family


def _counters(name: str, description: str, label: str, values: Mapping[str, int]) -> Metric:
    family = CounterMetricFamily(f"{_P}{name}", description, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _gauges(name: str, description: str, label: str, values: Mapping[str, float]) -> Metric:
    family = GaugeMetricFamily(f"{_P}{name}", description, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _counter(name: str, description: str, value: float) -> Metric:
    return CounterMetricFamily(f"{_P}{name}", description, value)


def _gauge(name: str, description: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{_P}{name}", description, value)
