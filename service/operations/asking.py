"""A frame whose result somebody waits for: it becomes a job like any other, and its end is told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from schemas.job import Job, JobStatus, job_key
from schemas.requests.jobs import JobResult
from service.delivery.documents import Rejection
from service.delivery.ends import Ends, TooManyWaitError
from service.intake.submission import Outcome, Repeated, Submission
from service.operations.operations import OperationError
from service.store.store import Store

Submit = Callable[[Sequence[Submission]], Awaitable[list[Outcome]]]


class Asking:
    """Answers with what the model says.

    Args:
        submit: Hands frames to intake.
        ends: Tells when a job has ended.
        store: Has its result.
    """

    def __init__(self, submit: Submit, ends: Ends, store: Store) -> None:
        self._submit = submit
        self._ends = ends
        self._store = store

    async def ask(self, submission: Submission, timeout_s: float) -> JobResult:
        """The result document of a frame's job.

        Args:
            submission: Its options say a `job_id`.
            timeout_s: Afterwards the job goes on, unheard.

        Raises:
            OperationError: `busy`, `timeout`, or why there is no result.
        """
        camera_id, job_id = submission.camera_id, submission.options.job_id or ""
        key = job_key(camera_id, job_id)
        try:
            with self._ends.of(key) as end:
                handing = asyncio.ensure_future(self._hand_over(submission, key))
                del submission  # its picture is not kept while the answer is waited for
                try:
                    async with asyncio.timeout(timeout_s):
                        job = await handing or await end
                finally:
                    handing.cancel()
        except TooManyWaitError as error:
            raise OperationError("busy", "too many wait for an answer; ask again later") from error
        except TimeoutError as error:
            found = await self._store.get(key)  # its end may have been committed unheard
            if found is None or not found.status.is_final:
                raise OperationError(
                    "timeout",
                    f"job {job_id} of {camera_id} has no result within {timeout_s:g} s; it "
                    f"{'goes' if found else 'may go'} on, ask job/get",
                ) from error
            job = found
        return await self._answer(job)

    async def wait_for_end(self, job_key: str, timeout_s: float) -> None:
        """Return once a job has ended, at the latest after `timeout_s` seconds.

        Raises:
            OperationError: `busy`.
        """
        try:
            with self._ends.of(job_key) as end:
                job = await self._store.get(job_key)
                if job is not None and not job.status.is_final:
                    await asyncio.wait({end}, timeout=timeout_s)
        except TooManyWaitError as error:
            raise OperationError("busy", "too many wait for an answer; ask again later") from error

    async def _hand_over(self, submission: Submission, key: str) -> Job | None:
        """Let it become a job; that one if it has ended already.

        Raises:
            OperationError: It was rejected.
        """
        [outcome] = await self._submit([submission])
        if isinstance(outcome, Rejection):
            raise OperationError(outcome.error.code, outcome.error.message)
        job = await self._store.get(key) if isinstance(outcome, Repeated) else outcome.job
        return job if job is not None and job.status.is_final else None

    async def _answer(self, job: Job) -> JobResult:
        if job.status is JobStatus.COMPLETED:
            document = await self._store.result(job.key)
            if document is not None:
                return JobResult(**vars(document))
        code = job.error.code if job.error else job.status.value
        reason = job.error.message if job.error else "without a result"
        raise OperationError(code, f"job {job.job_id} has ended as {job.status.value}: {reason}")
