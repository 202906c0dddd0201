"""Requests that ask about a picture: it becomes a job like any frame, and its end is the answer."""

import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from broker.codec import PayloadError
from schemas.frame import Priority
from schemas.requests.jobs import JobResult
from schemas.requests.operation import Bound, Operation
from schemas.requests.skills import SKILLS, SkillRequest
from service.clock import Clock
from service.intake.submission import Submission
from service.intake.wrapping import max_json_bytes, unwrap_frame
from service.operations.asking import Asking
from service.operations.operations import OperationError


class SkillOperations:
    """Takes a picture and a question each.

    Args:
        asking: Answers with what the model says.
        max_image_bytes: Of one image.
        clock: For times of arrival.
    """

    def __init__(self, asking: Asking, max_image_bytes: int, clock: Clock) -> None:
        self._asking = asking
        self._max_image_bytes = max_image_bytes
        self._clock = clock

    def bound(self) -> Sequence[Bound]:
        """What can be asked for here; a request may be as large as a frame."""
        max_bytes = max_json_bytes(self._max_image_bytes)
        return [self._bind(replace(each, max_bytes=max_bytes)) for each in SKILLS]

    def _bind(self, operation: Operation[Any, JobResult]) -> Bound:
        async def ask(request: SkillRequest) -> JobResult:
            asking = self._asking.ask(self._submission(request, operation.name), request.timeout)
            del request  # its picture is not kept while the answer is waited for
            return await asking

        return operation.bind(ask)

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
            source="request",
        )
