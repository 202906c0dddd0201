"""Describe what a camera sees now: its picture is fetched, and goes the way of any frame.

Who orders it wants a caption, so nothing is asked that spares a camera's frames theirs. The answer
names the job and does not wait for it; a picture that cannot be had is rejected like a frame, so
that it is also seen where nobody reads answers.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from schemas.frame import Priority
from schemas.job import ErrorDetail, JobStatus
from schemas.requests.cameras import CAMERA_DESCRIBE, Described, DescribeRequest
from schemas.requests.operation import Bound
from service.camera import Camera
from service.cameras import Cameras
from service.clock import Clock
from service.delivery.documents import Rejection
from service.errors import FrameError, UrlRefusedError
from service.intake.submission import Accepted, Outcome, Submission
from service.operations.operations import OperationError
from service.store.store import Store

logger = logging.getLogger(__name__)

Submit = Callable[[Sequence[Submission | Rejection]], Awaitable[list[Outcome]]]

_ORIGIN = f"request {CAMERA_DESCRIBE.name}"
_PATIENCE_S = 8.0  # then the answer says that it goes on; every answer comes within ten


class Pictures(Protocol):
    """What cameras see now; see `service.triggers.present`."""

    def knows(self, camera: Camera) -> bool:
        """Whether there is an address to ask."""

    async def fetch(self, camera: Camera) -> bytes:
        """Raises FrameError or UrlRefusedError."""


class DescribeOperations:
    """Describes cameras on request, each once at a time.

    Args:
        cameras: The registry.
        pictures: What they see.
        submit: Hands them to intake.
        store: Has the jobs.
        clock: For times of arrival.
        patience_s: How long an answer waits for the picture.
    """

    def __init__(
        self,
        cameras: Cameras,
        pictures: Pictures,
        submit: Submit,
        store: Store,
        clock: Clock,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._cameras = cameras
        self._pictures = pictures
        self._submit = submit
        self._store = store
        self._clock = clock
        self._patience_s = patience_s
        self._under_way: dict[str, asyncio.Task[JobStatus]] = {}  # by camera

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here."""
        return (CAMERA_DESCRIBE.bind(self.describe),)

    async def describe(self, request: DescribeRequest) -> Described:
        """Let the present picture of a camera become a job."""
        camera = self._find(request.camera_id)
        job_id = request.job_id or str(uuid.uuid4())
        priority = Priority.HIGH if request.priority is None else request.priority
        options = request.model_copy(update={"job_id": job_id, "priority": priority})
        work = asyncio.create_task(
            self._describe(camera, options), name=f"describe {camera.camera_id}"
        )
        self._under_way[camera.camera_id] = work
        work.add_done_callback(lambda _: self._under_way.pop(camera.camera_id, None))
        try:
            done, _ = await asyncio.wait({work}, timeout=self._patience_s)
        except asyncio.CancelledError:  # the service stops
            work.cancel()
            raise
        if done:
            return Described(camera_id=camera.camera_id, job_id=job_id, status=work.result())
        work.add_done_callback(_note_late_failure)
        return Described(camera_id=camera.camera_id, job_id=job_id, status=None, ask_next="job/get")

    def _find(self, camera_id: str) -> Camera:
        """A camera whose picture can be had.

        Raises:
            OperationError: `not_found`, `wrong_state` or `busy`.
        """
        if (camera := self._cameras.get(camera_id)) is None:
            raise OperationError("not_found", f"there is no camera {camera_id}")
        if not self._pictures.knows(camera):
            raise OperationError("wrong_state", f"{camera_id} has no snapshot_url and no trigger")
        if camera_id in self._under_way:
            raise OperationError("busy", f"the picture of {camera_id} is being fetched already")
        return camera

    async def _describe(self, camera: Camera, options: DescribeRequest) -> JobStatus:
        """Fetch the picture and hand it over; where its job stands then.

        Raises:
            OperationError: There is no picture, it was rejected, or it was dropped.
        """
        try:
            image = await self._pictures.fetch(camera)
        except (FrameError, UrlRefusedError) as error:
            detail = ErrorDetail(code=error.code, message=str(error))
            item: Submission | Rejection = Rejection(
                _ORIGIN, camera.camera_id, options.job_id, size=0, sha256=None, error=detail
            )
        else:
            item = self._submission(camera.camera_id, options, image)
        if self._cameras.get(camera.camera_id) is not camera:  # handing over would make it known
            raise OperationError("not_found", f"{camera.camera_id} has been forgotten")
        [outcome] = await self._submit([item])
        return await self._status(outcome)

    def _submission(self, camera_id: str, options: DescribeRequest, image: bytes) -> Submission:
        return Submission(
            camera_id=camera_id,
            options=options,
            image=image,
            frame_url=None,
            origin=_ORIGIN,
            content=image,
            arrived_at=self._clock.now(),
            arrived_monotonic=self._clock.monotonic(),
            is_asked_for=True,
            source="request",
        )

    async def _status(self, outcome: Outcome) -> JobStatus:
        if isinstance(outcome, Rejection):
            raise OperationError(outcome.error.code, outcome.error.message)
        if isinstance(outcome, Accepted):
            job = outcome.job
            if job.error is not None:
                raise OperationError(job.error.code, job.error.message)
            return job.status
        known = await self._store.get(outcome.job_key)
        return JobStatus.QUEUED if known is None else known.status


def _note_late_failure(work: "asyncio.Task[JobStatus]") -> None:
    """What intake has rejected it has told; the rest is only known here."""
    if work.cancelled() or (error := work.exception()) is None:
        return
    if not isinstance(error, OperationError):
        logger.error("a picture cannot be described", exc_info=error)
