"""What is measured all over the service, put together for whoever scrapes it."""

from collections import Counter
from collections.abc import Callable, Mapping

from schemas.frame import Priority
from schemas.job import JobStatus
from schemas.readings import CameraReading, Readings
from service.camera import Camera
from service.cameras import Cameras
from service.clock import Clock
from service.monitor import Monitor
from service.queue.job_queue import JobQueue
from service.statistics import Statistics


class ServiceReadings:
    """Reads everything.

    Args:
        monitor: Has the bridge's documents.
        statistics: Counts.
        cameras: Count each for itself.
        queue: Knows what waits.
        webhooks: Attempts so far, by result.
        is_connected: Whether results can leave.
        clock: For ages.
    """

    def __init__(
        self,
        monitor: Monitor,
        statistics: Statistics,
        cameras: Cameras,
        queue: JobQueue,
        webhooks: Mapping[str, int],
        is_connected: Callable[[], bool],
        clock: Clock,
    ) -> None:
        self._monitor = monitor
        self._statistics = statistics
        self._cameras = cameras
        self._queue = queue
        self._webhooks = webhooks
        self._is_connected = is_connected
        self._clock = clock

    async def read(self) -> Readings:
        """As it is now."""
        statistics, monitor = self._statistics, self._monitor
        return Readings(
            info=monitor.info(),
            stats=await monitor.stats(),
            metrics=monitor.metrics(),
            cameras=tuple(self._of(camera) for camera in self._cameras.all()),
            oldest_s=self._oldest(),
            queue_wait=statistics.queue_wait,
            processing=statistics.processing,
            job_time=statistics.job_time,
            generated_tokens=statistics.num_tokens,
            webhooks=self._webhooks,
            is_connected=self._is_connected(),
        )

    def _of(self, camera: Camera) -> CameraReading:
        counts = camera.counts
        jobs = Counter({JobStatus.COMPLETED: counts.captions})
        jobs.update(
            {
                status: reasons.total()
                for status, reasons in counts.reasons.items()
                if status is not JobStatus.REJECTED  # never a job
            }
        )
        last = None
        if counts.captioned_at is not None:
            age_s = self._clock.monotonic() - counts.captioned_at
            last = self._clock.now().timestamp() - age_s
        return CameraReading(camera.camera_id, dict(counts.sources), jobs, last)

    def _oldest(self) -> dict[Priority, float]:
        now = self._clock.monotonic()
        return {rank: now - since for rank, since in self._queue.oldest().items()}
