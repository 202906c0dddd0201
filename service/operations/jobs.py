"""Requests about jobs: look at them, end them, run them again."""

from collections.abc import Sequence

from schemas.job import Job, split_key
from schemas.requests.jobs import (
    JOB_CANCEL,
    JOB_GET,
    JOB_LIST,
    JOB_RESULT,
    JOB_RETRY,
    JobDetail,
    JobFilter,
    JobName,
    JobPage,
    JobResult,
    JobView,
    Pagination,
    RetryRequest,
)
from schemas.requests.operation import Bound
from service.operations.cancel import Cancellation
from service.operations.operations import OperationError
from service.operations.retry import Retrying
from service.queue.job_queue import JobQueue
from service.store.store import Store


class JobOperations:
    """Answers requests about jobs.

    Args:
        store: Where they are.
        queue: Where those stand that wait.
        cancellation: Ends them.
        retrying: Lets them be done again.
    """

    def __init__(
        self, store: Store, queue: JobQueue, cancellation: Cancellation, retrying: Retrying
    ) -> None:
        self._store = store
        self._queue = queue
        self._cancellation = cancellation
        self._retrying = retrying

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (
            JOB_GET.bind(self.get),
            JOB_LIST.bind(self.list),
            JOB_RESULT.bind(self.result),
            JOB_CANCEL.bind(self.cancel),
            JOB_RETRY.bind(self.retry),
        )

    async def get(self, request: JobName) -> JobDetail:
        """A job with its result."""
        job = await self._find(request)
        result = await self._store.result(job.key)
        return JobDetail(**vars(self._view(job)), result=result)

    async def list(self, request: JobFilter) -> JobPage:
        """A page of jobs."""
        which = {"status": request.status, "camera_id": request.camera_id}
        jobs = await self._store.list_jobs(
            **which,  # type: ignore[arg-type]
            limit=request.limit,
            offset=request.offset,
            order_by=request.order_by,
            descending=request.order_direction == "desc",
        )
        count = await self._store.count_jobs(**which)  # type: ignore[arg-type]
        has_more = request.offset + len(jobs) < count
        return JobPage(
            count=count,
            items=tuple(self._view(job) for job in jobs),
            pagination=Pagination(limit=request.limit, offset=request.offset, has_more=has_more),
        )

    async def result(self, request: JobName) -> JobResult:
        """The result document of a job."""
        job = await self._find(request)
        document = await self._store.result(job.key)
        if document is None:
            raise OperationError("wrong_state", f"{job.job_id} is {job.status.value}: no result")
        return JobResult(**vars(document))

    async def cancel(self, request: JobName) -> JobDetail:
        """End a job that has not ended yet."""
        job = await self._find(request)
        ended = await self._cancellation.cancel([job])
        if not ended:
            status = (await self._find(request)).status
            how = f"{status.value} already" if status.is_final else "another instance's"
            raise OperationError("wrong_state", f"{job.job_id} is {how}")
        return JobDetail(**vars(self._view(ended[0])))

    async def retry(self, request: RetryRequest) -> JobView:
        """Caption the frame of a job that has ended without a caption, as a new job."""
        job = await self._find(request)
        return self._view(await self._retrying.retry(job, request.max_attempts))

    async def _find(self, request: JobName) -> Job:
        """The job that is meant.

        Raises:
            OperationError: `not_found`, or `ambiguous`: several cameras have one of this id.
        """
        keys = await self._store.keys_of(request.job_id, request.camera_id)
        if len(keys) > 1:
            cameras = ", ".join(sorted(split_key(key)[0] for key in keys)[:5])
            raise OperationError(
                "ambiguous", f"{request.job_id} is a job of several cameras: {cameras}"
            )
        job = await self._store.get(keys[0]) if keys else None
        if job is None:
            raise OperationError("not_found", f"there is no job {request.job_id}")
        return job

    def _view(self, job: Job) -> JobView:
        place = next((place for _, place in self._queue.places([job])), None)
        return JobView(
            job_id=job.job_id,
            camera_id=job.camera_id,
            status=job.status,
            priority=job.priority,
            motion_intensity=job.motion_intensity,
            attempts=job.attempts,
            max_attempts=job.max_attempts,
            queue_position=place.position if place else None,
            estimated_wait_time=place.wait_s if place else None,
            queued_at=job.received_at,
            taken_at=job.taken_at,
            started_at=job.started_at,
            finished_at=job.finished_at,
            error=job.error,
            location=job.location,
            retry_of=job.retry_of,
            metadata=job.metadata,
        )
