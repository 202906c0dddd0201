"""Requests that ask about a picture: it becomes a job like any frame, and its end is the answer."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from broker.codec import PayloadError
from schemas.frame import Priority
from schemas.job import Job, JobStatus, job_key
from schemas.requests.jobs import JobResult
from schemas.requests.operation import Bound, Operation
from schemas.requests.skills import SKILLS, SkillRequest
from service.clock import Clock
from service.delivery.documents import Rejection
from service.delivery.ends import Ends, TooManyWaitError
from service.intake.submission import Outcome, Repeated, Submission
from service.intake.wrapping import max_json_bytes, unwrap_frame
from service.operations.operations import OperationError
from service.store.store import Store

Submit = Callable[[Sequence[Submission]], Awaitable[list[Outcome]]]


class SkillOperations:
    """Answers with what the model says.

    Args:
        submit: Hands frames to intake.
        ends: Tells when a job has ended.
        store: Has its result.
        max_image_bytes: Of one image.
        clock: For times of arrival.
    """

    def __init__(
        self, submit: Submit, ends: Ends, store: Store, max_image_bytes: int, clock: Clock
    ) -> None:
        self._submit = submit
        self._ends = ends
        self._store = store
        self._max_image_bytes = max_image_bytes
        self._clock = clock

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here; a request may be as large as a frame."""
        max_bytes = max_json_bytes(self._max_image_bytes)
        return [self._bind(replace(each, max_bytes=max_bytes)) for each in SKILLS]

    def _bind(self, operation: Operation[Any, JobResult]) -> Bound:
        async def ask(request: SkillRequest) -> JobResult:
            asking = self._ask(self._submission(request, operation.name), request.timeout)
            del request  # its picture is not kept while the answer is waited for
            return await asking

        return operation.bind(ask)

    async def _ask(self, submission: Submission, timeout_s: float) -> JobResult:
        """The result document of a frame's job."""
        camera_id, job_id = submission.camera_id, submission.options.job_id or ""
        key = job_key(camera_id, job_id)
        try:
            with self._ends.of(key) as end:
                handing = asyncio.ensure_future(self._hand_over(submission, key))
                del submission
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

    def _submission(self, request: SkillRequest, name: str) -> Submission:
        """A frame as any source makes it; its id is known before it is handed over.

        Raises:
            OperationError: The text holds no image.
        """
        try:
            frame = unwrap_frame(request, self._max_image_bytes)
        except PayloadError as error:
            raise OperationError(error.code, str(error)) from error
        own = [each for each in frame.options.tasks or () if each != request.task]
        options = frame.options.model_copy(
            update={
                "job_id": frame.options.job_id or str(uuid.uuid4()),
                "tasks": (request.task, *own),
                "priority": Priority.HIGH if request.priority is None else request.priority,
            }
        )
        return Submission(
            camera_id=request.camera_id,
            options=options,
            image=frame.image,
            frame_url=frame.frame_url,
            origin=f"request {name}",
            content=frame.image or b"",
            arrived_at=self._clock.now(),
            arrived_monotonic=self._clock.monotonic(),
        )
