"""The gateway's requests as frames and operations, and our errors as its problems."""

from typing import Any

from gateway.backend import Frame, OnText
from gateway.problems import Problem
from schemas.readings import Readings
from schemas.requests.envelope import Answer
from schemas.result import ResultDocument
from schemas.status import StatusDocument
from service.operations.operations import OperationError, Operations
from service.web.frames import HttpFrames
from service.web.readings import ServiceReadings


class ServiceBackend:
    """See `gateway.backend.Backend`.

    Args:
        operations: Everything that can be asked and ordered.
        frames: Takes pictures.
        readings: Measures.
    """

    def __init__(
        self, operations: Operations, frames: HttpFrames, readings: ServiceReadings
    ) -> None:
        self._operations = operations
        self._frames = frames
        self._readings = readings

    async def call(self, operation: str, content: dict[str, Any]) -> Answer:
        """See `Backend.call`."""
        try:
            return await self._operations.call(operation, content)
        except OperationError as error:
            raise Problem(error.code, str(error)) from error

    def wait_s(self, priority: str | None = None) -> float | None:
        """See `Backend.wait_s`."""
        return self._frames.wait_s(priority)

    @property
    def obstacle(self) -> str | None:
        """See `Backend.obstacle`."""
        return self._frames.obstacle

    async def submit(self, frame: Frame) -> StatusDocument:
        """See `Backend.submit`."""
        return await self._frames.submit(frame)

    async def wait_for_end(self, camera_id: str, job_id: str, timeout_s: float) -> None:
        """See `Backend.wait_for_end`."""
        await self._frames.wait_for_end(camera_id, job_id, timeout_s)

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        """See `Backend.ask`."""
        return await self._frames.ask(frame, timeout_s, on_text)

    async def readings(self) -> Readings:
        """See `Backend.readings`."""
        return await self._readings.read()
