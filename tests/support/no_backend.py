"""A backend of the gateway that is asked for nothing; tests override what theirs is asked."""

from typing import Any

from pydantic import BaseModel

from gateway.backend import Frame, OnText
from schemas.readings import Readings
from schemas.result import ResultDocument
from schemas.status import StatusDocument


class NoBackend:
    """See `gateway.backend.Backend`."""

    async def call(self, operation: str, content: dict[str, Any]) -> BaseModel:
        raise AssertionError(operation)

    def wait_s(self, priority: str | None = None) -> float | None:
        return None

    @property
    def obstacle(self) -> str | None:
        return None

    async def submit(self, frame: Frame) -> StatusDocument:
        raise AssertionError(frame)

    async def wait_for_end(self, camera_id: str, job_id: str, timeout_s: float) -> None:
        raise AssertionError(job_id)

    async def ask(
        self, frame: Frame, timeout_s: float, on_text: OnText | None = None
    ) -> ResultDocument:
        raise AssertionError(frame)

    async def readings(self) -> Readings:
        raise AssertionError
