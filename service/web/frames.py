"""Pictures that come over HTTP: frames that any source makes, and questions that wait."""

import asyncio
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from broker.codec import PayloadError, validate
from gateway.backend import Frame, OnText
from gateway.problems import Problem
from schemas.frame import FrameOptions, MotionFrame, Priority, priority_named
from schemas.job import Job, job_key
from schemas.result import ResultDocument
from schemas.status import StatusDocument
from service.clock import Clock
from service.delivery.documents import Documents, Rejection
from service.delivery.place import Place
from service.intake.submission import Repeated, Submission
from service.intake.wrapping import IncomingFrame, is_image, unwrap_frame, unwrap_image
from service.operations.asking import Asking, Submit
from service.operations.operations import OperationError
from service.queue.job_queue import JobQueue
from service.store.store import Store
from service.web.readiness import Readiness

_IN_A_THREAD = 256 << 10  # characters of base64, which take half a millisecond
_ASK_LATER = frozenset({"busy", "queue_full"})


class HttpFrames:
    """Hands over frames, and asks about them; see `gateway.backend.Backend`.

    Args:
        asking: Answers about a picture.
        submit: Hands frames to intake.
        queue: Knows where a job waits.
        store: Knows jobs of before.
        documents: Say where a job is.
        readiness: Tells how long answers take.
        max_image_bytes: Of one picture.
        clock: For times of arrival.
    """

    def __init__(
        self,
        asking: Asking,
        submit: Submit,
        queue: JobQueue,
        store: Store,
        documents: Documents,
        readiness: Readiness,
        max_image_bytes: int,
        clock: Clock,
    ) -> None:
        self._asking = asking
        self._submit = submit
        self._queue = queue
        self._store = store
        self._documents = documents
        self._readiness = readiness
        self._max_image_bytes = max_image_bytes
        self._clock = clock

    def wait_s(self, priority: str | None = None) -> float | None:
        """See `Backend.wait_s`."""
        named = priority_named(priority)
        return self._readiness.wait_s(Priority.HIGH if named is None else named)

    @property
    def obstacle(self) -> str | None:
        """See `Backend.obstacle`."""
        return self._readiness.obstacle

    async def submit(self, frame: Frame) -> StatusDocument:
        """See `Backend.submit`."""
        submission = await self._submission(frame, is_asked_for=False)
        [outcome] = await self._hand_over([submission])
        if isinstance(outcome, Rejection):
            error, priority = outcome.error, submission.options.priority
            raise self._problem(error.code, error.message, priority)
        if isinstance(outcome, Repeated):
            return await self._known_status(outcome.job_key)
        job = outcome.job
        place = self._place(job)
        if job.status.is_final or place is not None:
            return self._documents.status(job, self._clock.now(), place)
        return await self._known_status(job.key)  # an engine has it, or the queue had no room

    async def wait_for_end(self, camera_id: str, job_id: str, timeout_s: float) -> None:
        """See `Backend.wait_for_end`."""
        try:
            await self._asking.wait_for_end(job_key(camera_id, job_id), timeout_s)
        except OperationError as error:
            raise Problem(error.code, str(error)) from error

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        """See `Backend.ask`."""
        submission = await self._submission(frame, is_asked_for=True)
        priority = submission.options.priority
        asking = self._asking.ask(submission, timeout_s, on_text)
        del submission, frame
        try:
            return await asking
        except OperationError as error:
            raise self._problem(error.code, str(error), priority) from error
        except RuntimeError as error:
            raise _unknown() from error

    async def _hand_over(self, submissions: Sequence[Submission]) -> Any:
        try:
            return await self._submit(submissions)
        except RuntimeError as error:
            raise _unknown() from error

    def _problem(self, code: str, message: str, priority: Priority | None) -> Problem:
        """What a frame met with, and when it may be taken."""
        after_s = None
        if code in _ASK_LATER:
            after_s = self._readiness.wait_s(Priority.HIGH if priority is None else priority) or 1.0
        return Problem(code, message, retry_after_s=after_s)

    async def _known_status(self, key: str) -> StatusDocument:
        known = await self._store.get(key)
        if known is None:
            raise Problem("internal", "the job of this id is gone")
        return self._documents.status(known, self._clock.now(), self._place(known))

    def _place(self, job: Job) -> Place | None:
        """Where it waits, if it does."""
        return next((place for _, place in self._queue.places([job])), None)

    async def _submission(self, frame: Frame, *, is_asked_for: bool) -> Submission:
        """The frame as any source makes it.

        Raises:
            Problem: A field is wrong, or the text holds no image.
        """
        is_small = frame.num_bytes < _IN_A_THREAD
        if is_small or (frame.image is not None and is_image(frame.image)):
            return self._unwrap(frame, is_asked_for=is_asked_for)
        unwrap = partial(self._unwrap, frame, is_asked_for=is_asked_for)
        del frame
        return await asyncio.to_thread(unwrap)

    def _unwrap(self, frame: Frame, *, is_asked_for: bool) -> Submission:
        try:
            incoming = self._read(frame)
        except PayloadError as error:
            raise Problem(error.code, str(error)) from error
        options = incoming.options
        if options.camera_id is None:
            raise Problem("bad_field", "camera_id: is required", param="camera_id")
        update: dict[str, Any] = {}
        if is_asked_for and options.job_id is None:
            update["job_id"] = str(uuid.uuid4())  # by which the end of the job is waited for
        # Who waits is interactive; who hands over leaves it to the motion, if there is some.
        is_interactive = is_asked_for or options.motion_intensity is None
        if is_interactive and options.priority is None:
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


def _unknown() -> Problem:
    return Problem(
        "stopping", "what became of the frame is not known; send it again with the same job_id"
    )
