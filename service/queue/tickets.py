"""The ticket of a job: what the heap needs to know of it, on the monotonic clock."""

from schemas.job import Job
from service.clock import Clock
from service.queue.heap import Ticket


def ticket_of(job: Job, clock: Clock) -> Ticket:
    """The ticket of a queued job; its age counts from its arrival.

    What the sender's clock says of the frame is shown and not believed: one that is wrong, or ours,
    must not make frames expire. One of a batch waits in the store first, for as long as it takes:
    in the queue it begins when it gets there.
    """
    now = clock.monotonic()
    arrived = now if job.arrived_monotonic is None else job.arrived_monotonic
    return Ticket(
        job_key=job.key,
        camera_id=job.camera_id,
        priority=job.priority,
        queued_at=arrived if job.batch_id is None else now,
        expires_at=arrived + job.max_age,
        num_bytes=job.num_bytes,
        is_of_batch=job.batch_id is not None,
        is_asked_for=job.is_asked_for,
    )
