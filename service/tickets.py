"""The place in line of a job: what the heap needs to know, on the monotonic clock."""

from schemas.job import Job
from service.clock import Clock
from service.heap import Ticket

_OLDEST_PLAUSIBLE_S = 86400.0  # a camera whose clock is further off than a day has no clock


def ticket_of(job: Job, clock: Clock) -> Ticket:
    """The ticket of a queued job.

    Age counts from when the frame was taken if the sender's clock is plausible (not in the future,
    at most a day back), and from its arrival otherwise.
    """
    arrived = clock.monotonic() - (clock.now() - job.received_at).total_seconds()
    on_the_way = (job.received_at - job.taken_at).total_seconds()
    taken = arrived - on_the_way if 0 <= on_the_way <= _OLDEST_PLAUSIBLE_S else arrived
    return Ticket(
        job_key=job.key,
        camera_id=job.camera_id,
        priority=job.priority,
        queued_at=arrived,
        expires_at=taken + job.max_age,
        num_bytes=job.num_bytes,
    )
