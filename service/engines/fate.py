"""What becomes of a job that its engine gives back without a caption: one rule for all cases.

Pure: what happened to the job goes in, what to do with it comes out, and who asks does it.
"""

from dataclasses import dataclass
from math import inf

from engine.protocol import Cancelled, Failed, Similar
from schemas.job import ErrorDetail, Job, JobStatus, split_key
from service.backoff import Backoff
from service.engines.process import Lost

_MOST_LOSSES = 2  # the second time a job's engine dies under it, it ends


@dataclass(frozen=True, slots=True)
class NotTaken:
    """The engine refused the job, or the job was taken back before the engine had it."""

    key: str


#: How a job comes back; `Cancelled` follows a preemption. Of one that was cancelled on request
#: nothing becomes any more: it has ended.
Setback = Failed | Similar | Cancelled | Lost | NotTaken


@dataclass(frozen=True, slots=True)
class Requeue:
    """It waits for its turn again at once, as if it had not been tried."""


@dataclass(frozen=True, slots=True)
class Retry:
    """It waits for its turn again after a while."""

    delay_s: float
    error: ErrorDetail


@dataclass(frozen=True, slots=True)
class Quarantine:
    """It waits for an engine of its own, so that the killer is known if another one dies."""


@dataclass(frozen=True, slots=True)
class End:
    """It is over."""

    status: JobStatus
    error: ErrorDetail


Fate = Requeue | Retry | Quarantine | End


def fate_of(job: Job, setback: Setback, retry_delay_s: float) -> Fate:
    """What becomes of a job.

    Args:
        job: As it went to the engine: the attempt is counted.
        setback: How it came back.
        retry_delay_s: Before its second attempt; doubles each time.
    """
    match setback:
        case NotTaken() | Cancelled():
            return Requeue()
        case Failed():
            return _after_failure(job, setback, retry_delay_s)
        case Lost():
            return _after_loss(job, setback)
        case Similar():
            _, other_id = split_key(setback.other_key)
            message = f"Looks like the frame of {other_id} ({setback.likeness:.0%} alike)"
            return End(JobStatus.DUPLICATE, ErrorDetail(code="similar", message=message))


def _after_failure(job: Job, failed: Failed, retry_delay_s: float) -> Fate:
    error = ErrorDetail(code=failed.code, message=failed.message)
    if not failed.can_retry or job.attempts >= job.max_attempts:
        return End(JobStatus.FAILED, error)
    return Retry(Backoff(retry_delay_s, inf).after(job.attempts), error)


def _after_loss(job: Job, lost: Lost) -> Fate:
    if job.engine_losses + 1 >= _MOST_LOSSES:
        message = "The engine died under this job twice; not tried again"
        return End(JobStatus.FAILED, ErrorDetail(code="engine_killer", message=message))
    if job.attempts >= job.max_attempts:
        return End(JobStatus.FAILED, ErrorDetail(code="engine_lost", message=lost.message))
    return Quarantine()
