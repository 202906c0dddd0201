"""Frames in the engines: of which camera, for how long."""

from datetime import datetime
from typing import NamedTuple

from schemas.job import JobStatus, job_key
from schemas.status import Stats, StatusDocument

_MAX_JOBS = 256  # of a broker that never says their end; engines take 32 at most
_LOST_AFTER_S = 5.0  # the status of a frame and the figures overtake each other by less


class WorkingOn(NamedTuple):
    """A frame in an engine."""

    camera_id: str
    since: datetime


class Work:
    """What the engines are doing, by what the statuses said."""

    def __init__(self) -> None:
        self._jobs: dict[str, WorkingOn] = {}

    def feed(self, document: StatusDocument) -> None:
        """Take in a frame's step."""
        key = job_key(document.camera_id, document.job_id or "")
        self._jobs.pop(key, None)
        if document.status is JobStatus.PROCESSING:
            self._jobs[key] = WorkingOn(document.camera_id, document.timestamp)
            while len(self._jobs) > _MAX_JOBS:
                del self._jobs[next(iter(self._jobs))]

    def reconcile(self, stats: Stats, now: datetime) -> None:
        """Forget what ended unseen: the service says that nothing is in its engines."""
        if stats.active_jobs == 0:
            self._jobs = {
                key: job
                for key, job in self._jobs.items()
                if (now - job.since).total_seconds() < _LOST_AFTER_S
            }

    def clear(self) -> None:
        """Forget all: nobody tells their ends."""
        self._jobs.clear()

    def longest(self) -> list[WorkingOn]:
        """What is in work, the longest first."""
        return sorted(self._jobs.values(), key=lambda job: job.since)
