import pytest

from engine.protocol import Cancelled, Failed, Similar
from schemas.job import ErrorDetail, JobStatus
from service.engines.fate import End, Fate, NotTaken, Quarantine, Requeue, Retry, Setback, fate_of
from service.engines.process import Lost
from tests.support.factories import make_job

KEY = "front/1"
DELAY_S = 2.0
OUT_OF_MEMORY = ErrorDetail(code="out_of_memory", message="no room")
LOST = Lost((KEY,), "the engine was killed")


def failed(*, can_retry: bool) -> Failed:
    return Failed(KEY, OUT_OF_MEMORY.code, OUT_OF_MEMORY.message, can_retry)


def ended(code: str, message: str, status: JobStatus = JobStatus.FAILED) -> End:
    return End(status, ErrorDetail(code=code, message=message))


KILLER = ended("engine_killer", "The engine died under this job twice; not tried again")


@pytest.mark.parametrize(
    ("setback", "attempts", "losses", "fate"),
    [
        # Not the job's doing: as if it had not been tried, however often it was.
        (NotTaken(KEY), 1, 0, Requeue()),
        (NotTaken(KEY), 3, 1, Requeue()),
        (Cancelled(KEY), 1, 0, Requeue()),
        (Cancelled(KEY), 3, 1, Requeue()),
        # A failure is retried, each time later, until the attempts are used up.
        (failed(can_retry=True), 1, 0, Retry(2.0, OUT_OF_MEMORY)),
        (failed(can_retry=True), 2, 0, Retry(4.0, OUT_OF_MEMORY)),
        (failed(can_retry=True), 3, 0, End(JobStatus.FAILED, OUT_OF_MEMORY)),
        (failed(can_retry=False), 1, 0, End(JobStatus.FAILED, OUT_OF_MEMORY)),
        # A lost engine: alone, once; the second loss is the job's.
        (LOST, 1, 0, Quarantine()),
        (LOST, 2, 0, Quarantine()),
        (LOST, 3, 0, ended("engine_lost", "the engine was killed")),
        (LOST, 2, 1, KILLER),
        (LOST, 3, 1, KILLER),
        # The same scene.
        (
            Similar(KEY, "front/7", 0.987),
            1,
            0,
            ended("similar", "Looks like the frame of 7 (99% alike)", JobStatus.DUPLICATE),
        ),
    ],
)
def test_fate_of_a_job_of_three_attempts(
    setback: Setback, attempts: int, losses: int, fate: Fate
) -> None:
    job = make_job(attempts=attempts, engine_losses=losses, max_attempts=3)
    assert fate_of(job, setback, DELAY_S) == fate


def test_delay_of_a_retry_stays_finite() -> None:
    job = make_job(attempts=2000, max_attempts=3000)
    fate = fate_of(job, failed(can_retry=True), 3600.0)
    assert isinstance(fate, Retry)
    assert fate.delay_s < float("inf")
