"""The ticket of a job: what the heap needs to know of it, on the monotonic clock."""

from schemas.job import Job
from service.clock import Clock
from service.queue.heap import Ticket


def ticket_of(job: Job, clock: Clock) -> Ticket:
    """The ticket of a queued job; its age counts from its arrival.

    What the sender's clock says of the frame is shown and not believed: one that is wrong, or ours,
    must not make frames expire.
    """
    arrived = clock.monotonic() if job.arrived_monotonic is None else job.arrived_monotonic
    return Ticket(
        job_key=job.key,
        camera_id=job.camera_id,
        priority=job.priority,
        queued_at=arrived,
        expires_at=arrived + job.max_age,
        num_bytes=job.num_bytes,
    )
