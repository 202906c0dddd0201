"""The gateway's requests as frames and operations, and our errors as its problems."""

import asyncio
import uuid
from collections.abc import Sequence
from typing import Any

from broker.codec import PayloadError, validate
from gateway.backend import Frame, OnText
from gateway.problems import Problem
from schemas.frame import FrameOptions, MotionFrame, Priority
from schemas.job import Job
from schemas.readings import Readings
from schemas.requests.envelope import Answer
from schemas.result import ResultDocument
from schemas.status import StatusDocument
from service.clock import Clock
from service.delivery.documents import Documents, Rejection
from service.intake.submission import Repeated, Submission
from service.intake.wrapping import IncomingFrame, unwrap_frame, unwrap_image
from service.operations.asking import Asking, Submit
from service.operations.operations import OperationError, Operations
from service.queue.job_queue import JobQueue
from service.store.store import Store
from service.web.readings import ServiceReadings


class ServiceBackend:
    """See `gateway.backend.Backend`.

    Args:
        operations: Everything that can be asked and ordered.
        asking: Answers about a picture.
        submit: Hands frames to intake.
        queue: Knows where a job waits.
        store: Knows jobs of before.
        documents: Say where a job is.
        readings: Measures.
        max_image_bytes: Of one picture.
        clock: For times of arrival.
    """

    def __init__(
        self,
        operations: Operations,
        asking: Asking,
        submit: Submit,
        queue: JobQueue,
        store: Store,
        documents: Documents,
        readings: ServiceReadings,
        max_image_bytes: int,
        clock: Clock,
    ) -> None:
        self._operations = operations
        self._asking = asking
        self._submit = submit
        self._queue = queue
        self._store = store
        self._documents = documents
        self._readings = readings
        self._max_image_bytes = max_image_bytes
        self._clock = clock
        self._cancelling: set[asyncio.Task[None]] = set()

    async def call(self, operation: str, content: dict[str, Any]) -> Answer:
        """See `Backend.call`."""
        try:
            return await self._operations.call(operation, content)
        except OperationError as error:
            raise Problem(error.code, str(error)) from error

    async def submit(self, frame: Frame) -> StatusDocument:
        """See `Backend.submit`."""
        submission = self._submission(frame, is_asked_for=False)
        [outcome] = await self._hand_over([submission])
        if isinstance(outcome, Rejection):
            raise Problem(outcome.error.code, outcome.error.message)
        if isinstance(outcome, Repeated):
            known = await self._store.get(outcome.job_key)
            if known is None:
                raise Problem("internal", "the job of this id is gone")
            return self._status(known)
        return self._status(outcome.job)

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        """See `Backend.ask`."""
        submission = self._submission(frame, is_asked_for=True)
        job = {"job_id": submission.options.job_id, "camera_id": submission.camera_id}
        asking = self._asking.ask(submission, timeout_s)
        del submission, frame
        try:
            return await asking
        except asyncio.CancelledError:
            self._cancel(job)
            raise
        except OperationError as error:
            if error.code == "timeout":
                self._cancel(job)
            raise Problem(error.code, str(error)) from error

    async def readings(self) -> Readings:
        """See `Backend.readings`."""
        return await self._readings.read()

    async def _hand_over(self, submissions: Sequence[Submission]) -> Any:
        try:
            return await self._submit(submissions)
        except RuntimeError as error:
            raise Problem(
                "stopping",
                "what became of the frame is not known; send it again with the same job_id",
            ) from error

    def _status(self, job: Job) -> StatusDocument:
        places = {each.key: place for each, place in self._queue.places([job])}
        return self._documents.status(job, self._clock.now(), places.get(job.key))

    def _cancel(self, job: dict[str, Any]) -> None:
        """End a job whose answer nobody waits for any more; one that never came to be is none."""

        async def cancel() -> None:
            try:
                await self._operations.call("job/cancel", job)
            except OperationError:
                return

        task = asyncio.create_task(cancel(), name="cancel unheard job")
        self._cancelling.add(task)
        task.add_done_callback(self._cancelling.discard)

    def _submission(self, frame: Frame, *, is_asked_for: bool) -> Submission:
        """The frame as any source makes it.

        Raises:
            Problem: A field is wrong, or the text holds no image.
        """
        try:
            incoming = self._read(frame)
        except PayloadError as error:
            raise Problem(error.code, str(error)) from error
        options = incoming.options
        if options.camera_id is None:
            raise Problem("bad_field", "camera_id: is required", param="camera_id")
        update: dict[str, Any] = {"job_id": options.job_id or str(uuid.uuid4())}
        if is_asked_for and options.priority is None:
            update["priority"] = Priority.HIGH
        return Submission(
            camera_id=options.camera_id,
            options=options.model_copy(update=update),
            image=incoming.image,
            frame_url=incoming.frame_url,
            origin=frame.origin,
            content=incoming.image or b"",
            arrived_at=self._clock.now(),
            arrived_monotonic=self._clock.monotonic(),
            is_asked_for=is_asked_for,
            source="http",
        )

    def _read(self, frame: Frame) -> IncomingFrame:
        fields = dict(frame.fields)
        if frame.image is None:
            return unwrap_frame(validate(MotionFrame, fields), self._max_image_bytes)
        options = validate(FrameOptions, fields)
        return IncomingFrame(options, unwrap_image(frame.image, self._max_image_bytes), None)
