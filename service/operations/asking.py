"""A frame whose result somebody waits for: it becomes a job like any other, and its end is told."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from schemas.job import Job, JobStatus, job_key
from schemas.requests.jobs import JobResult
from service.boundary import contained
from service.delivery.documents import Rejection
from service.delivery.ends import Ends, TooManyWaitError
from service.engines.partials import Partials
from service.intake.submission import Outcome, Repeated, Submission
from service.operations.cancel import Cancellation
from service.operations.operations import OperationError
from service.store.store import Store

Submit = Callable[[Sequence[Submission]], Awaitable[list[Outcome]]]

_PATIENCE_S = 5.0  # with jobs that are being ended, when all is over


@dataclass(frozen=True, slots=True)
class _Taken:
    """What became of a frame that was handed over."""

    job: Job | None  #: None: gone since
    is_new: bool  #: it was made of this frame, not of one before


@dataclass(frozen=True, slots=True)
class Hanging:
    """For those who hang up: their jobs are ended, and before that they hear what is generated.

    Attributes:
        kind: Of who waits, see `Ends`.
        cancellation: Ends their jobs.
        partials: Tell what is generated.
    """

    kind: str
    cancellation: Cancellation
    partials: Partials


class Asking:
    """Answers with what the model says.

    Args:
        submit: Hands frames to intake.
        ends: Tells when a job has ended.
        store: Has its result.
        hanging: For those who hang up; without, the job of who stops waiting goes on.
    """

    def __init__(
        self, submit: Submit, ends: Ends, store: Store, hanging: Hanging | None = None
    ) -> None:
        self._submit = submit
        self._ends = ends
        self._store = store
        self._hanging = hanging
        self._ending: set[asyncio.Task[None]] = set()

    async def ask(
        self,
        submission: Submission,
        timeout_s: float,
        on_text: Callable[[str], None] | None = None,
    ) -> JobResult:
        """The result document of a frame's job.

        Args:
            submission: Its options say a `job_id`.
            timeout_s: Afterwards the job goes on, unheard, or is cancelled: see `hanging`.
            on_text: Hears it while it is generated, see `Partials.of`.

        Raises:
            OperationError: `busy`, `timeout`, or why there is no result.
        """
        camera_id, job_id = submission.camera_id, submission.options.job_id or ""
        key = job_key(camera_id, job_id)
        kind = self._hanging.kind if self._hanging else ""
        try:
            with self._ends.of(key, kind) as end, self._hearing(key, on_text):
                handing = asyncio.ensure_future(self._hand_over(submission, key))
                del submission  # its picture is not kept while the answer is waited for
                job = await self._end_of(handing, end, timeout_s)
        except TooManyWaitError as error:
            raise OperationError("busy", "too many wait for an answer; ask again later") from error
        except TimeoutError as error:
            found = await self._store.get(key)  # its end may have been committed unheard
            if found is None or not found.status.is_final:
                raise OperationError(
                    "timeout",
                    f"job {job_id} of {camera_id} has no result within {timeout_s:g} s; it "
                    f"{self._what_becomes(found)}",
                ) from error
            job = found
        return await self._answer(job)

    async def settle(self) -> None:
        """Wait for the ends of those jobs whose callers have hung up."""
        if self._ending:
            await asyncio.wait(self._ending, timeout=_PATIENCE_S)

    def _hearing(
        self, key: str, on_text: Callable[[str], None] | None
    ) -> AbstractContextManager[None]:
        if on_text is None or self._hanging is None:
            return nullcontext()
        return self._hanging.partials.of(key, on_text)

    def _what_becomes(self, job: Job | None) -> str:
        if self._hanging is not None:
            return "is cancelled"
        return f"{'goes' if job else 'may go'} on, ask job/get"

    async def _end_of(
        self, handing: "asyncio.Future[_Taken]", end: "asyncio.Future[Job]", timeout_s: float
    ) -> Job:
        """Wait for the end of what is being handed over.

        Raises:
            TimeoutError: It has not come.
        """
        try:
            async with asyncio.timeout(timeout_s):
                taken = await asyncio.shield(handing)
                if taken.job is not None and taken.job.status.is_final:
                    return taken.job
                return await end
        except BaseException:
            self._let_go(handing)
            raise

    def _let_go(self, handing: "asyncio.Future[_Taken]") -> None:
        """Nobody waits any more."""
        if self._hanging is None:
            handing.cancel()
            return
        task = asyncio.create_task(
            self._end_unheard(handing, self._hanging.cancellation), name="cancel unheard job"
        )
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end_unheard(
        self, handing: "asyncio.Future[_Taken]", cancellation: Cancellation
    ) -> None:
        """Cancel the job as soon as it is one; a job of before is somebody else's, and goes on."""
        await asyncio.wait([handing])
        if handing.cancelled() or handing.exception() is not None:
            return
        taken = handing.result()
        if taken.is_new and taken.job is not None and not taken.job.status.is_final:
            with contained(f"{taken.job.key} cannot be cancelled"):
                await cancellation.cancel([taken.job])

    async def wait_for_end(self, job_key: str, timeout_s: float) -> None:
        """Return once a job has ended, at the latest after `timeout_s` seconds.

        Raises:
            OperationError: `busy`.
        """
        try:
            with self._ends.of(job_key, self._hanging.kind if self._hanging else "") as end:
                job = await self._store.get(job_key)
                if job is not None and not job.status.is_final:
                    await asyncio.wait({end}, timeout=timeout_s)
        except TooManyWaitError as error:
            raise OperationError("busy", "too many wait for an answer; ask again later") from error

    async def _hand_over(self, submission: Submission, key: str) -> _Taken:
        """Let it become a job.

        Raises:
            OperationError: It was rejected.
        """
        [outcome] = await self._submit([submission])
        if isinstance(outcome, Rejection):
            raise OperationError(outcome.error.code, outcome.error.message)
        if isinstance(outcome, Repeated):
            return _Taken(await self._store.get(key), is_new=False)
        return _Taken(outcome.job, is_new=True)

    async def _answer(self, job: Job) -> JobResult:
        if job.status is JobStatus.COMPLETED:
            document = await self._store.result(job.key)
            if document is not None:
                return JobResult(**vars(document))
        code = job.error.code if job.error else job.status.value
        reason = job.error.message if job.error else "without a result"
        raise OperationError(code, f"job {job.job_id} has ended as {job.status.value}: {reason}")
