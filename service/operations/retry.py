"""A frame once more: a job has one end, so it is another job, which names the first.

The frame is copied in the transaction that makes the job: retention may delete the old one at any
moment, and an end is never taken back.
"""

import uuid

from schemas.job import CAN_BE_RETRIED, Job, JobStatus
from service.clock import Clock
from service.delivery.deliver import Deliver
from service.errors import StoreError, StoreFullError
from service.intake.downloads import Downloads
from service.operations.operations import OperationError
from service.queue.job_queue import JobQueue
from service.store.store import Store


class Retrying:
    """Makes new jobs of jobs that have ended without a caption.

    Args:
        store: Keeps the frames.
        deliver: Says that the new jobs wait.
        queue: Where they wait.
        downloads: Gets those whose image is behind a URL.
        clock: They come now.
    """

    def __init__(
        self, store: Store, deliver: Deliver, queue: JobQueue, downloads: Downloads, clock: Clock
    ) -> None:
        self._store = store
        self._deliver = deliver
        self._queue = queue
        self._downloads = downloads
        self._clock = clock

    async def retry(self, job: Job, max_attempts: int | None) -> Job:
        """Let the frame of a job be captioned again, with the same options.

        Args:
            job: As it ended.
            max_attempts: Of the new job; None: as many as the old one's.

        Returns:
            The new job.

        Raises:
            OperationError: `wrong_state`, or `frame_gone`.
            StoreError: The new job may be there all the same.
        """
        if job.status not in CAN_BE_RETRIED:
            raise OperationError("wrong_state", f"{job.job_id} is {job.status.value}")
        new = self._again(job, max_attempts or job.max_attempts)
        try:
            is_there = await self._store.retry(job, new)
        except StoreFullError:
            raise
        except StoreError:
            # If only the answer was lost it waits now; if not, it is not found at its turn.
            await self._queue.enqueue([new])
            raise
        if not is_there:
            raise OperationError("frame_gone", f"the frame of {job.job_id} is no longer kept")
        await self._wait(new)
        return new

    async def _wait(self, new: Job) -> None:
        if new.frame_url is not None and not new.num_bytes:
            self._deliver.announce(new)
            await self._downloads.add(new)
            return
        evicted = self._queue.push([new])
        for job, place in self._queue.places([new]):  # before an engine can take it
            self._deliver.announce(job, place)
        await self._queue.drop_evicted(evicted)

    def _again(self, job: Job, max_attempts: int) -> Job:
        update = {
            "job_id": str(uuid.uuid4()),
            "retry_of": job.job_id,
            "batch_id": None,  # asked for by itself
            "status": JobStatus.QUEUED,
            "webhook_id": None,  # the new id is nobody else's
            "similarity": 0.0,  # who asks for it by name wants a caption, not another's
            "max_attempts": max_attempts,
            "attempts": 0,
            "engine_losses": 0,
            "frame_received_at": job.frame_received_at or job.received_at,
            "received_at": self._clock.now(),
            "arrived_monotonic": self._clock.monotonic(),
            "started_at": None,
            "finished_at": None,
            "error": None,
        }
        return job.model_copy(update=update)
